"""Mistakes in settings told before torch is loaded, which takes seconds of a processor.

The very check that follows is run first in a copy of this process, in which torch and the like are only names
(`config/placeholders.py`). What it finds wrong is wrong; where it finds nothing, or cannot tell, this process
checks again with the libraries themselves.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterable
from typing import NoReturn

from twotower.config.placeholders import loaded, use_placeholders
from twotower.config.problems import Problem
from twotower.config.spec import NO_CLASS

SLOW = frozenset(
    {
        "torch",
        "torchmetrics",
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "lightning_utilities",
        "faiss",
        "pandas",
        "pyarrow",
        "scipy",
        "safetensors",
        "rich",
        "tensorboard",
        "optuna",
        "ray",
        "matplotlib",
    }
)
"""Libraries that no settings need to be checked with, as a rule."""


def problems_beforehand(check: Callable[[], Iterable[Problem]]) -> list[Problem] | None:
    """Find mistakes without loading the libraries in `SLOW`.

    Args:
        check: yields all mistakes.

    Returns:
        What it found; None where that cannot be told, or would be no quicker.
    """
    if loaded({"torch"}) or not hasattr(os, "fork"):
        return None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _tell(check, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        text = answer.read()
    with contextlib.suppress(ChildProcessError):  # whoever started us ignores SIGCHLD
        os.waitpid(child, 0)
    return [Problem(key, message) for key, message in json.loads(text)] if text else None


def _tell(check: Callable[[], Iterable[Problem]], writing: int) -> NoReturn:
    """Write what a check finds, in the copy of the process, and end that; nothing is written if in doubt."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # the process itself says that it was stopped
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # what modules print they print when they are loaded in earnest
            os.dup2(silence, stream)
        use_placeholders([name for name in SLOW if not loaded({name})])
        found = [(problem.key, problem.message) for problem in check()]
        if not any(NO_CLASS in message for _, message in found):  # of a module that needs more than names
            os.write(writing, json.dumps(found).encode())
    finally:
        os._exit(0)
