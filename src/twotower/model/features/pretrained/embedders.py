"""Frozen models that embed texts and images: ONNX files and models of sentence-transformers."""

import functools
import hashlib
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.files.atomic import file_sha256
from twotower.files.plain_values import read_json

Floats = NDArray[np.float32]
Embedder = Callable[[bytes], Floats | None]
"""A frozen model: the content of a value -> its vector [W], None if it cannot be read.

Each value is embedded alone, so that a vector does not depend on a batch.
"""
IGNORED = (".md", ".txt.gz", ".png", ".lock")
"""Endings of files that do not affect vectors."""
ONNX = ("model.onnx", "onnx/model.onnx")
MAX_TOKENS = 512
"""Maximum length of a text if neither the tokenizer nor the model has one."""
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colors of ImageNet, if the model does not have its own."""


def model_folder(model: str) -> Path:
    """Return the folder of a model; a model on the hub is downloaded if necessary. Raises InputError."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    hub = imported("huggingface_hub", "text")
    for local in (True, False):
        try:
            return Path(hub.snapshot_download(model, local_files_only=local))
        except Exception as error:  # the library's errors have no class in common
            why = f"{type(error).__name__}: {error!s:.100}"
    raise InputError(
        f"there is no folder {model!r} and no model of that name ({why}); give the folder of a model"
    )


def model_digest(folder: Path) -> str:
    """Return a SHA-256 of the names and contents of a model's files, without hidden and ignored files."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(IGNORED)
    )
    names = tuple(name for name in paths if not any(part.startswith(".") for part in name.split("/")))
    stats = tuple((folder / name).stat() for name in names)
    return _digest(folder, names, tuple((each.st_size, each.st_mtime_ns) for each in stats))


@functools.lru_cache(16)
def _digest(folder: Path, names: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    lines = [f"{file_sha256(folder / name)} {name}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of a JSON file of a model, {} if the file is missing."""
    if not (folder / name).is_file():
        return {}
    settings = read_json(folder / name, "download the model again")
    return settings if isinstance(settings, dict) else {}


def imported(package: str, extra: str) -> ModuleType:
    """Import an optional package; raises InputError with the extra that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"this encoder needs {package}; pip install 'twotower[{extra}]' ({error})"
        ) from error


@functools.lru_cache(4)
def open_embedder(folder: Path, is_image: bool, digest: str) -> Embedder:
    """Open the model of a folder, for texts or for image files; cached until its `model_digest` changes."""
    path = next((folder / name for name in ONNX if (folder / name).is_file()), None)
    if path is None:
        return SentenceTransformer(folder, is_image)
    return OnnxImage(folder, path) if is_image else OnnxText(folder, path)


class OnnxSession:
    """An ONNX model that returns one vector for one example.

    Args:
        path: the ONNX file.
        extra: the extra of this package that installs ONNX Runtime.
        takes_first: pool outputs of several positions by the first, as for models with a class token, and
            not by the mean.
        last_choice: name of an output that is read only if there is no other.
    """

    def __init__(self, path: Path, extra: str, takes_first: bool = False, last_choice: str = "") -> None:
        onnxruntime = imported("onnxruntime", extra)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's errors have no class in common
            raise InputError(f"{path}: not readable by ONNX Runtime ({error!s:.200})") from error
        self._takes_first = takes_first
        self.inputs = [each.name for each in self._session.get_inputs()]
        outputs = sorted(self._session.get_outputs(), key=lambda each: each.name == last_choice)
        flat = [each.name for each in outputs if len(each.shape or ()) == 2 and each.name != last_choice]
        self._output = (flat or [outputs[0].name])[0]

    def vector(self, feed: dict[str, Any]) -> Floats:
        """Return the vector [W] of an example; positions of outputs [1, T, W] and [1, W, h, w] are pooled."""
        output = np.asarray(self._session.run([self._output], feed)[0][0], dtype=np.float32)
        if output.ndim == 3:
            output = output.reshape(len(output), -1).T
        if output.ndim == 2:
            output = output[0] if self._takes_first else output.mean(axis=0)
        return output


class OnnxText:
    """Tokens -> the mean of the last hidden states, or the first one by `1_Pooling`, scaled to length 1.

    Reference: Reimers and Gurevych, Sentence-BERT, EMNLP 2019, section 3.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        tokenizers = imported("tokenizers", "text")
        pooling = read_settings(folder, "1_Pooling/config.json")
        first = bool(pooling.get("pooling_mode_cls_token")) or pooling.get("pooling_mode") == "cls"
        # The pooler of BERT is trained for other tasks than similarity.
        self._session = OnnxSession(path, "text", takes_first=first, last_choice="pooler_output")
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain exceptions
            raise InputError(f"{folder / 'tokenizer.json'}: not a tokenizer ({error!s:.100})") from error
        length = read_settings(folder, "sentence_bert_config.json").get("max_seq_length")
        if length is None:
            length = (self._tokenizer.truncation or {}).get("max_length", MAX_TOKENS)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(int(length))

    def __call__(self, content: bytes) -> Floats | None:
        """Embed a text [W]; None if it has no tokens."""
        tokens = self._tokenizer.encode(content.decode("utf-8", "replace"))
        if not tokens.ids:
            return None
        inputs = {
            "input_ids": tokens.ids,
            "attention_mask": tokens.attention_mask,
            "token_type_ids": tokens.type_ids,
        }
        names = [name for name in self._session.inputs if name in inputs]
        return unit(self._session.vector({name: np.array([inputs[name]], dtype=np.int64) for name in names}))


