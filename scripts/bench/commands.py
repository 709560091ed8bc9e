"""Whole commands of a checkout, timed from outside: wall and processor seconds, each into an empty folder."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from record import write

HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Took:
    """What a command took.

    Attributes:
        wall: seconds.
        processor: seconds of it and of what it started.
    """

    wall: float
    processor: float


def train(checkout: Path, overrides: Sequence[str]) -> Took:
    """Run a checkout's `scripts/train.py`; an error if it does not end well."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(
            [sys.executable, "scripts/train.py", *overrides, "console=quiet", f"output_root={root}"],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout / "src")},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def in_turn(sides: Mapping[str, Callable[[], Took]], count: int) -> dict[str, dict[str, float]]:
    """Time two sides in turn; prints and returns the medians, and those of first / second over the pairs.

    Args:
        sides: two of them, by name.
        count: pairs.
    """
    found: dict[str, list[Took]] = {name: [] for name in sides}
    for number in range(count):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            found[name].append(sides[name]())
            print(f"  {name}: {found[name][-1].wall:.1f} s, processor {found[name][-1].processor:.1f} s")
    medians = {
        name: {
            "wall": statistics.median(each.wall for each in of),
            "processor": statistics.median(each.processor for each in of),
        }
        for name, of in found.items()
    }
    ones, others = found.values()
    ratio = {
        "wall": statistics.median(one.wall / other.wall for one, other in zip(ones, others, strict=True)),
        "processor": statistics.median(
            one.processor / other.processor for one, other in zip(ones, others, strict=True)
        ),
    }
    for name, of in (medians | {"ratio": ratio}).items():
        print(f"{name:12} wall {of['wall']:8.2f}  processor {of['processor']:8.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")
    return medians | {"ratio": ratio}


def compare_trainings(
    name: str,
    about: str | None,
    option: str,
    sides_of: Callable[[Path], Mapping[str, tuple[Path, Sequence[str]]]],
    default: Path | None = None,
) -> None:
    """Read the command line, time two sides' `scripts/train.py` in turn and keep the figures.

    Args:
        name: of the benchmark.
        about: for `--help`.
        option: that names a checkout.
        sides_of: that checkout -> two sides by name, each a checkout and the overrides that make it.
        default: the checkout where none is named; None where one must be.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(option, dest="checkout", type=Path, default=default, required=default is None)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    sides = {
        side: partial(train, checkout, [*overrides, *given.overrides])
        for side, (checkout, overrides) in sides_of(given.checkout).items()
    }
    print(write(name, {**in_turn(sides, given.pairs), "overrides": given.overrides}))
