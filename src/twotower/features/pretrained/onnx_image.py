"""An image encoder as an ONNX file with a `preprocessor_config.json`."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from twotower.features.pretrained.model_folder import Floats, imported, read_settings, unit
from twotower.features.pretrained.onnx_session import OnnxSession

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colors of ImageNet, if the model does not have its own."""


class OnnxImage:
    """An image, resized, cropped to its center and standardized -> a vector of length 1.

    Args:
        folder: folder of the model.
        path: its ONNX file.
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
        scale = max(width / image.width, height / image.height)
        size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        resized = image.resize(size, self._pillow.Resampling.BICUBIC)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return resized.crop((left, top, left + width, top + height))


def decode_image(pillow: Any, content: bytes) -> Any | None:
    """Return the RGB image of a file, None if it cannot be read."""
    try:
        return pillow.open(io.BytesIO(content)).convert("RGB")
    except Exception:  # damaged and too large files raise errors of every kind
        return None
