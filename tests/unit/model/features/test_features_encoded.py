"""What frozen models say of texts and images: by hand, once, and by the same model online."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import HAS_TOKENIZERS, write_image_model, write_text_model

from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.model.features.encoded import Encoded
from twotower.model.features.encoded_image import EncodedImage
from twotower.model.features.encoded_text import EncodedText
from twotower.model.features.feature import feature_from_json
from twotower.model.features.pretrained import vector_cache
from twotower.model.features.pretrained.vector_cache import cached_vectors, content_key

needs_tokenizers = pytest.mark.skipif(not HAS_TOKENIZERS, reason="tokenizers are not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWOTOWER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fitted(kind: type[Encoded], values: list[Any], **settings: Any) -> Encoded:
    feature = kind.Config(column="c", **settings).build(8)
    assert isinstance(feature, kind)
    feature.fit(pd.Series(values, dtype=object))
    return feature


@needs_tokenizers
def test_a_text_is_the_mean_of_its_tokens_at_length_1(tmp_path: Path) -> None:
    feature = fitted(EncodedText, ["red mug"], model=str(write_text_model(tmp_path / "model")))
    encoded = feature.encode(["red mug", "cup", " ", None, 3, "nobody knows"])
    # red (1, 0) and mug (1, 1): mean (1, .5), of length sqrt(1.25)
    expected = [[2 / 5**0.5, 1 / 5**0.5], [1 / 5**0.5, 2 / 5**0.5], *[[0, 0]] * 4]
    assert torch.allclose(encoded, torch.tensor(expected))
    assert feature.output_dim == 2


@needs_tokenizers
def test_a_model_of_a_class_token_is_read_there_and_long_texts_are_cut(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert fitted(EncodedText, ["blue mug"], model=str(folder)).encode(["blue mug"]).tolist() == [[0, 1]]
    (folder / "1_Pooling" / "config.json").unlink()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 1}')
    assert fitted(EncodedText, ["blue mug"], model=str(folder)).encode(["red mug"]).tolist() == [[1, 0]]


@needs_tokenizers
def test_a_text_model_with_a_pooler_is_read_at_its_last_hidden_states(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path / "model", pooler=True)
    assert fitted(EncodedText, ["red"], model=str(folder)).encode(["red"]).tolist() == [[1, 0]]


def test_an_image_is_cut_to_its_centre_and_standardized(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_image_model(tmp_path / "model")
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, :4], wide[:, 4:8], wide[:, 8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "inside").mkdir()
    Image.fromarray(wide).save(tmp_path / "inside" / "wide.png")
    feature = fitted(EncodedImage, ["wide.png"], model=str(folder), folder=str(tmp_path))
    assert feature.encode(["wide.png", "broken.png", "absent.png", "."]).tolist() == [
        [0, 1, 0],
        *[[0] * 3] * 3,
    ]
    inside = fitted(EncodedImage, ["wide.png"], model=str(folder), folder=str(tmp_path / "inside"))
    assert inside.encode(["wide.png", "../wide.png", str(tmp_path / "wide.png")]).tolist() == [
        [0, 1, 0],
        [0, 0, 0],  # nobody who adds an item reads other files
        [0, 0, 0],
    ]
    with pytest.raises(InputError, match=r"column 'c', row 1: expected the path of an image file below"):
        feature.check(pd.Series(["absent.png"]), "items.csv")


def test_an_image_is_resized_to_the_size_of_the_model_before_it_is_cropped(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_image_model(tmp_path / "model")
    settings = {"size": {"shortest_edge": 12}, "crop_size": {"height": 4, "width": 4}}
    settings |= {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    pixels = np.zeros((12, 12, 3), dtype=np.uint8)
    pixels[:, :, 0], pixels[3:9, 3:9] = 255, (0, 255, 0)  # the 4 x 4 pixels in the center are green
    Image.fromarray(pixels).save(tmp_path / "framed.png")
    feature = fitted(EncodedImage, ["framed.png"], model=str(folder), folder=str(tmp_path))
    assert feature.encode(["framed.png"]).tolist() == [[0, 1, 0]]


@needs_tokenizers
def test_only_the_model_of_the_training_embeds_new_items(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path / "model")
    feature = fitted(EncodedText, ["red mug"], model=str(folder))
    online = feature_from_json(feature.to_json(), "item.title")
    assert torch.equal(online.encode(["blue cup"]), feature.encode(["blue cup"]))
    write_text_model(folder, scale=2.0)
    with pytest.raises(InputError, match=r"column 'c': the model at .* is not the one of the training"):
        online.encode(["blue cup"])
    assert online.encode([None]).tolist() == [[0, 0]]  # for which no model is asked


def test_a_missing_model_folder_is_reported_before_reading(tmp_path: Path) -> None:
    config = EncodedText.Config(column="c", model=str(tmp_path / "absent"))
    assert [key for key, _ in config.problems(ChoiceContext(key="features.item.title"))] == ["model"]


def test_folders_without_an_onnx_file_are_read_by_sentence_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        def __init__(self, folder: str, **_: Any) -> None:
            assert Path(folder) == tmp_path

        def encode(self, values: list[str], **_: Any) -> np.ndarray:
            return np.array([[3.0 * len(value), 4.0 * len(value)] for value in values])

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Library))
    (tmp_path / "modules.json").write_text("[]")
    feature = fitted(EncodedText, ["ab"], model=str(tmp_path))
    assert torch.allclose(feature.encode(["abc"]), torch.tensor([[0.6, 0.8]]))


def test_a_vector_is_computed_once_and_a_damaged_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_cache, "MIN_NEW_VECTORS", 2)
    asked: list[bytes] = []

    def vectors(*contents: bytes | None) -> list[Any]:
        def embed(position: int) -> np.ndarray:
            content = contents[position]
            assert content is not None
            asked.append(content)
            return np.array([len(content), 1], dtype=np.float32)

        found = cached_vectors(tmp_path, [content_key(each) for each in contents], embed, "encoding")
        return [None if each is None else each.tolist() for each in found]

    assert vectors(b"a", None, b"bb", b"a") == [[1, 1], None, [2, 1], [1, 1]]
    assert sorted(asked) == [b"a", b"bb"]
    assert vectors(b"bb", b"a") == [[2, 1], [1, 1]]
    assert len(asked) == 2
    vectors(b"ccc")  # one alone leaves no file
    (part,) = tmp_path.glob("*.npy")
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    vector_cache._stored_vectors.cache_clear()
    assert vectors(b"bb", b"a") == [[2, 1], [1, 1]]
    assert asked[2:] == [b"ccc", b"bb", b"a"]


def test_a_stopped_encoding_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_cache, "STORED_AT_ONCE", 2)
    keys = [content_key(bytes([number])) for number in range(5)]
    asked: list[int] = []

    def embed(position: int) -> np.ndarray:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(position)
        return np.full(1, position, dtype=np.float32)

    with pytest.raises(KeyboardInterrupt):
        cached_vectors(tmp_path, keys, embed, "encoding")
    asked.clear()
    found = cached_vectors(tmp_path, [*keys[:2], keys[2]], embed, "encoding")
    assert asked == [2]
    assert [each.tolist() for each in found if each is not None] == [[0], [1], [2]]


def digest(feature: Encoded, *values: Any) -> str | None:
    return feature.files_digest(pd.Series(values, dtype=object))


@needs_tokenizers
def test_the_files_of_a_model_and_of_images_are_known_by_content(tmp_path: Path) -> None:
    from PIL import Image

    text = fitted(EncodedText, ["red"], model=str(write_text_model(tmp_path / "text")))
    before = digest(text, "red", None)
    assert before is not None
    assert digest(text, None, " ") is None  # no file is read
    write_text_model(tmp_path / "text", scale=2.0)
    assert digest(text, "red", None) != before

    model = str(write_image_model(tmp_path / "image"))
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    image = fitted(EncodedImage, ["a.png"], model=model, folder=str(tmp_path))
    before = digest(image, "a.png", "absent.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "a.png")
    assert digest(image, "a.png", "absent.png") not in (before, None)
