"""Memory and time of building a data set from Parquet, beside what others need to read and sort the same log.

  python scripts/bench/data_build.py                      1 M and 10 M interactions, two minutes
  python scripts/bench/data_build.py --rows 100_000_000   six minutes and 8 GB of disk
  python scripts/bench/data_build.py --far                ids that lie far apart, as hashes do

The log has Zipf's users and items, a fiftieth and a five-hundredth of its rows (200,000 items at the most),
and times to the minute in random order. Each figure is of a process of its own, ours and theirs in turn.
Memory is the highest resident set during the build, mapped files included, less that before it: after the
imports and a build of 2,000 interactions. Ours reads the log twice, orders it by user and time, splits it by
the last interaction, audits it and writes, hashes and syncs three histories; the others read it once, sort it
(Polars stably too, which is what ties need) and keep it in memory. A library that is not installed is left
out; none of them is one of the project's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from record import write

KEYS = ["user_id", "timestamp"]
GROUP, TINY = 1_000_000, 2_000
OTHERS = ("polars", "polars stable", "duckdb", "pyarrow")
HEAVY = 30_000_000  # rows from which on the others' memory is not to be had by all
BARS = {1_000_000: (100, None), 10_000_000: (40, None), 100_000_000: (20, 12)}


def zipf(rng: np.random.Generator, size: int, count: int, exponent: float) -> np.ndarray:
    """Return ranks 1..size with frequencies falling as rank ** -exponent."""
    power = 1 - exponent
    ranks = ((rng.random(count) * (size**power - 1)) + 1) ** (1 / power)
    found: np.ndarray = np.minimum(ranks, size).astype(np.int64)
    return found


def make_log(path: Path, num_rows: int, far: bool) -> None:
    """Write a log of Zipf's users and items, row group by row group."""
    rng = np.random.default_rng(0)
    num_users, num_items = max(num_rows // 50, 100), min(max(num_rows // 500, 100), 200_000)
    names = ["user_id", "item_id", "timestamp"]
    with pq.ParquetWriter(path, pa.schema([(name, pa.int64()) for name in names])) as writer:
        for start in range(0, num_rows, GROUP):
            count = min(GROUP, num_rows - start)
            users, items = zipf(rng, num_users, count, 0.6), zipf(rng, num_items, count, 0.9)
            if far:
                users, items = users * 2_654_435_761_007, items * 40_503_000_011
            times = 1_600_000_000 + rng.integers(0, 2 * 365 * 1440, count) * 60
            writer.write_table(pa.table(dict(zip(names, (users, items, times), strict=True))))


def resident(name: str) -> int:
    """Return bytes of this process: "VmRSS" now, "VmHWM" at the most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def build(path: Path) -> None:
    """Build a data set into a folder that is gone afterwards."""
    from twotower.data.build_dataset import build_dataset
    from twotower.data.sources.table_files import TableFiles
    from twotower.data.splits.leave_one_out import LeaveOneOut

    source = TableFiles(TableFiles.Config(interactions_path=str(path)))
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), Path(cache))


def sorter(name: str) -> Callable[[Path], object]:
    """Return what reads a log with a library and sorts it by user and time; an ImportError without it."""
    if name.startswith("polars"):
        import polars  # type: ignore[import-not-found]

        stable = name.endswith("stable")
        return lambda path: polars.read_parquet(path).sort(KEYS, maintain_order=stable)
    if name == "duckdb":
        import duckdb  # type: ignore[import-not-found]

        return lambda path: duckdb.sql(
            f"SELECT * FROM read_parquet('{path}') ORDER BY user_id, timestamp"
        ).fetch_arrow_table()
    return lambda path: pq.read_table(path).sort_by([(key, "ascending") for key in KEYS])


def measure(side: str, path: Path, tiny: Path) -> dict[str, float]:
    """Return seconds, seconds of processor and bytes of one build or sort, in this process."""
    work = build if side == "ours" else sorter(side)
    work(tiny)
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set is now the present one
    before, cpu, began = resident("VmRSS"), time.process_time(), time.perf_counter()
    work(path)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "bytes": resident("VmHWM") - before}


def in_a_process(side: str, path: Path, tiny: Path) -> dict[str, float] | None:
    """Return `measure` of a process of its own, None where the library is not there."""
    command = [sys.executable, __file__, "--child", side, str(path), str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(num_rows: int, far: bool, folder: Path, others: list[str]) -> dict[str, Any]:
    """Measure all sides on one log, in turn, and print a line of each."""
    path, tiny = folder / "log.parquet", folder / "tiny.parquet"
    make_log(path, num_rows, far)
    make_log(tiny, TINY, far)
    rounds = 3 if num_rows < 10_000_000 else 1
    taken: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        sides = ["ours", *others]
        for side in sides if number % 2 == 0 else sides[::-1]:
            found = in_a_process(side, path, tiny)
            if found is not None:
                taken.setdefault(side, []).append(found)
    figures: dict[str, Any] = {"log_bytes": path.stat().st_size, "load": os.getloadavg()[0]}
    for side in [side for side in ("ours", *others) if side in taken]:
        medians = {key: statistics.median(run[key] for run in taken[side]) for key in taken[side][0]}
        pairs = list(zip(taken["ours"], taken[side], strict=True))
        ratios = {
            key: statistics.median(one[key] / two[key] for one, two in pairs) for key in ("seconds", "cpu")
        }
        figures[side] = medians | {f"ours_over_theirs_{key}": value for key, value in ratios.items()}
        print(
            f"{num_rows:>12,}  {side:14}{medians['bytes'] / num_rows:8.1f} B{medians['seconds']:9.2f} s"
            f"{medians['cpu']:9.2f} s{ratios['seconds']:9.2f}{ratios['cpu']:9.2f}    {figures['load']:.1f}",
            flush=True,
        )
    path.unlink()
    return figures


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--far", action="store_true")
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=None)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, path, tiny = arguments.child
        print(json.dumps(measure(side, Path(path), Path(tiny))))
        return
    print("interactions  side            a interaction     wall     cpu   ours / theirs: wall  cpu    load")
    figures = {}
    for num_rows in arguments.rows:
        others = arguments.others
        if others is None:
            others = list(OTHERS) if num_rows < HEAVY else ["polars"]
        with tempfile.TemporaryDirectory() as folder:
            figures[f"{num_rows}"] = compare(num_rows, arguments.far, Path(folder), others)
        bar, goal = BARS.get(num_rows, (None, None))
        if bar is not None:
            print(f"{'':14}bar {bar} B{f', goal {goal} B' if goal else ''}; 2 x the time of polars, goal 1 x")
    write("data_build_far" if arguments.far else "data_build", figures)


if __name__ == "__main__":
    main()
