"""A model of the library sentence-transformers, for texts or for images."""

from pathlib import Path

from twotower.config.errors import InputError
from twotower.features.pretrained.model_folder import Floats, imported, unit
from twotower.features.pretrained.onnx_image import decode_image


class SentenceTransformer:
    """The output of the model's `encode`, scaled to length 1.

    Args:
        folder: folder of the model.
        is_image: whether contents are image files, not texts.
    """

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
