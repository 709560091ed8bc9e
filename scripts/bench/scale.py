"""What a billion interactions would cost, from constants measured here; docs/scale.md has the tables.

  python scripts/bench/record.py --run scale               measures the constants, three times: 10 CPU minutes
  python scripts/bench/scale.py                            writes the tables into docs/scale.md
  python scripts/bench/scale.py price=2.5 gigabits=100     prints the plan with these; also batch=4096

Constants are processor time of one thread, which other work on the machine changes little. Costs are pure
functions of them, of a workload and a machine. The machine of the plan, its network, its price and its
disturbances are assumed.
"""

import itertools
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from record import ROOT, Line, Row, Table, read
from scale_constants import COSTS, GRID, MEANINGS, measure_constants, measure_training

from twotower.files.atomic import write_text_atomically
from twotower.model.scoring.fused_softmax import BLOCK_BYTES

PAGE = ROOT / "docs" / "scale.md"
FLOAT, ROW_INDEX = 4, 8
CHECKPOINT_SHARE, CHECKPOINT_STEPS = 0.05, 200  # as `Checkpointing` and `trainer.checkpoint_every_steps`
EXAMPLE_BYTES, KNOWN_BYTES = 48, 12
"""Sent of an example besides its user (ids, time, logit, weight, row), and of an item known to the user."""
SMALL_EXCHANGES = 6
"""Exchanges of a step before the logits, three of them of counts; a trace of two processes shows them."""
SIGMA, STRAGGLER_SHARE, STRAGGLER_FACTOR, FAILURE_SECONDS, RESTART_SECONDS = 0.1, 0.001, 5.0, 1000 * 3600, 600
"""Assumed: deviation of the logarithm of a computation, share and factor of stragglers, mean time between two
failures of a machine, and from a failure to the first step after it."""
MACHINES, PROCESSES, REPEATS, SAMPLES = (1, 4, 16), (1, 2, 4), (1, 2, 3), 20_000
Layout = Literal["replicated", "sharded"]
"""Whether each process holds all tables and all data, as today, or a share of both, which is not built."""
Constants = Mapping[str, float]


@dataclass(frozen=True)
class Workload:
    """What is trained and served.

    Attributes:
        tables: embedding tables of items: one of the item tower and one of histories.
        history: longest history; users have fewer interactions on average.
        known_items: items of a user that are no negatives, on average.
        batch: examples of the whole batch; each process has a share.
        negatives: items of a batch besides its positives.
        validation_users: users that exact search ranks after each epoch.
    """

    interactions: float = 1e9
    users: float = 1e8
    items: float = 1e8
    dim: int = 64
    tables: int = 2
    history: int = 50
    known_items: float = 10.0
    batch: int = 16_384
    negatives: int = 1_024
    dense_weights: int = 41_394
    epochs: int = 3
    validation_users: int = 10_000

    @property
    def candidates(self) -> int:
        """Items that a step embeds; all distinct, since the catalogue is large."""
        return self.batch + self.negatives

    @property
    def num_steps(self) -> int:
        """Steps of all epochs."""
        return math.ceil(self.interactions / self.batch) * self.epochs

    @property
    def table_bytes(self) -> float:
        """Bytes of all tables with row-wise Adagrad: the weights and one number per row."""
        return self.tables * self.items * FLOAT * (self.dim + 1)


@dataclass(frozen=True)
class Machine:
    """The machine of the plan; every field is an assumption. `price` is of an hour, in any currency."""

    cores: int = 16
    memory: float = 128e9
    network: float = 10e9 / 8
    latency: float = 50e-6
    disk: float = 1e9
    price: float = 1.0


def exchanges(c: Constants, load: Workload, size: int, layout: Layout) -> list[tuple[float, float]]:
    """Return the bytes that a process sends, and the seconds of a core to copy and to add them.

    They are of the users with their examples and known items, of the sums of exponentials, and of the
    gradients. Replicated tables: each process receives the rows of all others. Sharded tables: it sends each
    row to the process that holds it, and has received the row's weights in the same way.
    """
    if size == 1:
        return [(0.0, 0.0)] * 3
    others = (size - 1) / size
    users = load.batch * (load.dim * FLOAT + EXAMPLE_BYTES + load.known_items * KNOWN_BYTES) * others
    sums = load.batch * FLOAT * (size - 1)
    gradients = 2 * (load.batch * (load.dim + 1) + load.dense_weights) * FLOAT * others
    work = c["exchange_dense_byte"] * gradients
    rows, row = gradient_rows(load, size), load.dim * FLOAT + ROW_INDEX
    if layout == "replicated":
        gradients += rows * row * (size - 1)
        work += c["exchange_sparse"] * load.tables + c["exchange_sparse_row"] * rows * size / 2
    else:
        gradients += 2 * rows * row * others
        work += 2 * c["exchange_gather_byte"] * 2 * rows * row * others
    byte = c["exchange_gather_byte"]  # measured with two processes, each of which sends a half
    return [(users, 2 * byte * users), (sums, byte * sums), (gradients, work)]


