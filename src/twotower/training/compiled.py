"""Towers through `torch.compile` during training."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn


def missing_for_compile() -> str | None:
    """Return what `torch.compile` needs and this machine lacks; None if nothing is missing."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"a C++ compiler ({compiler}; CXX names another)"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else f"Python's headers ({header})"


@contextmanager
def compiled(*modules: nn.Module) -> Iterator[None]:
    """Compile the `forward` of modules; on exit they run uncompiled again. Names of weights do not change."""
    for module in modules:
        module.forward = torch.compile(module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.forward
