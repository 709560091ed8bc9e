"""Texts or images as vectors of a frozen pretrained model, with a trained projection."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pandas as pd

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.data.download import cache_folder
from twotower.model.features.dense import Dense, FloatMatrix
from twotower.model.features.pretrained.embedders import model_digest, model_folder, open_embedder
from twotower.model.features.pretrained.vector_cache import cached_vectors, content_key


class Encoded(Dense):
    """The unit vector of a value by a frozen model; zeros if the value cannot be read.

    Vectors are cached by content in `TWOTOWER_CACHE_DIR`. Only the projection (`dim`) is trained. The service
    embeds new items with the same model: a bundle has the SHA-256 of its files, but not the files.
    """

    class Config(Dense.Config):
        model: str
        """Folder of the model (an ONNX file with its tokenizer or preprocessor, or a sentence-transformers
        model), or its name on the hub."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Require the folder of a model."""
            yield from super().problems(context)
            means_folder = self.model.startswith((".", "/", "~")) or self.model.count("/") > 1
            if means_folder and not Path(self.model).expanduser().is_dir():
                yield "model", f"there is no folder {self.model}; name the folder of a model"

    class State(Dense.State):
        """State of vectors, and the digest of the model."""

        model_sha256: str = ""

    config: Config
    state: State
    is_image: ClassVar[bool] = False
    reading: ClassVar[str] = ""
    """How the output of a model is read; another text if vectors of the same files change."""

    @abstractmethod
    def _content(self, value: object) -> bytes | None:
        """Return the input of the model for a value, None if it cannot be read."""

    def files_digest(self, values: pd.Series) -> str | None:
        """Return a SHA-256 of the model's files and of the content that it encodes."""
        contents = [hashlib.sha256(self._content(value) or b"").digest() for value in values]
        if set(contents) <= {hashlib.sha256(b"").digest()}:
            return None
        return hashlib.sha256(self._model()[1].encode() + b"".join(contents)).hexdigest()

    def _wrong(self, values: pd.Series) -> list[bool]:
        return [self._content(value) is None for value in values]

    def _learn(self, values: pd.Series) -> State:
        digest = self._model()[1] if any(map(self._content, values)) else ""
        return self.State(**{**super()._learn(values).model_dump(), "model_sha256": digest})

    def _vectors(self, values: pd.Series) -> list[FloatMatrix | None]:
        keys = [content_key(self._content(value)) for value in values]
        if not any(keys):
            return [None] * len(keys)
        folder, digest = self._model()
        if self.state.model_sha256 not in ("", digest):
            raise InputError(
                f"column {self.column!r}: the model at {folder} is not the one of the training; restore its "
                f"files, of the SHA-256 {self.state.model_sha256:.12}..."
            )
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        cache = cache_folder() / "encoded" / hashlib.sha256(f"{kind} {digest}".encode()).hexdigest()

        def embed(position: int) -> FloatMatrix | None:
            content = self._content(values.iloc[position])
            if content is None or content_key(content) != keys[position]:  # the file has changed meanwhile
                return None
            return open_embedder(folder, self.is_image, digest)(content)

        return cached_vectors(cache, keys, embed, f"column {self.column!r}: encoding")

    def _model(self) -> tuple[Path, str]:
        """Return the folder of the model, and a SHA-256 of its files and of how its output is read."""
        try:
            folder = model_folder(self.config.model)
        except InputError as error:
            raise InputError(f"column {self.column!r}: {error}") from error
        digest = model_digest(folder)
        if self.reading:
            digest = hashlib.sha256(f"{digest} {self.reading}".encode()).hexdigest()
        return folder, digest