def embedded_items(load: Workload, size: int) -> float:
    """Return the items that a process embeds: its share, and its positives in the shares of others."""
    return load.candidates / size + load.batch / size * (1 - 1 / size)


def gradient_rows(load: Workload, size: int) -> float:
    """Return the rows of tables with a gradient in one process: of its histories and of its items."""
    history_rows = min(load.history, load.interactions / load.users)
    return load.batch * history_rows / size + embedded_items(load, size)


@dataclass(frozen=True)
class Step:
    """A training step: seconds that each process computes, phase by phase, and of the exchange after each.

    All wait for the slowest after each phase. `gather` are seconds of a core for the next batch, in another
    thread of each process; `sent` are the bytes that a machine sends.
    """

    works: tuple[float, ...]
    exchanges: tuple[float, ...]
    gather: float = 0.0
    sent: float = 0.0

    def seconds(self, processes: int, cores: float, slowest: float = 1.0) -> float:
        """Return the time of a step if the slowest process computes so many times as long as the mean."""
        works = sum(self.works) * slowest * max(1.0, processes / cores)
        busy = 1 - min(
            1.0, max(0.0, cores - processes) / processes
        )  # share of the gathering without a free core
        return max(works + sum(self.exchanges) + self.gather * busy, self.gather)


def training_step(
    c: Constants, load: Workload, machine: Machine, machines: int, processes: int, layout: Layout
) -> Step:
    """Return the step: a process has a share of the examples, and scores all users with a share of the items.

    Phases end with the exchanges of users, of the sums of exponentials, of the gradients of users and of
    tables.
    """
    size = machines * processes
    examples, columns = load.batch / size, load.candidates / size
    embedding = c["step_seconds"] + c["example_seconds"] * examples
    embedding += c["item_seconds"] * embedded_items(load, size)
    embedding += c["sample_seconds"] * (load.candidates - embedded_items(load, size))
    backward, scores = c["backward_share"] * embedding, c["score_seconds"] * load.batch * columns
    updated = gradient_rows(load, size) * (size if layout == "replicated" else 1)
    optimized = c["optimizer_seconds"] + c["optimizer_row_seconds"] * updated
    found = exchanges(c, load, size, layout)
    outside = (size - processes) / max(1, size - 1)  # of what a process sends, to other machines
    sent = [each * processes * outside for each, _ in found]
    users, sums, gradients = (work for _, work in found)
    wait = machine.latency * math.ceil(math.log2(size))
    waits = (SMALL_EXCHANGES, math.ceil(load.batch * columns * FLOAT / BLOCK_BYTES), 1, 1, 0)
    network = (sent[0], sent[1], 0.0, sent[2], 0.0)
    return Step(
        (embedding - backward + users, scores / 3 + sums, scores * 2 / 3, backward + gradients, optimized),
        tuple(each / machine.network + number * wait for each, number in zip(network, waits, strict=True)),
        c["gather_seconds"] * examples,
        sum(sent),
    )


def slowest_of(size: int) -> float:
    """Return how many times as long as the mean the slowest of some processes computes, on average."""
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(-(SIGMA**2) / 2, SIGMA, (SAMPLES, size))
    drawn *= np.where(rng.random(drawn.shape) < STRAGGLER_SHARE, STRAGGLER_FACTOR, 1.0)
    return float(drawn.max(axis=1).mean())


def process_bytes(c: Constants, load: Workload, size: int, layout: Layout) -> float:
    """Return the memory of a process of a training: tables, and the arrays of its examples."""
    whole = load.table_bytes + load.interactions * c["batch_bytes"]
    return whole if layout == "replicated" else whole / size


