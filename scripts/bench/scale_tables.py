"""The tables of docs/scale.md, from the figures that `scale.py` keeps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scale_plan import (
    ASSUMED,
    Constants,
    Layout,
    Machine,
    Workload,
    exchanges,
    limits,
    stages,
    training_cost,
    training_step,
)
from training_simulation import Cluster, Disturbances, mean_step

MACHINES = (1, 4, 16)
PROCESSES = (1, 2, 4)
LAYOUTS: tuple[Layout, ...] = ("replicated", "sharded")
PARTS = (
    *("forward", "backward", "optimizer", "other", "step", "gathers", "all-reduce of tables"),
    *("all-reduce, dense", "batches, in another thread"),
)
Results = dict[str, Any]


def checked_workload(constants: Mapping[str, Mapping[str, float]], batch: int, size: int) -> Workload:
    """Return the workload of the check: its items and rows of a step as one process counted them."""
    candidates, of_share = constants["check_candidates"]["median"], batch // size
    # One process has the gradients of all items of the batch, each of several those of a share.
    items = next(value for name, value in constants.items() if name.startswith(f"items_{of_share}_"))
    rows = (constants[f"check_rows_{of_share}"]["median"] - items["median"]) * size
    return Workload(
        interactions=rows / batch,
        users=1,
        items=20_000,
        batch=batch,
        negatives=round(candidates - batch),
        known_items=20,
    )


def simulated_check(results: Results, size: int) -> tuple[float, float]:
    """Return the simulated seconds of a step of the check, and the bytes that a process should send in it.

    Both are made from trainings of one process, from exchanges alone, and from the cores that as many busy
    processes obtained just before and after, next to the other work of the machine.
    """
    values, measured = results["constants"]["figures"], results["check"]["figures"]
    constants = Constants.read(values)
    workload = checked_workload(values, measured["batch"], size)
    here = Machine(cores=2, network=math.inf, latency=constants.exchange_small)
    cluster = Cluster(1, size, measured[str(size)]["cores"]["median"])
    step, _ = training_step(constants, workload, here, cluster, "replicated")
    works = [phase.work for phase in step.phases]
    # The phases of a step vary independently: each more than their sum, whose variation was measured.
    noise = Disturbances(sigma=measured["1"]["sigma"]["median"] * sum(works) / math.hypot(*works))
    sent = sum(each.sent for each in exchanges(constants, workload, size, "replicated"))
    return mean_step(step, cluster, noise, 200), sent


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
                scaled(each["sent"], 1e-6) if size > 1 else "0",
                short(sent / 1e6),
                scaled(each["cores"], 1.0, 2),
            ]
        )
    heads = (
        "processes",
        "µs per example",
        "examples/s",
        "MB sent per step and process",
        "by formula",
        "cores obtained",
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


UNITS = {"ms": 1e3, "µs": 1e6, "ns": 1e9}
MEANINGS = {
    "step_seconds": "training step: fixed part",
    "example_seconds": "per example",
    "item_seconds": "per embedded item",
    "score_seconds": "per score of an example and an item",
    "backward_share": "share of the backward pass, without scores",
    "sample_seconds": "drawing negatives: per embedded item",
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
    rows = []
    for name, meaning in MEANINGS.items():
        each = results["constants"]["figures"][name]
        unit, factor = ("bytes", 1.0) if name.endswith("_bytes") else ("", 1.0)
        if not unit and name != "backward_share":
            unit, factor = next(
                pair for pair in UNITS.items() if each["median"] * pair[1] >= 1 or pair[0] == "ns"
            )
        figures = (short(each[key] * factor) for key in ("median", "lowest", "highest"))
        rows.append([meaning, *figures, unit])
    return table(("constant", "median", "lowest", "highest", "unit"), rows)


def training_table(constants: Constants, workload: Workload, planned: Machine) -> str:
    """Return the training with tables in every process, and in shards, on several numbers of machines."""
    rows = []
    for layout in LAYOUTS:
        for number in MACHINES:
            cost = training_cost(constants, workload, planned, number, layout)
            figures = (
                [
                    short(cost.sent / 1e6),
                    short(cost.ideal * 1e3),
                    short(cost.step * 1e3),
                    short(cost.hours),
                    f"{cost.failures:.1f}, {short(cost.lost, 2)} h",
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


def total_table(constants: Constants, workload: Workload, planned: Machine) -> str:
    """Return the whole on the most machines: the parts one after another."""
    others, rows = stages(constants, workload, planned, MACHINES[-1]), []
    for layout in LAYOUTS:
        cost = training_cost(constants, workload, planned, MACHINES[-1], layout)
        hours = [cost.hours, sum(each.hours for each in others)]
        money = cost.money + sum(each.money(planned.price) for each in others)
        gigabytes = cost.processes * cost.process_bytes / 1e9
        rows.append([layout, f"{cost.machines}", *map(short, (gigabytes, *hours, sum(hours), money))])
    heads = (
        "tables and data",
        "machines",
        "GB per machine",
        "training, hours",
        "other parts",
        "together",
        "cost",
    )
    return table(heads, rows)


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
        "total": total_table(*planned_parts),
        "limits": limits_table(*planned_parts),
    }
