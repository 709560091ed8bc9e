"""A text encoder as an ONNX file with a `tokenizer.json`."""

from pathlib import Path
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.features.pretrained.model_folder import Floats, imported, read_settings, unit
from twotower.features.pretrained.onnx_session import OnnxSession

MAX_TOKENS = 512
"""Maximum length of a text if neither the tokenizer nor the model has one."""


class OnnxText:
    """Tokens -> the mean of the last hidden states, or the first one by `1_Pooling`, scaled to length 1.

    Args:
        folder: folder of the model.
        path: its ONNX file.

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
        """Embed a text [W]; None if it has no tokens."""
        tokens = self._tokenizer.encode(content.decode("utf-8", "replace"))
        if not tokens.ids:
            return None
        inputs = {
            "input_ids": tokens.ids,
            "attention_mask": tokens.attention_mask,
            "token_type_ids": tokens.type_ids,
        }
        feed = {
            name: np.array([inputs[name]], dtype=np.int64) for name in self._session.inputs if name in inputs
        }
        return unit(self._session.vector(feed))