def training_cost(
    c: Constants, load: Workload, machine: Machine, machines: int, layout: Layout
) -> dict[str, float]:
    """Return the cost of a training on a number of machines.

    `processes` of a machine are as many as fit into its cores and its memory, which is `memory` of each; if
    none fits, there is nothing else. `sent` are bytes of a machine in a step, `ideal` its seconds, `step`
    with stragglers. `hours` are of all epochs, with their orders, checkpoints and the expected `failures`,
    which cost the hours `lost`.
    """
    processes = machine.cores
    while processes and processes * process_bytes(c, load, machines * processes, layout) > machine.memory:
        processes -= 1
    size = machines * max(1, processes)
    found = {"processes": processes, "memory": process_bytes(c, load, size, layout)}
    if not processes:
        return found
    step = training_step(c, load, machine, machines, processes, layout)
    seconds = step.seconds(processes, machine.cores, slowest_of(size))
    saved = load.table_bytes / machine.disk / (1 if layout == "replicated" else machines)
    every = max(CHECKPOINT_STEPS, math.ceil(saved / CHECKPOINT_SHARE / seconds))
    training = load.num_steps * seconds + (load.num_steps - 1) // every * saved
    failures = training * machines / FAILURE_SECONDS
    lost = failures * (RESTART_SECONDS + (every * seconds + saved) / 2)
    ordered = load.interactions * load.epochs * c["order_seconds"] / (1 if layout == "replicated" else size)
    hours = (training + lost + ordered) / 3600
    found |= {
        "sent": step.sent,
        "ideal": step.seconds(processes, machine.cores),
        "step": seconds,
        "hours": hours,
    }
    return found | {"failures": failures, "lost": lost / 3600, "money": hours * machines * machine.price}


def limits(c: Constants, load: Workload, machine: Machine) -> list[tuple[str, float, str]]:
    """Return what breaks on one machine, first things first, if users, items and interactions grow alike.

    Of each part: its name, how far it scales (1 is the workload, below 1 it breaks before), and the remedy.
    """
    weights, held = load.tables * load.items * load.dim, process_bytes(c, load, 1, "replicated")
    exact = load.users * load.items * c["exact_score_seconds"] / machine.cores
    found = [
        (
            "exact ranking of all users in an hour (`split=leave_one_out`)",
            math.sqrt(3600.0 / exact),
            "few validation users: `split.unit=share split.valid=...`",
        ),
        (
            f"one process per core with tables and data of its own ({machine.cores} processes)",
            machine.memory / machine.cores / held,
            "fewer processes; tables and data in shards",
        ),
        (
            "dense tables: a step of AdamW on all rows takes a second",
            1 / (weights * c["dense_weight_seconds"]),
            "`sparse=true`",
        ),
        (
            "dense tables: the sum of their gradients over the network takes a second",
            machine.network / (2 * weights * FLOAT),
            "`sparse=true`",
        ),
        (
            "tables with row-wise Adagrad and data of one process",
            machine.memory / held,
            "tables and data in shards",
        ),
        ("int32 rows of users and items", 2**31 / max(load.users, load.items), "int64 rows"),
    ]
    return sorted(found, key=lambda each: each[1])


# The tables of the page.
Spread = dict[str, dict[str, float]]


def spread(lines: Sequence[Line]) -> Spread:
    """Return the median, the lowest and the highest of each figure over the repeats."""
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.figures.items():
            values.setdefault(name, []).append(value)
    return {
        name: {"median": statistics.median(each), "lowest": min(each), "highest": max(each)}
        for name, each in values.items()
    }


def constants_of(lines: Sequence[Line]) -> Spread:
    """Return all constants."""
    return spread([line for line in lines if line.row in COSTS])


def medians(found: Spread) -> dict[str, float]:
    """Return the constants of the plan."""
    return {name: each["median"] for name, each in found.items()}


def checked_workload(c: Constants, size: int) -> Workload:
    """Return the workload of the measured trainings: items and rows of a step as one process counted them."""
    batch, of_share = GRID[0][0], GRID[0][0] // size
    # One process has the gradients of all items of the batch, each of several those of a share.
    items = next(value for name, value in c.items() if name.startswith(f"items_{of_share}_"))
    rows = (c[f"check_rows_{of_share}"] - items) * size
    negatives = round(c["check_candidates"] - batch)
    return Workload(rows / batch, users=1, items=20_000, batch=batch, negatives=negatives, known_items=20)


def computed_step(c: Constants, size: int) -> tuple[float, float]:
    """Return the seconds of a step of the measured trainings by formula, and the bytes of a process."""
    load = checked_workload(c, size)
    here = Machine(cores=2, network=math.inf, latency=c["exchange_small"])
    step = training_step(c, load, here, 1, size, "replicated")
    return step.seconds(size, here.cores), sum(sent for sent, _ in exchanges(c, load, size, "replicated"))


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


def scaled(values: Mapping[str, float], factor: float) -> str:
    """Return a median with its range."""
    median, low, high = (short(values[name] * factor) for name in ("median", "lowest", "highest"))
    return f"{median} ({low} to {high})"


