"""What a billion interactions would cost, from constants measured here; docs/scale.md has the tables.

  python scripts/bench/scale.py                  writes the tables into docs/scale.md, from the kept figures
  python scripts/bench/scale.py --measure        measures the constants three times: 10 CPU minutes
  python scripts/bench/scale.py --check          trains with 1, 2 and 4 processes, and simulates the same
  python scripts/bench/scale.py --profile        profiles steps with 1 and 2 processes
  python scripts/bench/scale.py --price 2.5      another price of a machine's hour; prints, and writes nothing

Figures are in scripts/bench/results/scale.json: medians, with the lowest and the highest. The constants are
processor time of one thread, which other work on the machine changes little.
"""

import argparse
import json
import math
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
from scale_plan import (
    ASSUMED,
    Constants,
    Machine,
    Workload,
    gathered,
    limits,
    reduced,
    stages,
    training_cost,
    training_step,
)
from training_simulation import Cluster, Disturbances, mean_step

from twotower.files.atomic import write_text_atomically

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = Path(__file__).parent / "results" / "scale.json"
MACHINES = (1, 4, 16)
PROCESSES = (1, 2, 4)
PARTS = (
    *("forward", "backward", "optimizer", "other", "step", "gather of items", "all-reduce of tables"),
    *("all-reduce, dense", "batches, in another thread"),
)
Results = dict[str, Any]


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


def measure(repeats: int) -> None:
    """Measure the constants, each time in a new process, and keep them."""
    runs = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, __file__, "--once"], stdout=subprocess.PIPE, text=True, check=True
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"measured {len(runs)} of {repeats}", flush=True)
    keep("constants", spread(runs))


def check(repeats: int) -> None:
    """Train with 1, 2 and 4 processes in turn, and keep what was measured."""
    from scale_measure import BATCH, NEGATIVES, sized, timed_training

    runs: dict[int, list[dict[str, float]]] = {size: [] for size in PROCESSES}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            for size in PROCESSES[:: -1 if number % 2 else 1]:
                figures = timed_training(Path(folder), sized(BATCH, NEGATIVES), size, 40)
                runs[size].append(
                    {name: float(figures[name]) for name in ("median", "mean", "sigma", "sent", "others")}
                )
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


def checked_workload(constants: Mapping[str, Mapping[str, float]], batch: int, size: int) -> Workload:
    """Return the workload of the check: its items and rows of a step as one process counted them."""
    candidates = constants["check_candidates"]["median"]
    rows = constants[f"check_rows_{batch // size}"]["median"] * size
    return Workload(
        interactions=(rows - candidates) / batch,
        users=1,
        items=20_000,
        batch=batch,
        negatives=round(candidates - batch),
    )


def simulated_check(results: Results, size: int) -> tuple[float, float]:
    """Return the simulated seconds of a step of the check, and the bytes that a process should send in it.

    Both are made from trainings of one process, from exchanges alone, and from the load of the machine.
    """
    values, measured = results["constants"]["figures"], results["check"]["figures"]
    constants = Constants.read(values)
    workload = checked_workload(values, measured["batch"], size)
    here = Machine(cores=2, network=math.inf, latency=constants.exchange_small)
    cluster = Cluster(1, size, here.cores, measured[str(size)]["others"]["median"])
    step, _ = training_step(constants, workload, here, cluster, "replicated")
    noise = Disturbances(sigma=measured["1"]["sigma"]["median"])
    exchanges = gathered(constants, workload, size), reduced(constants, workload, size, "replicated")
    return mean_step(step, cluster, noise, 200), sum(each.sent for each in exchanges)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column left-aligned."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits and without an exponent."""
    if not value or not math.isfinite(value):
        return "0" if not value else "-"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{float(f'{value:.{digits}g}'):,.{places}f}"


def scaled(values: Mapping[str, float], factor: float, digits: int = 3) -> str:
    """Return a median with its range."""
    median, low, high = (short(values[name] * factor, digits) for name in ("median", "lowest", "highest"))
    return f"{median} ({low} to {high})"


