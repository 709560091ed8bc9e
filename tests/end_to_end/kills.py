"""Does the service keep what it acknowledged, whenever it is killed?

Clients read, put items, remove items and add events at random. At a random moment the process gets SIGKILL
(one time in ten while it starts), is started again and must be as its clients know it: every item offered,
with the label of its latest acknowledged change, or removed; every event in its user's history; of what was
under way either all or nothing; no id that was never sent. Each client alone changes its own items and users.
"""

import contextlib
import json
import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from multiprocessing import connection
from pathlib import Path
from typing import Any

from services import free_port

from twotower.config.errors import InputError
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved
from twotower.serving.live.live_service import LiveService
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import Request, UnknownUser

NUM_NEW_ITEMS, NUM_USERS, SHARE_AT_START = 12, 6, 0.1
FIRST_TIME = 1_500_000_000
GONE = "(not offered)"
ACTIONS = ("read", "put", "remove", "event")
Offered = dict[ItemId, str | None]
HOST, MOST_ITEMS, PATIENCE_SECONDS = "127.0.0.1", 1000, 600


class Gone(Exception):  # noqa: N818 - what the service is
    """The service does not answer any more: what was asked may have been done or not."""


class UnknownUserError(Exception):
    """The service knows no such user."""


class Client:
    """One client, with what it was acknowledged.

    Args:
        number: which one, from 0.
        num_clients: each has every so-many-th item of the bundle.
        service: has started.
        seed: of what it does.
    """

    def __init__(self, number: int, num_clients: int, service: Any, seed: int) -> None:
        self._service = service
        self._rng = random.Random(f"{seed} {number}")
        self.done: Counter[str] = Counter()
        connection = service.connect()
        bundle = connection.offered(None)
        self._text = isinstance(next(iter(bundle)), str)
        mine = sorted(bundle, key=str)[number::num_clients]
        new = [self._id("new", number, position) for position in range(NUM_NEW_ITEMS)]
        self._labels: dict[ItemId, str | None] = {item: bundle[item] for item in mine} | dict.fromkeys(
            new, GONE
        )
        self._sent = {
            self._id("new", n, position) for n in range(num_clients) for position in range(NUM_NEW_ITEMS)
        }
        self._sent |= set(bundle)
        self._seen: dict[UserId, set[ItemId]] = {
            self._id("user", number, position): set() for position in range(NUM_USERS)
        }
        self._unsure_item: tuple[ItemId, str | None] | None = None
        self._unsure_event: tuple[UserId, ItemId] | None = None
        self._time = FIRST_TIME
        self.problems: list[str] = []

    def work_until_gone(self) -> None:
        """Read, put, remove and add events at random until the service is gone."""
        try:
            connection = self._service.connect()
            while True:
                self._step(connection)
        except (RuntimeError, UnknownUserError) as error:
            self.problems.append(repr(error))
        except Gone:
            self.done["under way when killed"] += bool(self._unsure_item or self._unsure_event)

    def problems_after_a_start(self) -> list[str]:
        """Look at everything, settle what was under way, and return what is wrong since the last time."""
        connection = self._service.connect()
        offered = connection.offered(None)
        if self._unsure_item is not None:
            item, label = self._unsure_item
            found = offered.get(item, GONE)
            self.done["under way and kept" if found == label else "under way and absent"] += 1
            if found == label:
                self._labels[item] = label
            self._unsure_item = None
        self.problems += self._wrong_items(offered)
        for user, seen in self._seen.items():
            try:
                left = set(connection.offered(user))
            except UnknownUserError:
                left = set(offered)
            if self._unsure_event is not None and self._unsure_event[0] == user:
                item = self._unsure_event[1]
                self.done["under way and kept" if item not in left else "under way and absent"] += 1
                seen |= {item} - left
                self._unsure_event = None
            self.problems += self._wrong_events(user, left, set(offered))
        found_problems, self.problems = self.problems, []
        return found_problems

    def _step(self, connection: Any) -> None:
        """Do one thing; what is acknowledged is known from then on."""
        rng = self._rng
        action = rng.choices(ACTIONS, [3, 4, 2, 3])[0]
        item = rng.choice([*self._labels][-NUM_NEW_ITEMS:] if rng.random() < 0.5 else [*self._labels])
        user = rng.choice([*self._seen])
        there = self._labels[item] != GONE
        if action == "read":
            everything = not self._seen[user] or rng.random() < 0.5
            offered = connection.offered(None if everything else user)
            self.problems += self._wrong_items(offered, set() if everything else self._seen[user])
        elif action == "put" or not there:
            action, self._time = "put", self._time + 1
            self._unsure_item = (item, f"label {self._time}")
            connection.put(item, f"label {self._time}")
            self._labels[item] = f"label {self._time}"
        elif action == "remove":
            self._unsure_item = (item, GONE)
            connection.remove(item)
            self._labels[item] = GONE
        else:
            self._time += 1
            self._unsure_event = (user, item) if item not in self._seen[user] else None
            connection.event(user, item, self._time)
            self._seen[user].add(item)
        self._unsure_item = self._unsure_event = None
        self.done[f"acknowledged: {action}"] += 1

    def _wrong_items(self, offered: Offered, seen: Set[ItemId] = frozenset()) -> Iterator[str]:
        for item, label in self._labels.items():
            found, expected = offered.get(item, GONE), GONE if item in seen else label
            if found != expected:
                yield f"item {item!r}: expected {expected!r}, found {found!r}"
        for item in set(offered) - self._sent:
            yield f"item {item!r} was never sent"

    def _wrong_events(self, user: UserId, left: set[ItemId], offered: set[ItemId]) -> Iterator[str]:
        if wrong := self._seen[user] & left:
            yield f"user {user!r}: the events of items {sorted(wrong, key=str)} are lost"
        if wrong := offered - left - self._seen[user]:
            yield f"user {user!r}: has items {sorted(wrong, key=str)}, which no event named"

    def _id(self, what: str, number: int, position: int) -> ItemId:
        return f"{what} {number}-{position}" if self._text else 10**9 * (len(what)) + 1000 * number + position


