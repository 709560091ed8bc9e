"""Pretrained models small enough to work out by hand: a text and an image encoder, as ONNX files."""

import functools
import importlib.util
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = {"[UNK]": [0.0, 0.0], "red": [1.0, 0.0], "blue": [0.0, 1.0], "mug": [1.0, 1.0], "cup": [1.0, 2.0]}
HAS_TOKENIZERS = importlib.util.find_spec("tokenizers") is not None
"""Without them texts are encoded by sentence-transformers alone."""


_KEPT: list["tempfile.TemporaryDirectory[str]"] = []  # gone with the process


def _save(graph: onnx.GraphProto, folder: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


def write_text_model(folder: Path, scale: float = 1.0, pooler: bool = False) -> Path:
    """Write a model whose last hidden state of a word is its row of `WORDS`, times `scale`.

    A pooler gives the negative sum of the states, as a second output that stands first.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: row for row, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = numpy_helper.from_array(np.array(list(WORDS.values()), dtype=np.float32) * scale, "table")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "length", 2])]
    constants = [table]
    if pooler:
        nodes.append(helper.make_node("ReduceSum", ["last_hidden_state", "axes"], ["sum"], keepdims=0))
        nodes.append(helper.make_node("Neg", ["sum"], ["pooler_output"]))
        outputs.insert(0, helper.make_tensor_value_info("pooler_output", TensorProto.FLOAT, ["batch", 2]))
        constants.append(numpy_helper.from_array(np.array([1]), "axes"))
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    graph = helper.make_graph(nodes, "text", inputs, outputs, constants)
    _save(graph, folder)
    return folder


def write_image_model(folder: Path) -> Path:
    """Write a model that gives the mean red, green and blue of 4 x 4 pixels, from 0 to 1."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"size": {"height": 4, "width": 4}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["pixel_values"], ["embeds"], axes=[2, 3], keepdims=0)],
        "image",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("embeds", TensorProto.FLOAT, ["batch", 3])],
    )
    _save(graph, folder)
    return folder


@functools.cache
def models() -> tuple[Path, Path]:
    """Return the folders of a text and of an image model, and beside the latter `red.png` and `blue.png`."""
    from PIL import Image

    _KEPT.append(tempfile.TemporaryDirectory(prefix="twotower-models-"))
    folder = Path(_KEPT[0].name)
    image = write_image_model(folder / "image")
    for name, colour in (("red.png", (255, 0, 0)), ("blue.png", (0, 0, 255))):
        Image.new("RGB", (8, 6), colour).save(image / name)
    return write_text_model(folder / "text") if HAS_TOKENIZERS else folder, image
