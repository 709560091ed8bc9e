"""Towers through `torch.compile` while they train."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn


def lacking() -> str | None:
    """Return what `torch.compile` needs and this machine does not have, if there is such a thing."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"a C++ compiler ({compiler}; CXX names another)"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else f"Python's headers ({header})"


@contextmanager
def compiled(*modules: nn.Module) -> Iterator[None]:
    """Let modules run compiled; their weights' names stay, and afterwards they run as they did before."""
    for module in modules:
        module.compile()
    try:
        yield
    finally:
        for module in modules:
            module._compiled_call_impl = None
