"""Tables of training steps and epochs, against a textbook's model in plain PyTorch and plain Lightning.

The model is an MLP of 64-128-64 over 20 items of history, on a synthetic log in the shape of MovieLens 1M.
Shapes: P positives, N items, U users, L positions of a history, D embedding.
"""

import contextlib
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from record import Figures, Row, Table, pairs, wall_and_cpu
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from twotower.data.blocks import ArrayWriter, blocks
from twotower.data.interactions import Interactions
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.losses.batch_loss import BatchLoss
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.scoring.batch import Batch
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.training.batches import TrainBatches
from twotower.training.fit import TrainContext, fit
from twotower.training.module import RetrievalModule
from twotower.training.objectives.next_item import NextItem
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.trainer import TrainerChoice

NUM_USERS, NUM_ITEMS, LENGTH, DIM, WIDTH, TEMPERATURE = 6040, 3416, 20, 64, 128, 0.07
TOWER = {
    "_target_": "twotower.model.towers.mlp.Mlp",
    "widths": [WIDTH],
    "normalize": "l2",
}
TOWERS = {
    "embedding_dim": DIM,
    "history": {
        "_target_": "twotower.model.towers.history.weighted_pooling.WeightedPooling",
        "length": LENGTH,
        "last_item": False,
    },
    "user_tower": TOWER | {"residual": "history"},
    "item_tower": TOWER | {"residual": "item_id"},
    "item_bias": {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"},
}


def synthetic_log(seed: int = 0) -> Interactions:
    """Draw a log with MovieLens 1M's skew: 166 items a user, 390 of the user of an interaction.

    A batch of 1024 has about 720 distinct positives, one of 4096 about 1,800.
    """
    rng = np.random.default_rng(seed)
    counts = np.minimum(20 + rng.lognormal(np.log(145) - 0.51, 1.01, NUM_USERS), NUM_ITEMS // 2).astype(int)
    log_q = -np.log(np.arange(NUM_ITEMS) + 51)
    keys = log_q + rng.gumbel(size=(NUM_USERS, NUM_ITEMS)).astype(np.float32)
    order = np.argsort(-keys, axis=1)
    items = np.concatenate([rng.permutation(order[user, :count]) for user, count in enumerate(counts)]) + 1
    users = np.repeat(np.arange(1, NUM_USERS + 1), counts)
    return Interactions.from_rows(users, items, np.arange(len(users)), NUM_USERS)


class Textbook(nn.Module):
    """Two towers and their softmax, as one would write them by hand: nothing is fused, shared or left out.

    Args:
        num_items: N.
        length: L.
        dim: D.
        width: of the hidden layers.
        known: [U + 1, N + 1] bool, the items that each user has.
        log_q: [N + 1] of every item.
        temperature: what scores are divided by.
    """

    known: Tensor
    log_q: Tensor

    def __init__(
        self,
        num_items: int,
        length: int,
        dim: int,
        width: int,
        known: Tensor,
        log_q: Tensor,
        temperature: float,
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, dim)
        self.history = nn.Embedding(num_items + 1, dim, padding_idx=0)
        self.age = nn.Parameter(torch.zeros(length))
        self.user_tower, self.item_tower = (
            nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, dim)) for _ in range(2)
        )
        self.temperature = temperature
        self.register_buffer("known", known)
        self.register_buffer("log_q", log_q)

    @torch.no_grad()
    def take(self, model: TwoTower) -> None:
        """Begin with the weights of another."""
        state = model.state_dict()
        self.items.weight.copy_(state["item_encoders.item_id.table.weight"])
        self.history.weight.copy_(state["history_table.weight"])
        self.age.copy_(state["history.age_logits"].flip(0))
        for side in ("user_tower", "item_tower"):
            own = {name: state[f"{side}.layers.{name}"] for name in ("0.weight", "0.bias")}
            last = max(key for key in state if key.startswith(f"{side}.layers.")).split(".")[2]
            own |= {f"2.{kind}": state[f"{side}.layers.{last}.{kind}"] for kind in ("weight", "bias")}
            getattr(self, side).load_state_dict(own)

    def encode_items(self, rows: Tensor) -> Tensor:
        """Embed items [B] -> [B, D]."""
        embeddings = self.items(rows)
        return F.normalize(self.item_tower(embeddings) + embeddings, dim=-1)

    def encode_users(self, histories: Tensor) -> Tensor:
        """Embed users by their histories [B, L] -> [B, D]."""
        there = histories > 0
        weights = torch.softmax(self.age.expand(histories.shape).masked_fill(~there, -1e9), -1) * there
        pooled = (self.history(histories) * weights[..., None]).sum(1)
        return F.normalize(self.user_tower(pooled) + pooled, dim=-1)

    def in_batch(self, users: Tensor, histories: Tensor, positives: Tensor) -> Tensor:
        """Return the loss of a batch whose positives are each other's negatives, corrected by log q."""
        logits = self.encode_users(histories) @ self.encode_items(positives).T / self.temperature
        logits = logits - self.log_q[positives]
        mask = self.known[users][:, positives]
        mask.fill_diagonal_(False)
        return F.cross_entropy(logits.masked_fill(mask, -torch.inf), torch.arange(len(users)))

    def catalogue(self, users: Tensor, histories: Tensor, positives: Tensor) -> Tensor:
        """Return the loss against every item."""
        items = self.encode_items(torch.arange(1, len(self.log_q)))
        logits = self.encode_users(histories) @ items.T / self.temperature
        mask = self.known[users][:, 1:]
        mask[torch.arange(len(users)), positives - 1] = False
        return F.cross_entropy(logits.masked_fill(mask, -torch.inf), positives - 1)


