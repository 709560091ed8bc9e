"""How `store_faults.py` hurts a store, and the services whose store it is."""

import contextlib
import logging
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kills_clients import Service
from kills_services import HttpService, InsideService, answer_all
from service import SERVE

from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import ItemPut

UNLIMITED = resource.RLIM_INFINITY


class Hurtable(Service, Protocol):
    """A service with a store, whose words are kept."""

    store: Path

    def told(self) -> str:
        """Return what it has said since it was begun."""

    def process_id(self) -> int:
        """Return the process that serves."""

    def second(self, store: Path) -> str:
        """Start another one on a store, and return what it says to it; "" where it comes to answer."""

    def item_id(self, number: int) -> Any:
        """Return a new id of the kind of the bundle's."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Hurt:
    """One way to hurt a store.

    Args:
        do: does it, and returns what should not have happened.
        while_running: or after a kill.
        undo: before the process is killed.
    """

    do: Callable[[Hurtable, random.Random], str | None]
    while_running: bool = True
    undo: Callable[[Hurtable], None] = lambda service: None


def _log(store: Path) -> Path:
    return store.with_name(f"{store.name}-wal")


def _moved(service: Hurtable, _: random.Random) -> None:
    service.store.rename(service.store.with_name("moved away"))


def _rewritten(path: Path) -> None:
    """Put a copy in its place, as editors and `sed -i` do."""
    copy = path.with_name("a copy")
    shutil.copy(path, copy)
    copy.replace(path)


def _another(service: Hurtable, _: random.Random) -> None:
    """Put a sound store of other items in its place."""
    other = service.store.parent / "other" / "live.sqlite"
    with contextlib.closing(ChangeStore(other)) as store:
        for number in range(50):
            store.commit([ItemPut(service.item_id(10**6 + number), {})])
    other.replace(service.store)
    _log(service.store).unlink(missing_ok=True)
    shutil.rmtree(other.parent)


def _cut(path: Path, share: float) -> None:
    if path.exists():
        os.truncate(path, int(path.stat().st_size * share))


def _flip(path: Path, rng: random.Random) -> None:
    if path.exists() and path.stat().st_size > 100:
        with path.open("r+b") as file:
            at = rng.randrange(path.stat().st_size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))


def _moved_into_the_database(service: Hurtable, rng: random.Random) -> None:
    """Flip a bit of the database once all is in it and the log is gone."""
    with contextlib.closing(sqlite3.connect(service.store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _flip(service.store, rng)


def _no_room(service: Hurtable, _: random.Random) -> None:
    """Let the process write to no file beyond its size, as where the disk is full."""
    most = max(service.store.stat().st_size, _log(service.store).stat().st_size)
    resource.prlimit(service.process_id(), resource.RLIMIT_FSIZE, (most, UNLIMITED))


def _room(service: Hurtable) -> None:
    resource.prlimit(service.process_id(), resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))


def _second(link: Callable[[Path, Path], None] | None) -> Callable[[Hurtable, random.Random], str | None]:
    def do(service: Hurtable, _: random.Random) -> str | None:
        name = service.store
        if link is not None:
            name = service.store.with_name("another name")
            link(service.store, name)
        said = service.second(name)
        if link is not None:
            name.unlink()
        return None if "in use by" in said else f"a second service was let in: {said!r:.300}"

    return do


def wipe(store: Path) -> None:
    """Remove a store with all that lies beside it."""
    shutil.rmtree(store.parent)
    store.parent.mkdir()


HURTS: dict[str, Hurt] = {
    "deleted while it runs": Hurt(lambda service, _: service.store.unlink()),
    "moved while it runs": Hurt(_moved),
    "cut to nothing while it runs": Hurt(lambda service, _: _cut(service.store, 0)),
    "replaced by a copy while it runs": Hurt(lambda service, _: _rewritten(service.store)),
    "replaced by another while it runs": Hurt(_another),
    "the log deleted while it runs": Hurt(lambda service, _: _log(service.store).unlink()),
    "the log cut while it runs": Hurt(lambda service, _: _cut(_log(service.store), 0)),
    "no room on the disk": Hurt(_no_room, undo=_room),
    "a bit of the log while it runs": Hurt(lambda service, rng: _flip(_log(service.store), rng)),
    "a second service": Hurt(_second(None)),
    "a second service by a symlink": Hurt(_second(lambda store, name: name.symlink_to(store))),
    "a second service by a hard link": Hurt(_second(lambda store, name: name.hardlink_to(store))),
    "a bit of the log": Hurt(lambda service, rng: _flip(_log(service.store), rng), False),
    "the tail of the log": Hurt(
        lambda service, rng: _cut(_log(service.store), rng.uniform(0.2, 0.95)), False
    ),
    "the log deleted": Hurt(lambda service, _: _log(service.store).unlink(missing_ok=True), False),
    "deleted": Hurt(lambda service, _: service.store.unlink(), False),
    "cut to nothing": Hurt(lambda service, _: _cut(service.store, 0), False),
    "cut in half": Hurt(lambda service, _: _cut(service.store, 0.5), False),
    "a bit of the database": Hurt(_moved_into_the_database, False),
    "replaced by another": Hurt(_another, False),
}


class _Told:
    """Words of a service, in a file."""

    store: Path
    _process: Any

    def __init__(self, bundle: Path, store: Path) -> None:
        super().__init__(bundle, store)  # type: ignore[call-arg]
        self.store, self._words = store, store.parent.parent / "words"
        self._text = isinstance(next(iter(self._first_offered())), str)

    def _first_offered(self) -> Any:
        self.start()  # type: ignore[attr-defined]
        offered = self.connect().offered(None)  # type: ignore[attr-defined]
        self.kill()  # type: ignore[attr-defined]
        wipe(self.store)
        return offered

    def told(self) -> str:
        return self._words.read_text(errors="replace")

    def item_id(self, number: int) -> Any:
        return f"new {number}" if self._text else 10**9 + number

    def process_id(self) -> int:
        return int(self._process.pid)

    def close(self) -> None:
        self.kill()  # type: ignore[attr-defined]


class HurtHttp(_Told, HttpService):
    """`scripts/serve.py`; what it prints is kept."""

    def _started(self) -> "subprocess.Popen[bytes]":
        return self._serve(self.store, self._words, self._port)

    def _serve(self, store: Path, words: Path, port: int) -> "subprocess.Popen[bytes]":
        settings = [f"bundle={self._bundle}", f"store={store}", f"port={port}", "console=quiet"]
        with words.open("wb") as file:
            return subprocess.Popen([sys.executable, SERVE, *settings], stdout=file, stderr=file)

    def _problem(self) -> str | None:
        return None if self._process.poll() is None else self.told()

    def second(self, store: Path) -> str:
        """See `Hurtable.second`."""
        words = self._words.with_name("words of the second")
        process = self._serve(store, words, 1)  # a port that it does not come to
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        process.kill()
        process.wait()
        return words.read_text(errors="replace")


class HurtInside(_Told, InsideService):
    """A `LiveService` forked from a process that has imported everything."""

    def _started(self) -> Any:
        return self._serve(self.store, self._words, self._port)

    def _serve(self, store: Path, words: Path, port: int) -> Any:
        words.write_text("")
        given = (self._arguments[0], str(store), port, str(words))
        process = self._context.Process(target=answer_and_tell, args=given, daemon=True)
        process.start()
        return process

    def second(self, store: Path) -> str:
        """See `Hurtable.second`."""
        words = self._words.with_name("words of the second")
        process = self._serve(store, words, 1)
        process.join(60)
        process.kill()
        process.join()
        return words.read_text()


def answer_and_tell(bundle: str, store: str, port: int, words: str) -> None:
    """Answer all clients; write down warnings, and why the service cannot start."""
    logging.getLogger("twotower").addHandler(logging.FileHandler(words))
    try:
        answer_all(bundle, store, port)
    except InputError as error:
        with Path(words).open("a") as file:
            file.write(f"{error}\n")
        sys.exit(2)
