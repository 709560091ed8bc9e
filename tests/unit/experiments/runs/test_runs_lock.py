"""One owner of a folder at a time, and nobody after that owner has died."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from twotower.config.errors import InputError
from twotower.files.lock import lock_folder

OWNER = ".sweep.owner.json"
CHILD = """
import sys, time
from pathlib import Path
from twotower.files.lock import lock_folder
with lock_folder(Path(sys.argv[1]), "sweep"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def another_holds(folder: Path, seconds: float = 3600.0) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def owner_of(folder: Path) -> dict[str, object]:
    owner = json.loads((folder / OWNER).read_text())
    assert isinstance(owner, dict)
    return owner


def test_a_second_process_is_refused_with_the_owner_of_the_lock(tmp_path: Path) -> None:
    with another_holds(tmp_path) as process:
        since = owner_of(tmp_path)["since"]
        with pytest.raises(InputError) as refused, lock_folder(tmp_path, "sweep"):
            pass
        assert str(refused.value) == (
            f"{tmp_path}: this sweep is in use by process {process.pid} on {socket.gethostname()}, since "
            f"{since}; wait for it, or stop that process first"
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(since))


def test_a_process_locks_a_folder_once(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "sweep"):
        with pytest.raises(InputError, match=f"process {os.getpid()} on"), lock_folder(tmp_path, "sweep"):
            pass
        assert owner_of(tmp_path)["process"] == os.getpid()  # the refused one took nothing away


def test_the_lock_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    with another_holds(tmp_path) as process:
        process.kill()
        process.wait()
        assert owner_of(tmp_path)["process"] == process.pid  # what is left of it
        with lock_folder(tmp_path, "sweep"):
            assert owner_of(tmp_path)["process"] == os.getpid()
        assert not (tmp_path / OWNER).exists()


def test_a_released_lock_can_be_acquired_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sweep"
    with pytest.raises(ZeroDivisionError), lock_folder(folder, "sweep"):
        raise ZeroDivisionError
    assert not (folder / OWNER).exists()
    with lock_folder(folder, "sweep"):
        pass


def test_a_lock_with_patience_waits_for_its_release(tmp_path: Path) -> None:
    with another_holds(tmp_path, seconds=0.3), lock_folder(tmp_path, "sweep", patience_seconds=600.0):
        assert owner_of(tmp_path)["process"] == os.getpid()


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_an_unnamed_owner_is_called_another_process(tmp_path: Path, text: str | None) -> None:
    with lock_folder(tmp_path, "sweep"):
        if text is None:
            (tmp_path / OWNER).unlink()
        else:
            (tmp_path / OWNER).write_text(text)
        with (
            pytest.raises(InputError, match="in use by another process; wait for it"),
            lock_folder(tmp_path, "sweep"),
        ):
            pass
