"""What a billion interactions would cost, from constants measured here; docs/scale.md has the tables.

  python scripts/bench/scale.py                  writes the tables into docs/scale.md, from the kept figures
  python scripts/bench/scale.py --measure        measures the constants three times: 10 CPU minutes
  python scripts/bench/scale.py --check          trains with 1, 2 and 4 processes, and simulates the same
  python scripts/bench/scale.py --profile        profiles steps with 1 and 2 processes
  python scripts/bench/scale.py --price 2.5      another price of a machine's hour; prints, and writes nothing
  python scripts/bench/scale.py --gigabits 100   the same for another network, and --batch for a batch

Figures are in scripts/bench/results/scale.json: medians, with the lowest and the highest. The constants are
processor time of one thread, which other work on the machine changes little.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from record import machine
from scale_plan import Machine, Workload
from scale_tables import PROCESSES, Results, tables

from twotower.files.atomic import write_text_atomically

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = Path(__file__).parent / "results" / "scale.json"
CHECKED = ("median", "mean", "sigma", "sent", "cores")


def read() -> Results:
    """Return the kept figures."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.is_file() else {}


def keep(section: str, figures: Any) -> None:
    """Replace a section of the kept figures."""
    content = read() | {section: {"machine": machine(), "figures": figures}}
    write_text_atomically(RESULTS, json.dumps(content, indent=1) + "\n")


def spread(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the median, the lowest and the highest of each figure of some runs."""
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        rounded = (float(f"{each:.4g}") for each in (statistics.median(values), min(values), max(values)))
        found[name] = dict(zip(("median", "lowest", "highest"), rounded, strict=True))
    return found


def measure(parts: Sequence[str], repeats: int) -> None:
    """Measure constants, each time in a new process, and keep them next to the others."""
    from scale_measure import COSTS, fitted_step

    if unknown := set(parts) - COSTS.keys():
        raise SystemExit(f"--measure: {', '.join(unknown)}: expected some of {', '.join(COSTS)}")
    runs = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--once", "--measure", *(parts or COSTS)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"measured {len(runs)} of {repeats}", flush=True)
    found = spread(runs)
    if "step_seconds" in found:  # the coefficients of a fit belong together
        for name, value in fitted_step({name: each["median"] for name, each in found.items()}).items():
            median = float(f"{value:.4g}")
            found[name] = {
                "median": median,
                "lowest": min(median, found[name]["lowest"]),
                "highest": max(median, found[name]["highest"]),
            }
    before = read().get("constants", {}).get("figures", {})
    keep("constants", before | found)


def check(repeats: int) -> None:
    """Train with 1, 2 and 4 processes in turn, and keep what was measured."""
    from scale_measure import BATCH, NEGATIVES, obtained_cores, sized, timed_training

    runs: dict[int, list[dict[str, float]]] = {size: [] for size in PROCESSES}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            for size in PROCESSES[:: -1 if number % 2 else 1]:
                before = obtained_cores(size)
                figures = timed_training(Path(folder), sized(BATCH, NEGATIVES), size, 40)
                figures["cores"] = (before + obtained_cores(size)) / 2
                runs[size].append({name: float(figures[name]) for name in CHECKED})
                print(size, runs[size][-1], flush=True)
    keep("check", {str(size): spread(each) for size, each in runs.items()} | {"batch": BATCH})


def profile() -> None:
    """Profile steps of both recipes with 1 and 2 processes, and keep the seconds of their parts."""
    from scale_measure import RECIPES, profiled_training

    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: {str(size): profiled_training(Path(folder), recipe, size) for size in PROCESSES[:2]}
            for name, recipe in RECIPES.items()
        }
    keep("profile", found)


def filled(text: str, found: Mapping[str, str]) -> str:
    """Return a page with the tables between their markers `<!-- scale: NAME -->` and `<!-- end -->`."""
    for name, content in found.items():
        before, begin, rest = text.partition(f"<!-- scale: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not begin or not end:
            raise SystemExit(f"{PAGE}: has no <!-- scale: {name} --> with an <!-- end -->")
        text = f"{before}{begin}\n{content}\n\n{end}{after}"
    return text


def page() -> str:
    """Return docs/scale.md as the kept figures have it."""
    return filled(PAGE.read_text(encoding="utf-8"), tables(read(), Workload(), Machine()))


def main() -> None:
    """Measure what was asked for, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs="*", metavar="PART", help="steps, exchanges, data, index, ...")
    for name in ("check", "profile"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--price", type=float, help="of a machine for an hour")
    parser.add_argument("--gigabits", type=float, help="of the network, per second")
    parser.add_argument("--batch", type=int, help="examples of a batch of the plan")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    if chosen.once:
        from scale_measure import measured

        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(Path(folder), chosen.measure)))
        return
    if chosen.measure is not None:
        measure(chosen.measure, chosen.repeats)
    if chosen.check:
        check(chosen.repeats)
    if chosen.profile:
        profile()
    planned, workload = Machine(), Workload()
    if chosen.price is not None:
        planned = replace(planned, price=chosen.price)
    if chosen.gigabits is not None:
        planned = replace(planned, network=chosen.gigabits * 1e9 / 8)
    if chosen.batch is not None:
        workload = replace(workload, batch=chosen.batch)
    if (planned, workload) != (Machine(), Workload()):
        found = tables(read(), workload, planned)
        print("\n\n".join(found[name] for name in ("assumed", "training", "stages", "total")))
    else:
        write_text_atomically(PAGE, page())
        print(f"{PAGE}: written, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
