"""The end of a command: its exit status, and one message for an error or a signal."""

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from twotower.config.errors import InputError

DONE, FAILED, USER_INPUT, INDEX_REJECTED = 0, 1, 2, 3
"""Exit status of every command."""
GATE_REFUSED = 5
"""Exit status of a nightly training that is not published, because its towers are worse than before."""

BY_SIGNAL = 128
"""Added to the number of a signal, this is the exit status of a process that it stopped, as in shells."""
WORDS = {int(signal.SIGTERM): "stopped by SIGTERM", int(signal.SIGINT): "interrupted"}

Handler = Callable[[int, FrameType | None], object]


class Stopped(BaseException):
    """SIGTERM or Ctrl-C; unlike `KeyboardInterrupt`, Lightning does not handle it.

    Attributes:
        status: the exit status.
    """

    def __init__(self, number: int, remedy: str) -> None:
        super().__init__(f"{WORDS[number]}; {remedy}")
        self.status = BY_SIGNAL + number


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, as by `>&-` of a shell.

    Python has no such stream, and would give its number to the next file that is opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # the processes that this one starts print there, too
            setattr(sys, name, os.fdopen(number, mode))


def exit_without_gc() -> None:
    """Let the interpreter end without collecting garbage, which takes seconds once torch is loaded.

    What is printed to standard error later is dropped: compiled modules report what was not collected.
    """
    atexit.register(_freeze_silently)


def _freeze_silently() -> None:
    gc.freeze()
    sys.stdout.flush()  # an error is still printed, such as of a full disk
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def when_parent_ends(end: Callable[[], object]) -> None:
    """Call a function, in a thread, as soon as the process that has started this one ends."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        end()

    threading.Thread(target=wait, daemon=True).start()


def exit_on_signals() -> None:
    """Let SIGTERM and Ctrl-C end a command at once with one line, before its work begins."""
    _install(_exit_before_work)


@contextlib.contextmanager
def stoppable(remedy: Callable[[], str]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C raise `Stopped`, so that files are closed; a second one exits at once."""
    stopped: list[Stopped] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        _install(lambda number, frame: _exit(Stopped(number, remedy())))
        stopped.append(Stopped(number, remedy()))
        raise stopped[0]

    def unraisable(ignored: "sys.UnraisableHookArgs") -> None:
        if isinstance(ignored.exc_value, Stopped):  # raised in a destructor, whose errors Python drops
            _exit(ignored.exc_value)
        hook(ignored)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    before = _install(stop)
    try:
        yield
    except SystemExit as error:
        if stopped:  # Lightning has handled the signal too, and exits with status 0
            raise stopped[0] from None
        if error.code is None:  # Lightning exits so after SIGTERM if a shell has ignored the signal
            raise Stopped(signal.SIGTERM, remedy()) from None
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(handler: Handler | signal.Handlers) -> dict[int, Handler | int | None]:
    """Set the handler of both signals; return the earlier handlers."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # Background jobs of a shell ignore Ctrl-C, and continue to do so.
    numbers = [number for number in WORDS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in numbers}


def _exit_before_work(number: int, frame: FrameType | None) -> NoReturn:
    _exit(Stopped(number, "no work had begun"))


def _exit(stopped: Stopped) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{stopped}\n".encode())
    os._exit(stopped.status)


def exit_status(call: Callable[[], int], debug: bool) -> int:
    """Call a function, and turn errors into an exit status and one message on standard error."""
    try:
        status = call()
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        status = USER_INPUT
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        status = stopped.status
    except KeyboardInterrupt:
        print(WORDS[signal.SIGINT], file=sys.stderr)
        status = BY_SIGNAL + signal.SIGINT
    except BrokenPipeError:  # the reader of the output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"failed: {type(error).__name__}: {error} (debug=true shows where)", file=sys.stderr)
        status = FAILED
    if signal.getsignal(signal.SIGTERM) is _exit_before_work:
        with contextlib.suppress(OSError):  # the work is done, but Python takes a while to end
            sys.stdout.flush()
        _install(signal.SIG_IGN)  # Python removes handlers while it ends, but not this
    return status