def scaling_table(results: Results) -> str:
    """Return the time of an example and the bytes sent with 1, 2 and 4 processes."""
    figures = results["check"]["figures"]
    rows = []
    for size in PROCESSES:
        each = figures[str(size)]
        _, sent = simulated_check(results, size)
        rows.append(
            [
                f"{size}",
                scaled(each["median"], 1e6 / figures["batch"]),
                short(figures["batch"] / each["median"]["median"]),
                short(each["sent"]["median"] / 1e6),
                short(sent / 1e6),
                scaled(each["others"], 1.0, 2),
            ]
        )
    heads = (
        "processes",
        "µs per example",
        "examples/s",
        "MB sent per step and process",
        "by formula",
        "other busy threads",
    )
    return table(heads, rows)


def check_table(results: Results) -> str:
    """Return simulated and measured steps."""
    rows = []
    for size in PROCESSES:
        mean = results["check"]["figures"][str(size)]["mean"]
        simulated, _ = simulated_check(results, size)
        rows.append(
            [f"{size}", short(simulated * 1e3), scaled(mean, 1e3), f"{simulated / mean['median']:.2f}"]
        )
    return table(("processes", "simulated, ms", "measured, ms", "ratio"), rows)


def profile_table(results: Results) -> str:
    """Return milliseconds of a step, and shares of it, by part."""
    figures = results["profile"]["figures"]
    columns = [(name, size) for name in figures for size in figures[name]]
    rows = []
    for part in PARTS:
        cells = []
        for name, size in columns:
            seconds, whole = (figures[name][size][key] for key in (part, "step"))
            cells.append(f"{short(seconds * 1e3)} ({seconds / whole:.0%})" if seconds else "-")
        rows.append([part, *cells])
    sent = [short(figures[name][size]["sent"] / 1e6) if size != "1" else "-" for name, size in columns]
    rows.append(["MB sent by a process", *sent])
    return table(("ms per step", *(f"{name}, {size}" for name, size in columns)), rows)


UNITS = {"_bytes": ("bytes", 1.0), "_seconds": ("ns", 1e9), "_share": ("", 1.0)}
MEANINGS = {
    "step_seconds": "training step: fixed part",
    "example_seconds": "per example",
    "item_seconds": "per embedded item",
    "score_seconds": "per score of an example and an item",
    "forward_share": "share of the forward pass",
    "gather_seconds": "batch, in another thread: per example",
    "optimizer_row_seconds": "row-wise Adagrad: per row with a gradient",
    "dense_weight_seconds": "AdamW on a dense table: per weight",
    "exchange_small": "two processes: an exchange of 4 bytes",
    "exchange_dense_byte": "dense sum: per byte",
    "exchange_gather_byte": "gathering: per byte of the result",
    "exchange_sparse_row": "sparse sum: per row of each process",
    "log_bytes": "interaction in Parquet",
    "build_seconds": "building the data set: per interaction",
    "build_bytes": "memory of building: per interaction",
    "stored_bytes": "data set on disk: per interaction",
    "order_seconds": "arrays and order of an epoch: per interaction",
    "batch_bytes": "memory of training data: per interaction",
    "id_bytes": "memory of an id",
    "embed_item_seconds": "embedding an item",
    "embed_user_seconds": "embedding a user with its history",
    "exact_score_seconds": "exact search: per user and item",
    "index_item_seconds": "`ivf_pq`, training: per item",
    "index_add_seconds": "adding: per item",
    "index_cell_seconds": "adding: per item and cell",
    "index_bytes": "`ivf_pq`: per item",
    "query_cell_seconds": "search in 16 cells: per cell of the index",
}


def constants_table(results: Results) -> str:
    """Return the measured constants."""
    values, rows = results["constants"]["figures"], []
    for name, meaning in MEANINGS.items():
        unit, factor = next((UNITS[end] for end in UNITS if name.endswith(end)), ("ns", 1e9))
        rows.append(
            [meaning, *(short(values[name][key] * factor) for key in ("median", "lowest", "highest")), unit]
        )
    return table(("constant", "median", "lowest", "highest", "unit"), rows)


