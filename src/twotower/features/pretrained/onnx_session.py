"""A pretrained model as an ONNX file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.features.pretrained.model_folder import imported


class OnnxSession:
    """An ONNX model that returns one vector for one example.

    Args:
        path: the ONNX file.
        extra: the extra of this package that installs ONNX Runtime.
        takes_first: pool outputs of several positions by the first, as for models with a class token, and
            not by the mean.
    """

    def __init__(self, path: Path, extra: str, takes_first: bool = False) -> None:
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
        outputs = self._session.get_outputs()
        flat = [each.name for each in outputs if each.shape is not None and len(each.shape) == 2]
        self._output = (flat or [outputs[0].name])[0]

    def vector(self, feed: dict[str, Any]) -> NDArray[np.float32]:
        """Return the vector [W] of an example; positions of outputs [1, T, W] and [1, W, h, w] are pooled."""
        output = np.asarray(self._session.run([self._output], feed)[0][0], dtype=np.float32)
        if output.ndim == 3:
            output = output.reshape(len(output), -1).T
        if output.ndim == 2:
            output = output[0] if self._takes_first else output.mean(axis=0)
        return output