def module_of(interactions: Interactions, negatives: str, learning_rate: float = 3e-3) -> RetrievalModule:
    """Build our side, with `in_batch.InBatch` or `catalogue.Catalogue` negatives."""
    feature = Id.Config(column="item_id", dim=DIM, dropout=0.0).make(Id)
    ids = pd.DataFrame({"item_id": np.arange(NUM_ITEMS)})
    items = FeatureTable.fit({"item_id": feature}, ids, np.arange(1, NUM_ITEMS + 1), "items")
    users = FeatureTable({}, {}, NUM_USERS)
    torch.manual_seed(0)
    trained = torch.arange(NUM_ITEMS + 1) > 0
    model = TwoTower(TwoTowerConfig.from_settings(TOWERS), users, items, trained)
    corrected = negatives.startswith("in_batch")
    choices = {
        "negatives": (NegativeSampler, f"model.negatives.{negatives}", {}),
        "loss": (
            Loss,
            "model.losses.sampled_softmax.SampledSoftmax",
            {"temperature": TEMPERATURE, "log_q_correction": corrected},
        ),
        "optimizer": (OptimizerChoice, "training.optimizers.adamw.AdamW", {"learning_rate": learning_rate}),
    }
    configs: dict[str, Any] = {
        name: kind.Config.from_spec({"_target_": f"twotower.{target}", **values}, "")  # type: ignore[attr-defined]
        for name, (kind, target, values) in choices.items()
    }
    frequencies = np.bincount(interactions.items, minlength=NUM_ITEMS + 1) / len(interactions)
    frequencies[1:] = np.maximum(frequencies[1:], 1e-9)
    sampler = configs["negatives"].build(torch.from_numpy(frequencies).float())
    compute_loss = BatchLoss(model, sampler, configs["loss"].build())
    return RetrievalModule(compute_loss, configs["optimizer"].build(), 1, 0)


def train_batches(interactions: Interactions, size: int) -> TrainBatches:
    """Return the batches of a training."""
    history = MeanPooling.Config(length=LENGTH, strict=False)
    return NextItem(NextItem.Config(batch_size=size)).batches(interactions, history=history, seed=0)


def precision(low: bool) -> contextlib.AbstractContextManager[Any]:
    """Return autocast to bf16, or nothing."""
    return torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext()


def our_step(module: RetrievalModule, batches: Iterator[Batch], low: bool) -> Callable[[], torch.Tensor]:
    """Return what makes a step of ours, without Lightning."""
    optimizer = module.optimizer_choice.optimizer(p for p in module.parameters() if p.requires_grad)

    def step() -> torch.Tensor:
        batch = next(batches)
        module.on_train_batch_start(batch, 0)
        with precision(low):
            loss = module.batch_loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def textbook_of(interactions: Interactions, module: RetrievalModule) -> Textbook:
    """Build the other side with the same first weights."""
    known = torch.zeros(NUM_USERS + 1, NUM_ITEMS + 1, dtype=torch.bool)
    known[torch.from_numpy(interactions.user_rows()).long(), torch.from_numpy(interactions.items).long()] = (
        True
    )
    log_q = module.negatives.log_q(torch.arange(NUM_ITEMS + 1), 1)
    model = Textbook(NUM_ITEMS, LENGTH, DIM, WIDTH, known, log_q, TEMPERATURE)
    model.take(module.model)
    return model


