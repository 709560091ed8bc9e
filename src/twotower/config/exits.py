"""How a command ends: the exit status, and one message for what went wrong or who stopped it."""

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from twotower.config.errors import InputError

DONE, FAILED, USER_INPUT, INDEX_REJECTED = 0, 1, 2, 3
"""Exit status of every command."""
GATE_REFUSED = 5
"""Of a night whose towers are worse than those that are served, which go on."""

BY_SIGNAL = 128
"""Added to a signal's number: the exit status of who was stopped by it, as shells have it."""
WORDS = {int(signal.SIGTERM): "stopped by SIGTERM", int(signal.SIGINT): "interrupted"}

Handler = Callable[[int, FrameType | None], object]


class Stopped(BaseException):
    """SIGTERM or Ctrl-C; no `KeyboardInterrupt`, which Lightning turns into an exit status of its own.

    Attributes:
        status: the exit status it asks for.
    """

    def __init__(self, number: int, remedy: str) -> None:
        super().__init__(_message(number, remedy))
        self.status = BY_SIGNAL + number


class _WhileRead(io.FileIO):
    """A descriptor that drops what is written once its reader, such as `head`, has closed the pipe."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _to_nowhere(self.fileno())
            return len(data)


def continue_without_readers() -> None:
    """Let a command do its work where standard output or standard error is closed, now or later."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: `>&-`
            _to_nowhere(number)
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - to the end
            continue
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(raw, io.FileIO) and raw.fileno() == number and not raw.isatty():
            stream.flush()
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    io.BufferedWriter(_WhileRead(number, "w", closefd=False)),
                    encoding=stream.encoding,
                    errors=stream.errors,
                    line_buffering=stream.line_buffering,
                    write_through=stream.write_through,
                ),
            )


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def leave_on_signals() -> None:
    """Let SIGTERM and Ctrl-C end a command at once and with one line, while it has begun nothing."""
    _install(_leave_the_command)


@contextlib.contextmanager
def stoppable(remedy: Callable[[], str]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C raise `Stopped`, so that what is open is closed; a second one waits for nothing.

    Args:
        remedy: returns what to do afterwards, for the message.
    """

    stopped: list[Stopped] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        _install(_leaving(remedy))
        stopped.append(Stopped(number, remedy()))
        raise stopped[0]

    def unraisable(ignored: "sys.UnraisableHookArgs") -> None:
        if isinstance(ignored.exc_value, Stopped):  # it struck a destructor, whose errors Python drops
            _leave(ignored.exc_value.status, str(ignored.exc_value))
        hook(ignored)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    before = _install(stop)
    try:
        yield
    except SystemExit as left:
        if stopped:  # lost on its way up, but Lightning had heard of the signal too and leaves with status 0
            raise stopped[0] from None
        if left.code is None:  # Lightning's word for SIGTERM, where a shell has told us to ignore it
            raise Stopped(signal.SIGTERM, remedy()) from None
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(handler: Handler | signal.Handlers) -> dict[int, Handler | int | None]:
    """Set the handler of both signals; returns those that were there before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # A shell lets its background jobs ignore Ctrl-C, and that is to stay so.
    heard = [number for number in WORDS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _leave_the_command(number: int, frame: FrameType | None) -> NoReturn:
    _leave(BY_SIGNAL + number, _message(number, "nothing had been begun"))


def _leaving(remedy: Callable[[], str]) -> Handler:
    return lambda number, frame: _leave(BY_SIGNAL + number, _message(number, remedy()))


def _leave(status: int, message: str) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{message}\n".encode())
    os._exit(status)


def _message(number: int, remedy: str) -> str:
    return f"{WORDS[number]}; {remedy}"


def exit_status(call: Callable[[], int], debug: bool) -> int:
    """Call, and turn what it raises into the exit status and one message on standard error.

    Args:
        call: returns the exit status where nothing went wrong.
        debug: print the traceback too.
    """
    status = _status_of(call, debug)
    if signal.getsignal(signal.SIGTERM) is _leave_the_command:  # what was done is done, though Python takes a
        with contextlib.suppress(OSError):  # while to end
            sys.stdout.flush()
        _install(signal.SIG_IGN)  # which Python, while it ends, leaves as it is; handlers it takes away
    return status


def _status_of(call: Callable[[], int], debug: bool) -> int:
    try:
        return call()
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return USER_INPUT
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        print(WORDS[signal.SIGINT], file=sys.stderr)
        return BY_SIGNAL + signal.SIGINT
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"failed: {type(error).__name__}: {error} (debug=true shows where)", file=sys.stderr)
        return FAILED
