"""What SIGTERM and Ctrl-C do to a process: the message, the exit status, and what is still closed."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twotower.config.exits import Stopped, stoppable

STOPPED = {"SIGTERM": (143, "stopped by SIGTERM"), "SIGINT": (130, "interrupted")}
WORK = """
import signal
import sys
from twotower.config.exits import exit_status, exit_on_signals, stoppable

def work():
    with stoppable(lambda: "resume=here"):
        try:
            {body}
        finally:
            print("closed", flush=True)
    return 3

exit_on_signals()
{before}
status = exit_status(work, debug=False)
{after}
sys.exit(status)
"""


def ended(body: str = "pass", before: str = "", after: str = "") -> tuple[int, str, str]:
    """Return exit status, output and errors of a command that works so."""
    script = WORK.format(body=body, before=before, after=after)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", STOPPED)
def test_files_are_closed_and_the_message_names_the_remedy(name: str) -> None:
    status, words = STOPPED[name]
    assert ended(f"signal.raise_signal(signal.{name})") == (status, "closed\n", f"{words}; resume=here\n")


def test_stopped_is_raised_again_if_a_library_replaces_it() -> None:
    """Lightning hears of SIGTERM too, and soon leaves with status 0 where our exception was lost."""
    lost = "with contextlib.suppress(BaseException): signal.raise_signal(signal.SIGTERM)"
    body = "\n            ".join(["import contextlib", lost, "raise SystemExit"])
    assert ended(body) == (143, "closed\n", "stopped by SIGTERM; resume=here\n")


def test_a_library_that_handles_sigterm_does_not_cause_success() -> None:
    before = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    assert ended("raise SystemExit", before) == (143, "closed\n", "stopped by SIGTERM; resume=here\n")
    assert ended("raise SystemExit(7)")[0] == 7


def test_a_command_exits_at_once_before_its_work_and_is_not_stopped_after_it() -> None:
    told = "stopped by SIGTERM; no work had begun\n"
    assert ended(before="signal.raise_signal(signal.SIGTERM)") == (143, "", told)
    assert ended(after="signal.raise_signal(signal.SIGINT)") == (3, "closed\n", "")


def test_a_second_signal_exits_at_once() -> None:
    body = """try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)"""
    assert ended(body) == (130, "", "interrupted; resume=here\n")


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    body = "type('D', (), {'__del__': lambda self: signal.raise_signal(signal.SIGTERM)})()"
    assert ended(f"{body}; print('went on', flush=True)") == (143, "", "stopped by SIGTERM; resume=here\n")


def test_ignored_ctrl_c_stays_ignored() -> None:
    ignoring = "signal.signal(signal.SIGINT, signal.SIG_IGN); exit_on_signals()"
    assert ended("signal.raise_signal(signal.SIGINT)", ignoring) == (3, "closed\n", "")


def test_handlers_and_hooks_are_restored() -> None:
    def strike_twice() -> None:
        with stoppable(lambda: "outer"):
            with pytest.raises(Stopped, match="interrupted; inner"), stoppable(lambda: "inner"):
                signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.unraisablehook
    with pytest.raises(Stopped, match="stopped by SIGTERM; outer"):
        strike_twice()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_a_signal_during_shutdown_has_no_effect() -> None:
    code = """
import os, signal
from twotower.config.exits import exit_status, exit_on_signals

class Last:
    kill = os.kill
    def __del__(self):
        Last.kill(os.getpid(), signal.SIGTERM)

last = Last()
exit_on_signals()
raise SystemExit(exit_status(lambda: 3, debug=False))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3


@pytest.mark.parametrize(("call", "printed"), [("pass", "collected\n"), ("exit_without_gc()", "")])
def test_the_interpreter_ends_without_collecting_garbage(call: str, printed: str) -> None:
    program = (
        "from twotower.config.exits import exit_without_gc\n"
        "class Node:\n"
        "    def __del__(self): print('collected')\n"
        "node = Node()\n"
        "node.itself = node\n"
        f"del node\n{call}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="the C library is not GNU's")
@pytest.mark.parametrize(("call", "is_silent"), [("pass", False), ("exit_without_gc()", True)])
def test_compiled_modules_print_nothing_at_the_end(call: str, is_silent: bool) -> None:
    program = (
        "import ctypes, sys\n"
        "from twotower.config.exits import exit_without_gc\n"
        "report = ctypes.cast(ctypes.CDLL(None).malloc_stats, ctypes.c_void_p)  # prints to standard error\n"
        f"ctypes.pythonapi.Py_AtExit(report)\n{call}\nraise RuntimeError('ours')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "RuntimeError: ours" in done.stderr
    assert ("system bytes" not in done.stderr) is is_silent


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_output_that_cannot_be_written_at_the_end_is_an_error() -> None:
    program = "from twotower.config.exits import exit_without_gc\nexit_without_gc()\nprint('result')"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, env=buffered, timeout=60
        )
    assert done.returncode == 120  # Python's status for standard output that cannot be flushed
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [
        (">&-", "clean --help", 0),
        ("<&- >&- 2>&-", "clean --help", 0),
        ("2>&-", "compare nowhere", 2),
        ("<&- >&-", "compare nowhere", 2),
    ],
)
def test_closed_streams_do_not_change_the_exit_status(closed: str, words: str, status: int) -> None:
    shell = f"{shlex.quote(sys.executable)} -m twotower {words} {closed}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("error: " in done.stderr) == (status == 2 and "2>" not in closed)


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from twotower.config.exits import open_closed_streams\n"
        "open_closed_streams()\n"
        f"with open({str(tmp_path / 'file')!r}, 'w'):\n"
        "    print('printed', flush=True); os.system('echo x')\n"
        "assert [os.get_inheritable(number) for number in range(3)] == [True] * 3\n"
    )
    shell = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} <&- >&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_text() == ""
