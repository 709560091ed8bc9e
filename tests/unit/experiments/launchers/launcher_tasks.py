"""Tasks for launchers to run; found by other processes through the path of the one that starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil


def run(payload: Mapping[str, Any]) -> int:
    """Do what `payload["do"]` says."""
    return int(globals()[payload["do"]](payload))


def is_alive(pid: int) -> bool:
    """Say whether there is such a process, and no zombie."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def answer(payload: Mapping[str, Any]) -> int:
    return int(payload["status"])


def meet(payload: Mapping[str, Any]) -> int:
    """Write one's name, and wait until as many as are wanted have; return how many were there at once.

    Where so many have met, none leaves before all have seen it.
    """
    folder = Path(payload["meeting"])
    mine = folder / str(payload["name"])
    mine.touch()
    ends = time.monotonic() + payload["seconds"]
    seen, met = 0, folder.with_name("met")
    while (seen := max(seen, len(list(folder.iterdir())))) < payload["wanted"] and time.monotonic() < ends:
        time.sleep(0.01)
    if seen >= payload["wanted"]:
        met.mkdir(exist_ok=True)
        (met / mine.name).touch()
        while time.monotonic() < ends and len(list(met.iterdir())) < payload["wanted"]:
            time.sleep(0.01)
    mine.unlink()
    return seen


def fail(payload: Mapping[str, Any]) -> int:
    raise ValueError(payload["message"])


def call_again(payload: Mapping[str, Any]) -> int:
    """Count the call in a file and end by the next of `ends`; after these, return the number of calls."""
    calls = Path(f"{payload['file']}{os.environ.get('RANK', '')}")
    with calls.open("a") as file:
        file.write("x")
    number = calls.stat().st_size
    if number > len(payload["ends"]):
        return number
    return int(globals()[payload["ends"][number - 1]]({"message": "as I was told"}))


def fail_in_rank_1(payload: Mapping[str, Any]) -> int:
    """Fail in one of two processes, while the other one waits."""
    if os.environ["RANK"] == "1":
        call_again({**payload, "ends": ["refuse"]})
    time.sleep(600)
    return 0


def refuse(payload: Mapping[str, Any]) -> int:
    from twotower.config.errors import InputError  # not on the path of `WRITER`

    raise InputError(payload["message"])


def be_killed(payload: Mapping[str, Any]) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def leave(payload: Mapping[str, Any]) -> int:
    sys.exit(payload["status"])


def process(payload: Mapping[str, Any]) -> int:
    return os.getpid()


def speak(payload: Mapping[str, Any]) -> int:
    """Print through Python, through the descriptors, and from a child; and ask for input."""
    print("from python")
    os.write(1, b"from descriptor 1\n")
    os.write(2, b"from descriptor 2\n")
    subprocess.run(["sh", "-c", "echo from a child"], check=True)
    return len(sys.stdin.read())


def threads(payload: Mapping[str, Any]) -> int:
    """Return the threads of torch and of Faiss as two digits."""
    import faiss
    import torch

    return 10 * torch.get_num_threads() + int(faiss.omp_get_max_threads())


WRITER = "import launcher_tasks, sys; launcher_tasks.write_for_ever(sys.argv[1])"


def write_on(payload: Mapping[str, Any]) -> int:
    """Go on writing to a file, and a child to another."""
    file = payload["file"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.Popen([sys.executable, "-c", WRITER, f"{file}.child"], env=environment)
    return write_for_ever(file)


def write_for_ever(file: str) -> int:
    Path(f"{file}.pid").write_text(str(os.getpid()))
    while True:
        with Path(file).open("a") as sink:
            sink.write("x")
        time.sleep(0.01)


def echo(payload: Mapping[str, Any]) -> int:
    assert payload["deep"] == {"list": [1, 2.5, None, True]}
    return len(payload["text"])


def node(payload: Mapping[str, Any]) -> int:
    """Return, once as many as are wanted have met, the process of the Ray node that started this one."""
    if "meeting" in payload:
        meet(payload)
    assert Path.cwd() == Path(payload["folder"])
    return os.getppid()


def be_preempted_once(payload: Mapping[str, Any]) -> int:
    """Return how often it was called; the first call is preempted."""
    calls = Path(payload["file"])
    with calls.open("a") as file:
        file.write("x")
    if calls.stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(30)
    return calls.stat().st_size
