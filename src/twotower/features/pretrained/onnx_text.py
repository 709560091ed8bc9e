"""A text encoder as an ONNX file beside its `tokenizer.json`."""

from pathlib import Path
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.features.pretrained.model_folder import Floats, imported, read_settings, unit
from twotower.features.pretrained.onnx_session import OnnxSession

MAX_TOKENS = 512
"""Where neither the tokenizer nor the model says how long a text may be."""


class OnnxText:
    """Tokens -> the mean of the last hidden states (or the first, where `1_Pooling` says so), length 1.

    Args:
        folder: of the model.
        path: of its ONNX file.

    Reference: Reimers and Gurevych, Sentence-BERT, EMNLP 2019, section 3.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        tokenizers = imported("tokenizers", "text")
        pooling = read_settings(folder, "1_Pooling/config.json")
        first = bool(pooling.get("pooling_mode_cls_token")) or pooling.get("pooling_mode") == "cls"
        self._session = OnnxSession(path, "text", takes_first=first)
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
        """Embed a text [W]; None where nothing of it is a token."""
        tokens = self._tokenizer.encode(content.decode("utf-8", "replace"))
        if not tokens.ids:
            return None
        given = {
            "input_ids": tokens.ids,
            "attention_mask": tokens.attention_mask,
            "token_type_ids": tokens.type_ids,
        }
        feed = {
            name: np.array([given[name]], dtype=np.int64) for name in self._session.inputs if name in given
        }
        return unit(self._session.vector(feed))