def training_table(constants: Constants, workload: Workload, planned: Machine) -> str:
    """Return the training with tables in every process, and in shards, on several numbers of machines."""
    rows = []
    for layout in ("replicated", "sharded"):
        for number in MACHINES:
            cost = training_cost(constants, workload, planned, number, layout)  # type: ignore[arg-type]
            figures = (
                [
                    short(cost.sent / 1e6),
                    short(cost.ideal * 1e3),
                    short(cost.step * 1e3),
                    short(cost.hours),
                    f"{cost.failures}, {short(cost.lost, 2)} h",
                    short(cost.money),
                ]
                if cost.processes
                else ["does not fit", *["-"] * 5]
            )
            rows.append([layout, f"{number} x {cost.processes}", short(cost.process_bytes / 1e9), *figures])
    heads = (
        "tables and data",
        "machines x processes",
        "GB per process",
        "MB sent per step and machine",
        "ms per step",
        "with stragglers",
        "hours",
        "failures, lost",
        "cost",
    )
    return table(heads, rows)


def stages_table(constants: Constants, workload: Workload, planned: Machine) -> str:
    """Return the parts besides the training."""
    rows = [
        [
            each.name,
            each.engine,
            f"{each.machines} x {each.cores}",
            f"{short(each.memory / 1e9)}{'' if each.memory <= planned.memory else ' (does not fit)'}",
            short(each.hours),
            short(each.money(planned.price)),
        ]
        for each in stages(constants, workload, planned, MACHINES[-1])
    ]
    return table(("part", "engine", "machines x cores", "GB per machine", "hours", "cost"), rows)


def limits_table(constants: Constants, workload: Workload, planned: Machine) -> str:
    """Return what breaks, the first one first."""
    rows = [
        [each.name, short(each.scale, 2), short(each.scale * workload.items / 1e6, 2), each.remedy]
        for each in limits(constants, workload, planned)
    ]
    return table(("limit of one machine", "share of the plan", "million items", "remedy"), rows)


def assumptions_table(workload: Workload, planned: Machine) -> str:
    """Return what is assumed."""
    log = (
        f"{workload.interactions:,.0f} interactions, {workload.users:,.0f} users, {workload.items:,.0f} items"
    )
    network = f"{planned.network * 8 / 1e9:.0f} Gbit/s, {planned.latency * 1e6:.0f} µs"
    rows = {
        "workload": f"{log}, {workload.epochs} epochs",
        "model": f"{workload.dim} wide, {workload.tables} sparse tables of items, no user ids",
        "batch": f"{workload.batch:,} examples; their positives and {workload.negatives:,} more items",
        "machine": f"{planned.cores} cores as fast as those here, {planned.memory / 1e9:.0f} GB of memory",
        "network, disk": f"{network}; {planned.disk / 1e9:.0f} GB/s",
        "price": f"{planned.price:.2f} per machine and hour, in any currency (`--price`)",
        "noise": f"each computation varies by {ASSUMED.sigma:.0%}; one in {1 / ASSUMED.straggler_share:,.0f} "
        f"takes {ASSUMED.straggler_factor:.0f} times as long",
        "failures": f"one per {ASSUMED.failure_seconds / 3600:,.0f} machine hours; "
        f"{ASSUMED.restart_seconds / 60:.0f} minutes to restart",
    }
    return "\n".join(
        ["| assumed | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def tables(results: Results, workload: Workload, planned: Machine) -> dict[str, str]:
    """Return the tables of the page by the name of their marker."""
    constants = Constants.read(results["constants"]["figures"])
    planned_parts = (constants, workload, planned)
    return {
        "scaling": scaling_table(results),
        "profile": profile_table(results),
        "check": check_table(results),
        "constants": constants_table(results),
        "assumed": assumptions_table(workload, planned),
        "training": training_table(*planned_parts),
        "stages": stages_table(*planned_parts),
        "limits": limits_table(*planned_parts),
    }


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
    for name in ("measure", "check", "profile"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--price", type=float, help="of a machine for an hour")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    if chosen.once:
        from scale_measure import measured

        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(Path(folder))))
        return
    if chosen.measure:
        measure(chosen.repeats)
    if chosen.check:
        check(chosen.repeats)
    if chosen.profile:
        profile()
    if chosen.price is not None:
        found = tables(read(), Workload(), replace(Machine(), price=chosen.price))
        print("\n\n".join(found[name] for name in ("assumed", "training", "stages")))
    else:
        write_text_atomically(PAGE, page())
        print(f"{PAGE}: written, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
