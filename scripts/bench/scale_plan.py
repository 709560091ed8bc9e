"""What a large training costs: pure functions of measured constants, a workload and a machine.

Seconds are those of one core of the machine that was measured. What is assumed are the machine of the plan,
its network, its price and its disturbances.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Literal

from training_simulation import Cluster, Disturbances, Phase, Step, long_training, mean_step

from twotower.model.scoring.fused_softmax import BLOCK_BYTES

FLOAT, ROW_INDEX = 4, 8
CHECKPOINT_SHARE, CHECKPOINT_STEPS = 0.05, 200  # as `Checkpointing` and `trainer.checkpoint_every_steps`
EXAMPLE_BYTES, KNOWN_BYTES = 48, 12
"""Sent of an example besides its user (ids, time, logit, weight, row), and of an item known to the user."""
SMALL_EXCHANGES = 6
"""Exchanges of a step before the logits, three of them of counts; a trace of two processes shows them."""
SIMULATED_STEPS, SIMULATED_TRAININGS = 40, 10
Layout = Literal["replicated", "sharded"]
"""Whether each process holds all tables and all data, as today, or a share of both, which is not built."""


@dataclass(frozen=True)
class Constants:
    """Measured constants: seconds of processor and bytes; `scale.json` has the range of each.

    Attributes:
        step_seconds: of a training step, whatever its batch; then by example, embedded item and score.
        backward_share: share of the backward pass in a step without scores, whose gradients are computed in
            the forward pass, and without the optimizer.
        sample_seconds: of drawing negatives, by embedded item; each process draws those of the whole batch.
        gather_seconds: of a batch, by example, in another thread.
        optimizer_row_seconds: of a row of a sparse table (row-wise Adagrad); with a fixed part.
        dense_weight_seconds: of a weight of a dense table (AdamW).
        exchange_small: of an exchange of some bytes among two processes; then by byte of a dense sum and of
            gathered rows, and by row of a sparse sum of two processes.
        log_bytes: of an interaction in Parquet; then the seconds and the memory of building the data set, its
            bytes on disk, the seconds of an epoch's order and the arrays of a training.
        id_bytes: of the id of a user or an item in memory.
        embed_item_seconds: of an item; then of a user with its history, and of a score of exact search.
        index_seconds: of training `ivf_pq`; then by item, by item that is added, and by item and cell of it.
        query_seconds: of a search in 16 cells; then by cell of the index.
    """

    step_seconds: float
    example_seconds: float
    item_seconds: float
    score_seconds: float
    backward_share: float
    sample_seconds: float
    gather_seconds: float
    optimizer_seconds: float
    optimizer_row_seconds: float
    dense_weight_seconds: float
    exchange_small: float
    exchange_dense: float
    exchange_dense_byte: float
    exchange_gather_byte: float
    exchange_sparse: float
    exchange_sparse_row: float
    log_bytes: float
    build_seconds: float
    build_bytes: float
    stored_bytes: float
    order_seconds: float
    batch_bytes: float
    id_bytes: float
    embed_item_seconds: float
    embed_user_seconds: float
    exact_score_seconds: float
    index_seconds: float
    index_item_seconds: float
    index_add_seconds: float
    index_cell_seconds: float
    index_bytes: float
    query_seconds: float
    query_cell_seconds: float

    @classmethod
    def read(cls, values: Mapping[str, Mapping[str, float]]) -> "Constants":
        """Read the medians of the section `constants` of the results file."""
        return cls(**{each.name: float(values[each.name]["median"]) for each in fields(cls)})


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
    def history_rows(self) -> float:
        """Rows of a history in a step, at most."""
        return min(self.history, self.interactions / self.users)

    @property
    def num_steps(self) -> int:
        """Steps of all epochs."""
        return math.ceil(self.interactions / self.batch) * self.epochs

    @property
    def row_bytes(self) -> float:
        """Bytes of a row of a table with row-wise Adagrad: the weights and one number."""
        return FLOAT * (self.dim + 1)

    @property
    def table_bytes(self) -> float:
        """Bytes of all tables with row-wise Adagrad."""
        return self.tables * self.items * self.row_bytes


@dataclass(frozen=True)
class Machine:
    """The machine of the plan; every field is an assumption. `price` is of an hour, in any currency."""

    cores: int = 16
    memory: float = 128e9
    network: float = 10e9 / 8
    latency: float = 50e-6
    disk: float = 1e9
    price: float = 1.0


ASSUMED = Disturbances(
    sigma=0.1,
    straggler_share=0.001,
    straggler_factor=5.0,
    failure_seconds=1000 * 3600,
    restart_seconds=600,
)
"""What the plan's simulation assumes; none of it was measured."""


