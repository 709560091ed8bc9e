"""An image encoder as an ONNX file beside its `preprocessor_config.json`."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from twotower.features.pretrained.model_folder import Floats, imported, read_settings, unit
from twotower.features.pretrained.onnx_session import OnnxSession

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, where the model does not say what it was trained with."""


class OnnxImage:
    """An image, resized until it fits, cut to the centre, standardised -> a vector of length 1.

    Args:
        folder: of the model.
        path: of its ONNX file.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._pillow = imported("PIL.Image", "image")
        self._session = OnnxSession(path, "image")
        settings = read_settings(folder, "preprocessor_config.json")
        size: Any = settings.get("crop_size") or settings.get("size") or SIDE
        sides: dict[str, Any] = size if isinstance(size, dict) else {"shortest_edge": size}
        shortest = sides.get("shortest_edge", SIDE)
        self._size = int(sides.get("width", shortest)), int(sides.get("height", shortest))
        self._mean = np.array(settings.get("image_mean", MEAN), dtype=np.float32)
        self._std = np.array(settings.get("image_std", STD), dtype=np.float32)

    def __call__(self, content: bytes) -> Floats | None:
        """Embed an image file [W]; None where it is none that can be read."""
        image = opened(self._pillow, content)
        if image is None:
            return None
        pixels = np.asarray(self._fitted(image), dtype=np.float32) / 255
        scaled = ((pixels - self._mean) / self._std).transpose(2, 0, 1)[None]
        return unit(self._session.vector({self._session.inputs[0]: np.ascontiguousarray(scaled)}))

    def _fitted(self, image: Any) -> Any:
        width, height = self._size
        scale = max(width / image.width, height / image.height)
        fitted = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        resized = image.resize(fitted, self._pillow.Resampling.BICUBIC)
        left, top = (fitted[0] - width) // 2, (fitted[1] - height) // 2
        return resized.crop((left, top, left + width, top + height))


def opened(pillow: Any, content: bytes) -> Any | None:
    """Decode an image file to RGB, None where that fails."""
    try:
        return pillow.open(io.BytesIO(content)).convert("RGB")
    except Exception:  # damaged files raise errors of every kind, and ones too large to decode their own
        return None