def their_step(
    model: Textbook, batches: Iterator[Batch], low: bool, in_batch: bool
) -> Callable[[], torch.Tensor]:
    """Return what makes a step of the textbook."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    loss_of = model.in_batch if in_batch else model.catalogue

    def step() -> torch.Tensor:
        batch = next(batches)
        given = (batch.users.rows.long(), batch.users.history_rows.long(), batch.positives.long())
        optimizer.zero_grad()
        with precision(low):
            loss = loss_of(*given)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


def useful_flop(size: int, candidates: float) -> float:
    """Return the floating point operations of a step's products: forward, and twice backward."""
    return 6 * (size * candidates * DIM + (size + candidates) * 2 * DIM * WIDTH)


def product_rate(low: bool) -> float:
    """Return FLOP/s of a product of two square matrices."""
    left, right = (torch.randn(1024, 1024, dtype=torch.bfloat16 if low else torch.float32) for _ in range(2))
    seconds = []
    for _ in range(7):
        began = time.process_time()  # of all threads, as a step's is
        left @ right
        seconds.append(time.process_time() - began)
    return 2 * 1024**3 / statistics.median(seconds)


def measure_step(row: Row, seed: int) -> Figures:
    """Time our step and the textbook's alternately, on gathered batches, after comparing their losses.

    `share` is useful FLOP/s relative to a 1024-cubed matrix product in the same precision; useful are the
    products of distinct candidates and of the towers, three times.
    """
    negatives, size, count, low = row.words[0], int(row.words[1]), int(row.words[2]), row.words[3] == "bf16"
    interactions, in_batch = synthetic_log(), negatives == IN_BATCH
    module = module_of(interactions, negatives)
    batches = list(itertools.islice(train_batches(interactions, size), 4))
    module.train()
    theirs = their_step(textbook_of(interactions, module), itertools.cycle(batches), low, in_batch)
    ours = our_step(module, itertools.cycle(batches), low)
    first = torch.stack([ours(), theirs()])
    torch.testing.assert_close(first[0], first[1], rtol=2e-2 if low else 1e-4, atol=0)
    by_wall, before = pairs(ours, theirs, count), product_rate(low)
    by_cpu = pairs(ours, theirs, count, clock=time.process_time)
    rate = (before + product_rate(low)) / 2
    distinct = statistics.mean(len(batch.positives.unique()) for batch in batches)
    flop = useful_flop(size, distinct if in_batch else NUM_ITEMS)
    return {"wall": by_wall, "cpu": by_cpu, "share": flop / by_cpu["ours"] / rate}


class Examples(Dataset[tuple[int, Tensor, int]]):
    """One example an interaction: its user, what came before it, its item."""

    def __init__(self, interactions: Interactions) -> None:
        whole = next(iter(train_batches(interactions, len(interactions))))
        self.users, self.histories, self.items = (
            whole.users.rows.long(),
            whole.users.history_rows.long(),
            whole.positives,
        )

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, place: int) -> tuple[int, Tensor, int]:
        return int(self.users[place]), self.histories[place], int(self.items[place])