def scaling_table(lines: Sequence[Line]) -> str:
    """Return the time of an example and the bytes sent with several processes, next to the formulas."""
    c, batch, rows = medians(constants_of(lines)), GRID[0][0], []
    for size in PROCESSES:
        each = spread([line for line in lines if line.row == f"{size} processes"])
        seconds, sent = computed_step(c, size)
        measured = [scaled(each["median"], 1e6 / batch), short(batch / each["median"]["median"])]
        sums = [scaled(each["sent"], 1e-6) if size > 1 else "0", short(sent / 1e6)]
        ratio = f"{seconds / each['mean']['median']:.2f}"
        rows.append([f"{size}", *measured, *sums, scaled(each["mean"], 1e3), short(seconds * 1e3), ratio])
    heads = ("processes", "µs per example", "examples/s", "MB sent per step and process", "by formula")
    return table((*heads, "ms per step", "by formula", "ratio"), rows)


def constants_table(found: Spread) -> str:
    """Return the measured constants."""
    rows = []
    for name, meaning in MEANINGS.items():
        unit, factor = ("bytes", 1.0) if name.endswith("_bytes") else ("", 1.0)
        if not unit and name != "backward_share":
            units = {"ms": 1e3, "µs": 1e6, "ns": 1e9}.items()
            unit, factor = next(
                pair for pair in units if found[name]["median"] * pair[1] >= 1 or pair[0] == "ns"
            )
        figures = (short(found[name][key] * factor) for key in ("median", "lowest", "highest"))
        rows.append([meaning, *figures, unit])
    return table(("constant", "median", "lowest", "highest", "unit"), rows)


def plan_tables(c: Constants, load: Workload, planned: Machine) -> dict[str, str]:
    """Return the tables of the plan."""
    rows = []
    for layout, number in itertools.product(("replicated", "sharded"), MACHINES):
        cost = training_cost(c, load, planned, number, layout)  # type: ignore[arg-type]
        figures = ["does not fit", *["-"] * 5]
        if cost["processes"]:
            times = [cost["sent"] / 1e6, cost["ideal"] * 1e3, cost["step"] * 1e3, cost["hours"]]
            lost = f"{cost['failures']:.1f}, {short(cost['lost'], 2)} h"
            figures = [*map(short, times), lost, short(cost["money"])]
        rows.append([layout, f"{number} x {cost['processes']}", short(cost["memory"] / 1e9), *figures])
    broken = [
        [name, short(share, 2), short(share * load.items / 1e6, 2), remedy]
        for name, share, remedy in limits(c, load, planned)
    ]
    heads = ("tables and data", "machines x processes", "GB per process", "MB sent per step and machine")
    times_heads = ("ms per step", "with stragglers", "hours", "failures, lost", "cost")
    limits_heads = ("limit of one machine", "share of the plan", "million items", "remedy")
    return {"training": table((*heads, *times_heads), rows), "limits": table(limits_heads, broken)}


def tables(
    lines: Sequence[Line], load: Workload | None = None, planned: Machine | None = None
) -> dict[str, str]:
    """Return the tables of the page by the name of their marker."""
    found = constants_of(lines)
    plan = plan_tables(medians(found), load or Workload(), planned or Machine())
    return {"scaling": scaling_table(lines), "constants": constants_table(found), **plan}


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
    """Return docs/scale.md with the tables of the stored figures."""
    return filled(PAGE.read_text(encoding="utf-8"), tables(read("scale")))


def rows() -> list[Row]:
    """Return the groups of constants, and trainings of several processes; the seeds number the repeats."""
    constants = [Row(name, (name,), REPEATS) for name in COSTS]
    return [*constants, *(Row(f"{size} processes", (str(size),), REPEATS) for size in PROCESSES)]


def measure(row: Row, seed: int) -> dict[str, Any]:
    """Measure some constants, or a training."""
    return measure_constants(row.name) if row.name in COSTS else measure_training(int(row.words[0]))


def main(words: Sequence[str]) -> None:
    """Write the page, or print the plan with other assumptions."""
    given = {key: float(value) for key, value in (word.split("=", 1) for word in words)}
    if not given:
        return write_text_atomically(PAGE, page())
    planned = replace(Machine(), price=given.get("price", 1.0), network=given.get("gigabits", 10.0) * 1e9 / 8)
    load = replace(Workload(), batch=int(given.get("batch", Workload.batch)))
    found = tables(read("scale"), load, planned)
    print(found["training"])
    return None


TABLES = {"scale": Table("scale.md", rows, measure, lambda lines: "\n\n".join(tables(lines).values()))}

if __name__ == "__main__":
    main(sys.argv[1:])
