"""Does the service ever lose an acknowledged change without a word when somebody hurts its store?

  python scripts/bench/store_faults.py --faults 40                   over HTTP, the service itself
  python scripts/bench/store_faults.py --faults 40 --bundle outputs/default/<run>      of at most 500 items
  python scripts/bench/store_faults.py --faults 40 --inside          without HTTP: the part that writes, alone

A client puts and removes items. Then the files of the store are hurt, while the service runs (which then goes
on being asked to write) or after it was killed: deleted, moved, replaced, cut, a bit flipped, the disk full,
a second service under another name. After the next start every change that was acknowledged must be there, or
the service must have told that something is missing: refused to start and said what to do, or named the
frames that do not check out. The last line is JSON; the exit status is 1 if anything was lost in silence.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kills import small_run
from kills_clients import GONE, Connection, Gone
from store_hurts import HURTS, Hurt, Hurtable, HurtHttp, HurtInside, wipe

MOST_NEW = 400
"""Items put in by then: one answer can hold them all, and those of the bundle."""


class Client:
    """Who writes, and knows what was acknowledged."""

    def __init__(self, service: Hurtable, seed: int) -> None:
        self._service, self._rng = service, random.Random(seed)
        self._number = 0
        self.done: Counter[str] = Counter()
        self.forget()

    def forget(self) -> None:
        """Begin with an empty store."""
        self.promised: dict[Any, str] = {}
        self._unsure: set[Any] = set()

    def write(self, num_changes: int) -> None:
        """Put and remove items; what is refused, or not answered, may have been done or not."""
        connection = None
        for _ in range(num_changes):
            mine = [item for item, label in self.promised.items() if label != GONE]
            removes = bool(mine) and self._rng.random() < 0.25
            self._number += 1
            item = self._rng.choice(mine) if removes else self._service.item_id(self._number)
            label = GONE if removes else f"label {self._number}"
            try:
                connection = connection or self._service.connect()
                _change(connection, item, label)
            except (Gone, RuntimeError) as error:
                connection = None if isinstance(error, Gone) else connection
                self._unsure.add(item)
                self.promised.pop(item, None)
                self.done["not acknowledged"] += 1
                continue
            self.done["acknowledged"] += 1
            if item not in self._unsure:
                self.promised[item] = label

    def missing(self) -> list[str]:
        """Return what was acknowledged and is not there."""
        offered = self._service.connect().offered(None)
        return [
            f"item {item!r}: expected {label!r}, found {offered.get(item, GONE)!r}"
            for item, label in self.promised.items()
            if offered.get(item, GONE) != label
        ]

    @property
    def is_full(self) -> bool:
        return len(self.promised) + len(self._unsure) > MOST_NEW


def _change(connection: Connection, item: Any, label: str) -> None:
    if label == GONE:
        connection.remove(item)
    else:
        connection.put(item, label)


def faults(
    service: Hurtable, num_faults: int, seed: int, hurts: Mapping[str, Hurt] = HURTS
) -> dict[str, Any]:
    """Hurt a store again and again; see above.

    Args:
        service: has not been started.
        num_faults: each way to hurt one comes as often, in order.
        seed: of what the client does and where bits flip.
        hurts: the ways.

    Returns:
        The figures; `violations` says what was lost in silence.
    """
    rng, client = random.Random(seed), Client(service, seed)
    outcomes: Counter[str] = Counter()
    violations: list[str] = []
    service.start()
    for number in range(num_faults):
        name, hurt = list(hurts.items())[number % len(hurts)]
        client.write(rng.randint(10, 40))
        outcome, found = _one(service, client, hurt, rng)
        outcomes[outcome] += 1
        violations += [f"fault {number + 1}, {name}: {each}" for each in found]
        print(f"{number + 1:3} {name}: {outcome}", file=sys.stderr)
        if outcome != "all was there" or client.is_full:  # what is missing would be missed for ever
            service.kill()
            wipe(service.store)
            client.forget()
            service.start()
    service.kill()
    return {"faults": num_faults, **client.done, **outcomes, "violations": violations}


def _one(service: Hurtable, client: Client, hurt: Hurt, rng: random.Random) -> tuple[str, list[str]]:
    """Hurt a store once, start the service again, and return what came of it and what was lost in silence."""
    problems = []
    if hurt.while_running:
        problem = hurt.do(service, rng)
        problems += [problem] if problem else []
        client.write(10)
        hurt.undo(service)
        service.kill()
    else:
        service.kill()
        hurt.do(service, rng)
    try:
        service.start()
    except RuntimeError:
        told = service.told()
        plain = "Traceback" not in told and str(service.store) in told
        return "refused", problems if plain else [*problems, f"no start, and no message: {told[-500:]}"]
    missing = client.missing()
    if missing and "do not check out" in service.told():
        return "told", problems
    return "lost" if missing else "all was there", [*problems, *missing]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--bundle", type=Path, help="a run's folder, or a bundle")
    parser.add_argument("--inside", action="store_true", help="without HTTP")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundle = chosen.bundle or small_run(Path(name))
        (Path(name) / "store").mkdir()
        kind = HurtInside if chosen.inside else HurtHttp
        service = kind(bundle, Path(name).resolve() / "store" / "live.sqlite")
        with contextlib.closing(service):
            figures = faults(service, chosen.faults, chosen.seed)
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