class Plain(pl.LightningModule):
    """The textbook's model as Lightning's guide would have it."""

    def __init__(self, model: Textbook, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss(*batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.0)


def measure_epoch(row: Row, seed: int) -> Figures:
    """Time an epoch of `training.fit`, and one as Lightning's guide has it: a DataLoader that collates.

    Ours gathers, logs to TensorBoard and writes a checkpoint; theirs writes none.
    """
    negatives, size, number = row.words[0], int(row.words[1]), int(row.words[2])
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    whole = synthetic_log()
    users = whole.user_rows()
    keep = users <= users[number - 1]
    log = Interactions.from_rows(
        users[keep], np.asarray(whole.items)[keep], np.asarray(whole.times)[keep], NUM_USERS
    )
    choice = TrainerChoice.Config(max_epochs=1, refit=False, precision="32-true", progress_bar=False)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            context = TrainContext(choice, Path(folder))
            fit(context, module_of(log, negatives), train_batches(log, size), "fit")

    module, examples = module_of(log, negatives), Examples(log)

    def theirs() -> None:
        model = textbook_of(log, module)
        loss = model.in_batch if negatives == IN_BATCH else model.catalogue
        with tempfile.TemporaryDirectory() as folder:
            trainer = pl.Trainer(
                max_epochs=1,
                accelerator="cpu",
                default_root_dir=folder,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(Plain(model, loss), DataLoader(examples, batch_size=size, shuffle=True))

    return {"examples": len(log), **wall_and_cpu(ours, theirs, int(row.words[3]), warm_up=0)}


def log_of(folder: Path, num_rows: int) -> Interactions:
    """Write a log block by block and map it, as an opened data set does."""
    rng = np.random.default_rng(0)
    weights = 1 / (np.arange(NUM_ITEMS) + 51)
    cumulative = np.cumsum(weights / weights.sum())
    items = ArrayWriter(np.int32, num_rows, folder / f"{num_rows}" / "items.npy")
    times = ArrayWriter(np.int64, num_rows, folder / f"{num_rows}" / "times.npy")
    for rows in blocks(num_rows):
        drawn = np.searchsorted(cumulative, rng.random(rows.stop - rows.start), side="right")
        items.append(np.minimum(drawn, NUM_ITEMS - 1) + 1)
        times.append(np.arange(rows.start, rows.stop))
    offsets = np.concatenate([[0, 0], np.arange(A_USER, num_rows + 1, A_USER)])
    return Interactions(offsets, items.finish(), times.finish())


def measure_scaling(row: Row, seed: int) -> Figures:
    """Gather and train batches of logs of several sizes alternately; return microseconds of an example.

    Users have a hundred interactions each. `order` is the share of an example of the order of an epoch, which
    is made once, `prepare` that of the arrays of the training; the ratios are those of the smallest log.
    """
    sizes, figures = [int(word) for word in row.words], {}
    with tempfile.TemporaryDirectory() as folder:
        logs = {size: log_of(Path(folder), size) for size in sizes}
        module = module_of(logs[sizes[0]], IN_BATCH)
        module.train()
        coming, costs = {}, {}
        current: list[Batch] = []  # the step of each log trains on the batch that was gathered last
        steps = {size: our_step(module, iter(current.pop, None), low=False) for size in sizes}
        for size, log in logs.items():
            clock = [time.process_time()]
            batches = train_batches(log, BATCH)
            clock.append(time.process_time())
            coming[size] = iter(batches)
            next(coming[size])
            clock.append(time.process_time())
            costs[size] = {"prepare": (clock[1] - clock[0]) / size, "order": (clock[2] - clock[1]) / size}
        taken: dict[int, list[list[float]]] = {size: [] for size in sizes}
        for number in range(-1, ROUNDS):  # the first of each warms up
            for size in sizes[:: 1 if number % 2 else -1]:
                cpu, wall = time.process_time(), [time.perf_counter()]
                current.append(next(coming[size]))
                wall.append(time.perf_counter())
                steps[size]()
                wall.append(time.perf_counter())
                cpu = time.process_time() - cpu
                taken[size] += [[wall[1] - wall[0], wall[2] - wall[1], wall[2] - wall[0], cpu]] * (
                    number >= 0
                )
    for size in sizes:
        medians: np.ndarray = np.median(taken[size], axis=0) / BATCH
        costs[size] |= dict(zip(("gather", "step", "wall", "cpu"), medians, strict=True))
        figures[f"{size:,}"] = {name: round(float(each) * 1e6, 3) for name, each in costs[size].items()}
        for side in ("wall", "cpu"):
            figures[f"{size:,}"][f"ratio {side}"] = float(costs[size][side] / costs[sizes[0]][side])
    return figures


IN_BATCH, CATALOGUE = "in_batch.InBatch", "catalogue.Catalogue"
BATCH, A_USER, ROUNDS = 4096, 100, 8
STEPS = {
    "in-batch 1024": (IN_BATCH, 1024, 30),
    "in-batch 4096": (IN_BATCH, 4096, 9),
    "catalogue 1024": (CATALOGUE, 1024, 15),
}
"""Negatives, examples of a batch, and pairs."""


def step_rows() -> list[Row]:
    """Return a row for each case in both precisions."""
    return [
        Row(f"{name}, {precision}", (*map(str, case), precision))
        for name, case in STEPS.items()
        for precision in ("fp32", "bf16")
    ]


EPOCHS = [
    Row("in-batch 1024", (IN_BATCH, "1024", "150000", "3"), minutes=3),
    Row("catalogue 1024", (CATALOGUE, "1024", "150000", "1"), minutes=3),
]
LOGS = [Row("1 to 100 million interactions", ("1000000", "10000000", "100000000"), minutes=3)]
TABLES = {
    "step": Table("benchmarks.md", step_rows, measure_step),
    "epoch": Table("benchmarks.md", lambda: EPOCHS, measure_epoch),
    "scaling": Table("benchmarks.md", lambda: LOGS, measure_scaling),
}
