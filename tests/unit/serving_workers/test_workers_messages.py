"""What workers tell one another arrives as it was, mistakes too."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.live_service import ReloadUnderWay
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.workers.messages import WriterFailed, ask, changes_of, plain, reply

IDS = st.integers(-(2**63), 2**63 - 1) | st.text()
VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())
FEATURES = st.dictionaries(st.text(), VALUES)
CHANGES = st.one_of(
    st.builds(ItemPut, IDS, FEATURES),
    st.builds(ItemRemoved, IDS),
    st.builds(UserPut, IDS, FEATURES),
    st.builds(UserForgotten, IDS),
    st.builds(EventAdded, IDS, IDS, st.integers(0, 2**40), st.none() | st.text()),
)


@contextmanager
def writer(door: Path, answer: Any) -> Iterator[None]:
    """A writer that answers once."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(door))
        listening.listen()
        thread = threading.Thread(target=lambda: reply(listening.accept()[0], answer))
        thread.start()
        yield
        thread.join()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d") / "door"


@settings(max_examples=25)
@given(changes=st.lists(CHANGES, max_size=3))
def test_changes_arrive_as_they_were(changes: list[Change], door: Path) -> None:
    def written(question: Any) -> Any:
        arrived = changes_of(question["write"])
        assert arrived == changes
        assert [type(each) for each in arrived] == [type(each) for each in changes]
        return {"written": len(arrived)}

    door.unlink(missing_ok=True)
    with writer(door, written):
        assert ask(door, {"write": plain(changes)}, 600) == {"written": len(changes)}


class Precise(UnknownItem):
    """A mistake of a kind that others do not know."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((each("key: it's wrong"), each) for each in (InputError, UnknownItem, UnknownUser)),
        *((each("key: it's wrong"), each) for each in (ReloadUnderWay, StoreFailed)),
        (Precise("key: it's wrong"), UnknownItem),
        (KeyError("secret"), WriterFailed),
    ],
)
def test_mistakes_keep_their_kind_and_words(error: Exception, kind: type[Exception], door: Path) -> None:
    def refused(_: Any) -> Any:
        raise error

    door.unlink(missing_ok=True)
    with writer(door, refused), pytest.raises(kind) as told:
        ask(door, {"reload": "x"}, 600)
    assert type(told.value) is kind
    assert str(told.value) == str(error)


def test_who_is_given_no_answer_is_told_that_it_may_be_kept(door: Path) -> None:
    door.unlink(missing_ok=True)
    with pytest.raises(StoreFailed, match="may be kept or not"):
        ask(door, {"write": []}, 600)  # nobody there
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(door))
        listening.listen()
        killed = threading.Thread(target=lambda: listening.accept()[0].close())
        killed.start()
        with pytest.raises(StoreFailed, match="may be kept or not"):
            ask(door, {"write": []}, 600)
        killed.join()
        with pytest.raises(StoreFailed, match="may be kept or not"):
            ask(door, {"write": []}, 0.01)  # nobody answers


def test_half_a_question_is_none() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b'{"write": [["ItemRemoved", {"item_id": 1}]]')  # killed meanwhile
        ours.shutdown(socket.SHUT_WR)
        reply(theirs, lambda _: pytest.fail("it was answered"))
        assert ours.recv(9) == b""