@dataclass(frozen=True)
class Exchange:
    """Exchanges of a step: bytes that a process sends, and seconds of a core to copy and to add them."""

    sent: float
    work: float


def gathered(constants: Constants, workload: Workload, size: int) -> Exchange:
    """Return the exchange of the embeddings of a batch's users with their examples and known items."""
    of_example = workload.dim * FLOAT + EXAMPLE_BYTES + workload.known_items * KNOWN_BYTES
    sent = workload.batch * of_example * (size - 1) / size
    return Exchange(sent, 2 * constants.exchange_gather_byte * sent)  # of two processes, each sent a half


def reduced(constants: Constants, workload: Workload, size: int, layout: Layout) -> Exchange:
    """Return the exchange of gradients: of the gathered users, of the layers, and of the tables.

    Replicated tables: each process receives the rows of all others. Sharded tables: it sends each row to the
    process that holds it, and has received the row's weights in the same way.
    """
    if size == 1:
        return Exchange(0.0, 0.0)
    dense = 2 * (workload.batch * (workload.dim + 1) + workload.dense_weights) * FLOAT * (size - 1) / size
    work = constants.exchange_dense_byte * dense
    rows, row = gradient_rows(workload, size), workload.dim * FLOAT + ROW_INDEX
    if layout == "replicated":
        work += constants.exchange_sparse * workload.tables + constants.exchange_sparse_row * rows * size / 2
        return Exchange(dense + rows * row * (size - 1), work)
    sent = 2 * rows * row * (size - 1) / size
    return Exchange(dense + sent, work + 2 * constants.exchange_gather_byte * sent)


def summed(constants: Constants, workload: Workload, size: int) -> Exchange:
    """Return the exchange of the log-sum-exps of all users: each process receives those of all others."""
    sent = workload.batch * FLOAT * (size - 1)
    return Exchange(sent, constants.exchange_gather_byte * sent)


def exchanges(
    constants: Constants, workload: Workload, size: int, layout: Layout
) -> tuple[Exchange, Exchange, Exchange]:
    """Return the exchanges of a step: of users, of their sums, and of gradients."""
    return (
        gathered(constants, workload, size),
        summed(constants, workload, size),
        reduced(constants, workload, size, layout),
    )


def embedded_items(workload: Workload, size: int) -> float:
    """Return the items that a process embeds: its share, and its positives in the shares of others."""
    return workload.candidates / size + workload.batch / size * (1 - 1 / size)


def gradient_rows(workload: Workload, size: int) -> float:
    """Return the rows of tables with a gradient in one process: of its histories and of its items."""
    return workload.batch * workload.history_rows / size + embedded_items(workload, size)


def training_step(
    constants: Constants, workload: Workload, machine: Machine, cluster: Cluster, layout: Layout
) -> tuple[Step, float]:
    """Return the step of each process, and the bytes that a machine sends in it.

    Each process has a share of the examples, and scores all users with a share of the items. After each phase
    all wait for the slowest: for the users, the sums of exponentials, the gradients of users and of tables.
    """
    size = cluster.machines * cluster.processes
    examples, columns = workload.batch / size, workload.candidates / size
    embedding = (
        constants.step_seconds
        + constants.example_seconds * examples
        + constants.item_seconds * embedded_items(workload, size)
        + constants.sample_seconds * (workload.candidates - embedded_items(workload, size))
    )
    backward = constants.backward_share * embedding
    scores = constants.score_seconds * workload.batch * columns
    updated = gradient_rows(workload, size) * (size if layout == "replicated" else 1)
    optimized = constants.optimizer_seconds + constants.optimizer_row_seconds * updated
    users, sums, gradients = exchanges(constants, workload, size, layout)
    outside = (size - cluster.processes) / max(1, size - 1)  # of what a process sends, to other machines
    sent = [each.sent * cluster.processes * outside for each in (users, sums, gradients)]
    wait = machine.latency * math.ceil(math.log2(size))
    num_blocks = math.ceil(workload.batch * columns * FLOAT / BLOCK_BYTES)
    phases = (
        Phase(embedding - backward + users.work, sent[0] / machine.network + SMALL_EXCHANGES * wait),
        Phase(scores / 3 + sums.work, sent[1] / machine.network + num_blocks * wait),
        Phase(scores * 2 / 3, wait),
        Phase(backward + gradients.work, sent[2] / machine.network + wait),
        Phase(optimized),
    )
    return Step(phases, constants.gather_seconds * examples), sum(sent)


