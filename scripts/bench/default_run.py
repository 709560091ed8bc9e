"""The default `scripts/train.py` against another checkout's, in turn; two minutes a pair.

python scripts/bench/default_run.py --against ../before            three pairs
python scripts/bench/default_run.py --against ../before --pairs 1 trainer.max_epochs=2
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from record import write

HERE = Path(__file__).parents[2]


def train(checkout: Path, overrides: Sequence[str]) -> dict[str, float]:
    """Train into an empty folder; return the wall and processor seconds of the whole command."""
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
    return {"wall": wall, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def main() -> None:
    """Print and write the medians of both sides, and those of the ratios of the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="another checkout")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    sides = {"here": HERE, "there": given.against.resolve()}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(given.pairs):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            seconds[name].append(train(sides[name], given.overrides))
            print(f"  {name}: {seconds[name][-1]}")
    pairs = list(zip(*seconds.values(), strict=True))
    seconds["ratio"] = [{clock: here[clock] / there[clock] for clock in here} for here, there in pairs]
    figures = {
        name: {clock: statistics.median(each[clock] for each in of) for clock in ("wall", "processor")}
        for name, of in seconds.items()
    }
    for name, of in figures.items():
        print(f"{name:12} wall {of['wall']:8.2f}  processor {of['processor']:8.2f}")
    print(write("default_run", {**figures, "overrides": given.overrides}))


if __name__ == "__main__":
    main()