class InsideService:
    """A `LiveService` in a process forked from one that has imported everything: it starts at once."""

    def __init__(self, bundle: Path, store: Path) -> None:
        self._process: Any = None
        self._begun = 0.0
        self._port = free_port()
        self._arguments = str(bundle), str(store)
        self._context = multiprocessing.get_context("forkserver")
        # Torch and Arrow load the latter two when a bundle is opened, which would take each start a second.
        preload = ["twotower.serving.live.live_service", "torch._dynamo", "pyarrow.dataset"]
        self._context.set_forkserver_preload(preload)

    def connect(self) -> "PipeConnection":
        return PipeConnection(self._port)

    def begin(self) -> None:
        self._begun = time.monotonic()
        self._process = self._started()

    def start(self) -> float:
        if self._process is None:
            self.begin()
        while time.monotonic() < self._begun + PATIENCE_SECONDS:
            with contextlib.suppress(Gone):
                self.connect().offered(None)
                return time.monotonic() - self._begun
            if (problem := self._problem()) is not None:
                raise RuntimeError(f"no clean start: {problem}")
            time.sleep(0.02)
        raise RuntimeError(f"not ready within {PATIENCE_SECONDS} seconds")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._end()
            self._process = None

    def _started(self) -> Any:
        arguments = (*self._arguments, self._port)
        process = self._context.Process(target=answer_all, args=arguments, daemon=True)
        process.start()
        return process

    def _problem(self) -> str | None:
        return None if self._process.is_alive() else f"exit status {self._process.exitcode}"

    def _end(self) -> None:
        self._process.join()
        self._process.close()


class PipeConnection:
    """What one client asks over a socket."""

    def __init__(self, port: int) -> None:
        try:
            self._pipe = connection.Client((HOST, port))
        except OSError as error:
            raise Gone from error

    def put(self, item_id: ItemId, label: str) -> None:
        self._ask("put", item_id, label)

    def remove(self, item_id: ItemId) -> None:
        self._ask("remove", item_id)

    def event(self, user_id: UserId, item_id: ItemId, time: int) -> None:
        self._ask("event", user_id, item_id, time)

    def offered(self, user_id: UserId | None) -> Offered:
        return distinct(self._ask("offered", user_id))

    def _ask(self, *question: Any) -> Any:
        try:
            self._pipe.send_bytes(json.dumps(question).encode())
            answer = json.loads(self._pipe.recv_bytes())
        except (OSError, EOFError) as error:
            raise Gone from error
        if answer.get("nobody"):
            raise UnknownUserError
        if "error" in answer:
            raise RuntimeError(f"{question}: {answer['error']}")
        return answer["found"]