def process_bytes(constants: Constants, workload: Workload, size: int, layout: Layout) -> float:
    """Return the memory of a process of a training: tables, and the arrays of its examples."""
    whole = workload.table_bytes + workload.interactions * constants.batch_bytes
    return whole if layout == "replicated" else whole / size


@dataclass(frozen=True)
class TrainingCost:
    """A training on a number of machines; None where it does not fit.

    Attributes:
        processes: on each machine, as many as fit into its cores and its memory.
        sent: bytes of a machine in a step.
        step: seconds with stragglers; `ideal`: without.
        hours: of all epochs, with checkpoints and failures, the mean of some simulations.
        lost: hours of these that failures cost.
    """

    layout: Layout
    machines: int
    processes: int
    process_bytes: float
    sent: float = math.nan
    ideal: float = math.nan
    step: float = math.nan
    hours: float = math.nan
    lost: float = math.nan
    failures: float = math.nan
    money: float = math.nan


@functools.cache
def training_cost(
    constants: Constants,
    workload: Workload,
    machine: Machine,
    num_machines: int,
    layout: Layout,
    disturbances: Disturbances = ASSUMED,
) -> TrainingCost:
    """Return the cost of a training."""
    processes = machine.cores
    while processes and (
        processes * process_bytes(constants, workload, num_machines * processes, layout) > machine.memory
    ):
        processes -= 1
    held = process_bytes(constants, workload, num_machines * max(1, processes), layout)
    if not processes:
        return TrainingCost(layout, num_machines, 0, held)
    cluster = Cluster(num_machines, processes, machine.cores)
    step, sent = training_step(constants, workload, machine, cluster, layout)
    ideal = mean_step(step, cluster, Disturbances(), 1)
    seconds = mean_step(step, cluster, disturbances, SIMULATED_STEPS)
    saved = workload.table_bytes / machine.disk / (1 if layout == "replicated" else num_machines)
    every = max(CHECKPOINT_STEPS, math.ceil(saved / CHECKPOINT_SHARE / seconds))
    failing = replace(disturbances, checkpoint_steps=every, checkpoint_seconds=saved)
    outcomes = [
        long_training(seconds, workload.num_steps, num_machines, failing, seed)
        for seed in range(SIMULATED_TRAININGS)
    ]
    ordered = workload.interactions * workload.epochs * constants.order_seconds
    ordered /= 1 if layout == "replicated" else num_machines * processes
    hours = (fmean(each.seconds for each in outcomes) + ordered) / 3600
    failures = fmean(each.failures for each in outcomes)
    lost = (fmean(each.lost for each in outcomes) + failures * disturbances.restart_seconds) / 3600
    money = hours * num_machines * machine.price
    return TrainingCost(
        layout, num_machines, processes, held, sent, ideal, seconds, hours, lost, failures, money
    )


@dataclass(frozen=True)
class Stage:
    """A part of the pipeline besides the training.

    Attributes:
        machines: on which its work is divided equally.
        memory: bytes of a machine.
        work: seconds of one core, of all machines.
        cores: cores of a machine that work.
    """

    name: str
    engine: str
    machines: int
    memory: float
    work: float
    cores: int

    @property
    def hours(self) -> float:
        """Time of the stage."""
        return self.work / 3600 / self.machines / self.cores

    def money(self, price: float) -> float:
        """Return the cost of the stage."""
        return self.hours * self.machines * price


def build_seconds(constants: Constants, items: float) -> float:
    """Return the seconds of building `ivf_pq`, which has the square root of the items as cells."""
    return (
        constants.index_seconds
        + (constants.index_item_seconds + constants.index_add_seconds) * items
        + constants.index_cell_seconds * items * math.sqrt(items)
    )


