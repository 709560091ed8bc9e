"""Images as vectors of a pretrained vision model."""

from pathlib import Path

from twotower.model.features.encoded import Encoded


class EncodedImage(Encoded):
    """The embedding of an image; the column holds the path of its file.

    Reference: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML
    2021 (CLIP), for one such model.
    """

    class Config(Encoded.Config):
        folder: str = "."
        """Folder of the images; paths are relative to it and must stay inside it."""

    config: Config
    is_image = True

    @property
    def expected(self) -> str:
        """The expected value, for messages."""
        return f"the path of an image file below {self.config.folder}"

    def _content(self, value: object) -> bytes | None:
        if not isinstance(value, str) or not value or "\0" in value:
            return None
        root = Path(self.config.folder).expanduser().resolve()
        try:
            path = (root / value).resolve()
            return path.read_bytes() if path.is_relative_to(root) else None
        except (OSError, ValueError):  # missing, or an invalid name
            return None
