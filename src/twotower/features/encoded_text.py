"""Texts as vectors of a pretrained sentence encoder."""

from pathlib import Path

from twotower.features.encoded import Encoded
from twotower.features.pretrained.model_folder import Embedder, onnx_file
from twotower.features.pretrained.onnx_text import OnnxText
from twotower.features.pretrained.sentence_transformer import SentenceTransformer


class EncodedText(Encoded):
    """The sentence embedding of a title or a description.

    Reference: Reimers and Gurevych, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, EMNLP
    2019.
    """

    expected = "text"

    def _content(self, value: object) -> bytes | None:
        return value.encode("utf-8", "replace") if isinstance(value, str) and value.strip() else None

    @classmethod
    def _embedder(cls, folder: Path) -> Embedder:
        path = onnx_file(folder)
        return SentenceTransformer(folder, is_image=False) if path is None else OnnxText(folder, path)