def query_seconds(constants: Constants, items: float) -> float:
    """Return the seconds of a search in 16 cells of that index."""
    return constants.query_seconds + constants.query_cell_seconds * math.sqrt(items)


def stages(constants: Constants, workload: Workload, machine: Machine, num_machines: int) -> list[Stage]:
    """Return the parts besides the training. One core works where the code is serial."""
    entities = workload.users + workload.items
    ids = entities * constants.id_bytes
    vectors = workload.items * workload.dim * FLOAT
    index = workload.items * constants.index_bytes
    bundle = (workload.tables + 1) * vectors + ids
    embedded = workload.items * constants.embed_item_seconds + workload.users * constants.embed_user_seconds
    embedding = max(1, min(machine.cores, int(machine.memory // bundle)))
    ranking = process_bytes(constants, workload, 1, "replicated") + vectors  # each process has all vectors
    query = query_seconds(constants, workload.items)
    exact = workload.validation_users * workload.items * constants.exact_score_seconds
    return [
        Stage(
            "read, sort and split the log",
            f"twotower, one process; {workload.interactions * constants.log_bytes / 1e9:.0f} GB of Parquet, "
            f"{workload.interactions * constants.stored_bytes / 1e9:.0f} GB on disk",
            1,
            ids + workload.interactions * constants.build_bytes,
            workload.interactions * constants.build_seconds,
            1,
        ),
        Stage(
            f"rank {workload.validation_users:,} validation users, {workload.epochs} epochs",
            "twotower, the processes of the training",
            num_machines,
            ranking,
            exact * workload.epochs,
            max(1, min(machine.cores, int(machine.memory // ranking))),
        ),
        Stage(
            "embed all users and items", "twotower embed shard=k/n", num_machines, bundle, embedded, embedding
        ),
        Stage(
            "build the index",
            "twotower build_index, Faiss ivf_pq",
            1,
            vectors + 2 * index,
            build_seconds(constants, workload.items),
            machine.cores,
        ),
        Stage(
            "top 100 of all users through the index",
            "Faiss ivf_pq, 16 cells",
            num_machines,
            index,
            workload.users * query,
            machine.cores,
        ),
    ]


@dataclass(frozen=True)
class Limit:
    """How far a part scales on one machine: `scale` 1 is the workload, below 1 it breaks before."""

    name: str
    scale: float
    remedy: str


def limits(constants: Constants, workload: Workload, machine: Machine) -> list[Limit]:
    """Return what breaks on one machine, first things first, if users, items and interactions grow alike."""
    weights = workload.tables * workload.items * workload.dim
    arrays = workload.interactions * constants.batch_bytes
    ids = (workload.users + workload.items) * constants.id_bytes
    vectors = workload.items * workload.dim * FLOAT
    exact = workload.users * workload.items * constants.exact_score_seconds / machine.cores
    hour = 3600.0
    found = [
        Limit(
            "exact ranking of all users in an hour (`split=leave_one_out`)",
            math.sqrt(hour / exact),
            "few validation users: `split.unit=share split.valid=...`",
        ),
        Limit(
            f"one process per core with tables and data of its own ({machine.cores} processes)",
            machine.memory / machine.cores / (workload.table_bytes + arrays),
            "fewer processes; tables and data in shards",
        ),
        Limit(
            "dense tables: a step of AdamW on all rows takes a second",
            1 / (weights * constants.dense_weight_seconds),
            "`sparse=true`",
        ),
        Limit(
            "dense tables: the sum of their gradients over the network takes a second",
            machine.network / (2 * weights * FLOAT),
            "`sparse=true`",
        ),
        Limit(
            "tables with row-wise Adagrad and data of one process",
            machine.memory / (workload.table_bytes + arrays),
            "tables and data in shards",
        ),
        Limit(
            "embeddings: the bundle of one process",
            machine.memory / ((workload.tables + 1) * vectors + ids),
            "shards that read a share of the bundle",
        ),
        Limit(
            "building the index: vectors and two copies of it",
            machine.memory / (vectors + 2 * workload.items * constants.index_bytes),
            "an index per shard",
        ),
        Limit(
            "building the data set",
            machine.memory / (ids + workload.interactions * constants.build_bytes),
            "a sort by another engine; data in shards",
        ),
        Limit("int32 rows of users and items", 2**31 / max(workload.users, workload.items), "int64 rows"),
    ]
    return sorted(found, key=lambda each: each.scale)
