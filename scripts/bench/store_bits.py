"""Is a change of the live store ever lost or altered without a word when bits of its files flip?

  python scripts/bench/store_bits.py                     20,000 flips of each kind; 2 to 5 minutes
  python scripts/bench/store_bits.py database --all      every bit of the database; half an hour

Kinds: a bit of the `database` of a store that was closed, a bit of the `log` of one that was killed, with the
log `moved` into the database or not, and a bit of `both`. A store that is opened all the same must have
exactly its changes, take another one, and have these when it is opened again. Exit status 1: one had not.
"""

import argparse
import contextlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import record

from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore, StoreFailed
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.store_check import promise_file

NUM = 40
NEXT: Sequence[Change] = (EventAdded("7", "7", 7), ItemPut("7", {}))
KINDS = {"database": ("",), "log": ("-wal",), "moved": ("-wal",), "both": ("", "-wal")}
"""Which files a bit flips of."""
Bit = tuple[str, int, int]


def commits() -> list[list[Change]]:
    """Return changes of every kind, as they are committed."""
    some: list[list[Change]] = [
        [ItemPut(f"item {number}", {"price": number}) for number in range(NUM)],
        [EventAdded("u", f"item {number}", number) for number in range(0, NUM, 3)],
        [EventAdded("u", f"item {number}", number, "view") for number in range(NUM)],
        [ItemRemoved(f"item {number}") for number in range(0, NUM, 4)],
        [UserPut(f"user {number}", {"age": number}) for number in range(NUM)],
        [UserForgotten(f"user {number}") for number in range(3, NUM, 5)],
    ]
    for number in range(6):
        some += [[ItemPut(number, {})], [EventAdded(number, 3, 4, "buy")]]
    return some


class Copies:
    """A store's files as they were left, put down again for each trial."""

    def __init__(self, folder: Path, kind: str) -> None:
        made = folder / "made" / "live.db"
        self.path, self._kind = folder / "live.db", kind
        with closing(ChangeStore(made)) as store:
            for number, some in enumerate(commits()):
                store.commit(some)
                if number == 5 and kind == "both":  # the log has what the database has not
                    _move(store)
            if kind == "moved":
                _move(store)
            self.changes = list(store.changes())
            if kind != "database":
                self._keep(made)
        if kind == "database":
            self._keep(made)
        with closing(ChangeStore(made)) as store:
            store.commit(NEXT)
            self.then = list(store.changes())

    def _keep(self, made: Path) -> None:
        self._promise = promise_file(made).read_bytes()
        self.content = {
            suffix: bytearray(made.with_name(made.name + suffix).read_bytes())
            for suffix in ("",) + (("-wal",) if self._kind != "database" else ())
        }

    def put_down(self, bits: Iterable[Bit]) -> None:
        """Write the files with some bits flipped; a closed store's without its promise, to go by less."""
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        for suffix, content in self.content.items():
            flipped = bytearray(content)
            for name, at, bit in bits:
                if name == suffix:
                    flipped[at] ^= 1 << bit
            self.path.with_name(self.path.name + suffix).write_bytes(flipped)
        promise_file(self.path).unlink(missing_ok=True)
        if self._kind != "database":
            promise_file(self.path).write_bytes(self._promise)

    def outcome(self) -> str:
        """Open the store and go on with it."""
        try:
            with closing(ChangeStore(self.path)) as store:
                if list(store.changes()) != self.changes:
                    return "LOST IN SILENCE"
                store.commit(NEXT)
            with closing(ChangeStore(self.path)) as store:
                if list(store.changes()) != self.then:
                    return "LOST LATER IN SILENCE"
        except (InputError, StoreFailed):
            return "told"
        return "harmless"


def _move(store: ChangeStore) -> None:
    """Move the log into the database; the log stays as it is until it is written to again."""
    store._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    store._files.problem(written=True)


def float_bits(copies: Copies, kind: str, num: int | None, seed: int) -> Iterable[tuple[Bit, ...]]:
    """Return which bits flip together: `num` times some, or (None) each once."""
    rng = random.Random(seed)
    if num is None:
        (suffix,) = KINDS[kind]
        for at in range(len(copies.content[suffix])):
            yield from (((suffix, at, bit),) for bit in range(8))
        return
    for _ in range(num):
        yield tuple(
            (name, rng.randrange(len(copies.content[name])), rng.randrange(8)) for name in KINDS[kind]
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="kind")
    parser.add_argument("--flips", type=int, default=20_000)
    parser.add_argument("--all", action="store_true", help="each bit once; not of `both`")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    figures: dict[str, dict[str, int]] = {}
    silent: list[str] = []
    memory = Path("/dev/shm")
    for kind in chosen.kinds or KINDS:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
            copies, outcomes = Copies(Path(name).resolve(), kind), Counter[str]()
            for bits in float_bits(copies, kind, None if chosen.all else chosen.flips, chosen.seed):
                copies.put_down(bits)
                outcome = copies.outcome()
                outcomes[outcome] += 1
                if "SILENCE" in outcome:
                    silent.append(f"{kind}: {outcome}: {bits}")
                    print(silent[-1], file=sys.stderr, flush=True)
        figures[kind] = dict(outcomes)
        print(f"{kind:9}", *(f"{num:8,} {outcome}" for outcome, num in sorted(outcomes.items())), flush=True)
    record.write("store_bits", {**figures, "silent": silent})
    return 1 if silent else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
