"""Texts as vectors of a pretrained sentence encoder."""

from twotower.model.features.encoded import Encoded


class EncodedText(Encoded):
    """The sentence embedding of a title or a description.

    Reference: Reimers and Gurevych, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, EMNLP
    2019.
    """

    expected = "text"
    reading = "last hidden states"

    def _content(self, value: object) -> bytes | None:
        return value.encode("utf-8", "replace") if isinstance(value, str) and value.strip() else None
