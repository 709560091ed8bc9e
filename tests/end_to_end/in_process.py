"""Runs commands in the process of the tests: one of its own takes seconds to load torch."""

import contextlib
import io
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from twotower.commands.conf import CONF
from twotower.commands.main import main


@contextlib.contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """A command ignores signals at its end; restore them, so that later tests do not inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script of scripts/; return its exit status and what it wrote, as a process would."""
    path = str(CONF.parent / "scripts" / f"{name}.py")
    return _run(lambda: runpy.run_path(path, run_name="__main__"), [path, *map(str, arguments)])


def run_command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `twotower` with words, as `run_script` runs a script."""
    return _run(main, ["twotower", *words])


def _run(work: Callable[[], object], command: list[str]) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _signals_as_they_were(),
        pytest.raises(SystemExit) as left,
    ):
        work()
    status = left.value.code or 0
    assert isinstance(status, int)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())
