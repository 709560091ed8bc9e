"""What a worker passes on to the writer, and the writer's answers: one JSON text each way."""

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.live_service import ReloadUnderWay
from twotower.serving.requests import UnknownItem, UnknownUser

LOG = logging.getLogger("twotower")
CHANGES: dict[str, type[Change]] = {
    kind.__name__: kind for kind in (ItemPut, ItemRemoved, UserPut, UserForgotten, EventAdded)
}
ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (InputError, UnknownItem, UnknownUser, ReloadUnderWay, StoreFailed)
}
"""Those that clients are told of; of all others the service's log."""
NO_ANSWER = "the process that writes did not answer; what was asked may be kept or not: look, or ask again"
PIECE_BYTES = 65_536

Answer = dict[str, Any]


class WriterFailed(RuntimeError):  # noqa: N818 - what happened
    """The writer came upon what is no mistake of the client's; its log says more."""


def plain(changes: Sequence[Change]) -> list[Any]:
    """Return changes as values that JSON has."""
    return [[type(each).__name__, vars(each)] for each in changes]


def changes_of(given: Sequence[Any]) -> list[Change]:
    """Return the changes that `plain` made values of."""
    return [CHANGES[kind](**values) for kind, values in given]


def ask(door: Path, question: Answer, seconds: float) -> Answer:
    """Ask the writer, and return its answer or raise the error that it is.

    Raises StoreFailed too where no answer came: the writer ended meanwhile, or took longer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(door))
            connection.sendall(json.dumps(question).encode())
            connection.shutdown(socket.SHUT_WR)
            answer: Answer = json.loads(_read(connection))
    except (OSError, ValueError) as error:  # ValueError: cut off
        raise StoreFailed(NO_ANSWER) from error
    if "error" in answer:
        raise ERRORS.get(answer["error"], WriterFailed)(answer["message"])
    return answer


def reply(connection: socket.socket, answer: Callable[[Answer], Answer]) -> None:
    """Read a question, and send what `answer` returns or raises."""
    with connection, contextlib.suppress(OSError):  # who asked is gone
        try:
            question = json.loads(_read(connection))
        except ValueError:  # cut off: who asked was killed
            return
        connection.sendall(json.dumps(_answer(question, answer)).encode())


def _answer(question: Answer, answer: Callable[[Answer], Answer]) -> Answer:
    try:
        return answer(question)
    except Exception as error:
        kind = next((name for name in map(_name, type(error).__mro__) if name in ERRORS), None)
        if kind is None:
            LOG.exception("what another worker passed on failed")
        return {"error": kind or "failed", "message": str(error)}


def _name(kind: type) -> str:
    return kind.__name__


def _read(connection: socket.socket) -> bytes:
    found = bytearray()
    while piece := connection.recv(PIECE_BYTES):
        found += piece
    return bytes(found)