class OnnxImage:
    """An image, resized, cropped to its center and standardized -> a vector of length 1."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._pillow = imported("PIL.Image", "image")
        self._session = OnnxSession(path, "image")
        settings = read_settings(folder, "preprocessor_config.json")
        size, crop_size = settings.get("size"), settings.get("crop_size")
        self._size = _width_and_height(crop_size or size or SIDE)
        resized = _width_and_height(size or crop_size or SIDE)
        self._min_size = max(resized[0], self._size[0]), max(resized[1], self._size[1])
        self._mean = np.array(settings.get("image_mean", MEAN), dtype=np.float32)
        self._std = np.array(settings.get("image_std", STD), dtype=np.float32)

    def __call__(self, content: bytes) -> Floats | None:
        """Embed an image file [W]; None if it cannot be read."""
        image = decode_image(self._pillow, content)
        if image is None:
            return None
        pixels = np.asarray(self._cropped(image), dtype=np.float32) / 255
        scaled = ((pixels - self._mean) / self._std).transpose(2, 0, 1)[None]
        return unit(self._session.vector({self._session.inputs[0]: np.ascontiguousarray(scaled)}))

    def _cropped(self, image: Any) -> Any:
        """Return the center of an image, resized so that its shorter side fits."""
        width, height = self._size
        scale = max(self._min_size[0] / image.width, self._min_size[1] / image.height)
        size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        resized = image.resize(size, self._pillow.Resampling.BICUBIC)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return resized.crop((left, top, left + width, top + height))


def _width_and_height(size: Any) -> tuple[int, int]:
    """Return the width and the height of a setting in pixels: a number, or names and numbers."""
    sides: dict[str, Any] = size if isinstance(size, dict) else {"shortest_edge": size}
    shortest = sides.get("shortest_edge", SIDE)
    return int(sides.get("width", shortest)), int(sides.get("height", shortest))


class SentenceTransformer:
    """The output of `encode` of a model of sentence-transformers, scaled to length 1."""

    def __init__(self, folder: Path, is_image: bool) -> None:
        extra = "image" if is_image else "text"
        library = imported("sentence_transformers", extra)
        self._pillow = imported("PIL.Image", extra) if is_image else None
        try:
            self._model = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except Exception as error:  # the library raises errors of every kind
            raise InputError(f"{folder}: not readable by sentence-transformers ({error!s:.200})") from error

    def __call__(self, content: bytes) -> Floats | None:
        """Embed a text or an image file [W]; None if it cannot be read."""
        is_text = self._pillow is None
        value = content.decode("utf-8", "replace") if is_text else decode_image(self._pillow, content)
        if value is None:
            return None
        return unit(self._model.encode([value], batch_size=1, show_progress_bar=False)[0])


def decode_image(pillow: Any, content: bytes) -> Any | None:
    """Return the RGB image of a file, None if it cannot be read."""
    try:
        return pillow.open(io.BytesIO(content)).convert("RGB")
    except Exception:  # damaged and too large files raise errors of every kind
        return None


def unit(vector: Any) -> Floats | None:
    """Return a vector [W] scaled to length 1, None if its length is 0 or not finite."""
    values = np.asarray(vector, dtype=np.float64).reshape(-1)
    norm = float(np.linalg.norm(values))
    return (values / norm).astype(np.float32) if np.isfinite(norm) and norm > 0 else None