def answer_all(bundle: str, store: str, port: int) -> None:
    """Answer all clients, until the process that started this one ends."""
    live = LiveService(Path(bundle).parent, Path(bundle), Path(store))
    listener = connection.Listener((HOST, port), backlog=16)

    def accept() -> None:
        while True:
            threading.Thread(target=_answer, args=(live, listener.accept()), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()


def _answer(live: LiveService, pipe: "connection.Connection[Any, Any]") -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            what, *given = json.loads(pipe.recv_bytes())
            answer: Mapping[str, Any]
            try:
                if what == "offered":
                    answer = {"found": _offered(live, *given)}
                else:
                    live.write(_change(live, what, given))
                    answer = {"found": None}
            except (InputError, StoreFailed) as error:
                answer = {"error": str(error), "nobody": isinstance(error, UnknownUser)}
            pipe.send_bytes(json.dumps(answer).encode())


def _change(live: LiveService, what: str, given: list[Any]) -> Change:
    if what == "put":
        return ItemPut(given[0], {str(live.retriever.bundle.manifest.item_label): given[1]})
    return ItemRemoved(*given) if what == "remove" else EventAdded(*given)


def _offered(live: LiveService, user_id: UserId | None) -> list[tuple[ItemId, str | None]]:
    (found,) = live.retriever.answer(
        [Request(user_id=user_id, k=MOST_ITEMS, exclude_seen=user_id is not None)]
    )
    if isinstance(found, InputError):
        raise found
    return [(each.item_id, each.label) for each in found]


def distinct(found: list[Any]) -> Offered:
    """Return labels by id, refusing an id that comes twice."""
    offered: Offered = dict(found)
    if len(offered) != len(found):
        raise RuntimeError("an item came twice in one answer")
    return offered


def rounds(
    service: Any,
    num_kills: int,
    seed: int,
    most_load_seconds: float = 0.8,
    num_clients: int = 4,
    least_acknowledged: int = 0,
) -> dict[str, Any]:
    """Kill a service again and again.

    Args:
        service: has not been started.
        num_kills: at random moments.
        seed: of the moments and of what the clients do.
        most_load_seconds: from when the clients begin to the kill.
        num_clients: who ask at the same time.
        least_acknowledged: no kill comes before the clients were told so often that something is done.

    Returns:
        The figures; `violations` says what was not as it must be.
    """
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    violations: list[str] = []
    starts = [service.start()]
    clients = [Client(number, num_clients, service, seed) for number in range(num_clients)]
    for kill in range(num_kills):
        if kill and rng.random() < SHARE_AT_START:
            service.kill()
            service.begin()
            time.sleep(rng.uniform(0, max(starts)))
            done["kills while starting"] += 1
        else:
            _load(clients, service, rng.uniform(0.02, most_load_seconds), least_acknowledged)
        service.kill()
        starts.append(service.start())
        for client in clients:
            violations += [f"kill {kill + 1}: {problem}" for problem in client.problems_after_a_start()]
    service.kill()
    for client in clients:
        done.update(client.done)
    return {"kills": num_kills, **done, "violations": violations}


def _load(clients: Sequence[Client], service: Any, seconds: float, least: int) -> None:
    """Have all clients work for a while and kill the service in the middle of it."""
    before = _num_acknowledged(clients)
    threads = [threading.Thread(target=client.work_until_gone) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    while _num_acknowledged(clients) < before + least and any(thread.is_alive() for thread in threads):
        time.sleep(0.001)
    service.kill()
    for thread in threads:
        thread.join()


def _num_acknowledged(clients: Sequence[Client]) -> int:
    return sum(client.done[f"acknowledged: {action}"] for client in clients for action in ACTIONS)
