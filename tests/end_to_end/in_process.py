"""Runs a script of scripts/ in the process of the tests: one of its own takes seconds to load torch."""

import contextlib
import io
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from twotower.commands.conf import CONF


@contextlib.contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """A door ignores signals at its end; left so by a module's fixture, all tests behind it inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, and return its exit status and what it wrote, as a process would."""
    command = [str(CONF.parent / "scripts" / f"{name}.py"), *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _signals_as_they_were(),
        pytest.raises(SystemExit) as left,
    ):
        runpy.run_path(command[0], run_name="__main__")
    status = left.value.code or 0
    assert isinstance(status, int)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())
