"""Clients of `kills.py`: each alone changes its own items and users, so it knows what they must be."""

import random
from collections import Counter
from collections.abc import Iterator, Set
from typing import Protocol

from twotower.serving.live_items import ItemId, UserId

NUM_NEW_ITEMS, NUM_USERS = 12, 6
FIRST_TIME = 1_500_000_000
GONE = "(not offered)"
ACTIONS = ("read", "put", "remove", "event")
Offered = dict[ItemId, str | None]


class Gone(Exception):  # noqa: N818 - what the service is
    """The service does not answer any more: what was asked may have been done or not."""


class Nobody(Exception):  # noqa: N818 - who the user is
    """The service knows no such user."""


class Connection(Protocol):
    """What a client asks; all raise `Gone` when the service ends, and RuntimeError where it refuses."""

    def put(self, item_id: ItemId, label: str) -> None: ...
    def remove(self, item_id: ItemId) -> None: ...
    def event(self, user_id: UserId, item_id: ItemId, time: int) -> None: ...
    def offered(self, user_id: UserId | None) -> Offered:
        """Return label by id of all items that are offered, without those the user has; None for all.

        Raises:
            Nobody: the user is not known.
        """


class Service(Protocol):
    """A process that can be killed."""

    def begin(self) -> None:
        """Start it and do not wait."""

    def start(self) -> float:
        """Start it unless it was begun, wait until it answers, and return the seconds; raises if it ends."""

    def kill(self) -> None:
        """Send SIGKILL and wait until it is gone; nothing where there is none."""

    def connect(self) -> Connection: ...


class Client:
    """One client, with what it was acknowledged.

    Args:
        number: which one, from 0.
        num_clients: each has every so-many-th item of the bundle.
        service: has started.
        seed: of what it does.
    """

    def __init__(self, number: int, num_clients: int, service: Service, seed: int) -> None:
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
        except (RuntimeError, Nobody) as error:
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
            except Nobody:
                left = set(offered)
            if self._unsure_event is not None and self._unsure_event[0] == user:
                item = self._unsure_event[1]
                self.done["under way and kept" if item not in left else "under way and absent"] += 1
                seen |= {item} - left
                self._unsure_event = None
            self.problems += self._wrong_events(user, left, set(offered))
        found_problems, self.problems = self.problems, []
        return found_problems

    def _step(self, connection: Connection) -> None:
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
