"""What an example costs in training as the log on the disk grows: 1 M, 10 M and 100 M interactions.

  python scripts/bench/scaling.py                              two minutes, 1.3 GB of disk and 3 GB of memory
  python scripts/bench/scaling.py --rows 1_000_000 10_000_000  half a minute

A step is in-batch 4096 on 3,416 items, as in `step.py`; users have a hundred interactions each. Batches of
the logs are gathered and trained on in turn, so that all meet the same load. An epoch's order is made once
for all of its examples, so its share of each is told beside. The ratio is that of the medians of an
example's gathering and step (by the wall, and by the processor) to those of the smallest log.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from record import write
from step_model import LENGTH, NUM_ITEMS, module_of, our_step

from twotower.data.blocks import ArrayWriter, blocks
from twotower.data.interactions import Interactions
from twotower.model.scoring.batch import Batch
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.batches import TrainBatches
from twotower.training.objectives.next_item import NextItem

BATCH, A_USER, ROUNDS = 4096, 100, 8


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


class Side:
    """The training on one log.

    Args:
        log: of it.
        step: trains on what `batch` holds.
    """

    def __init__(self, interactions: Interactions) -> None:
        objective = NextItem(NextItem.Config(batch_size=BATCH))
        began = time.process_time()
        self.batches = TrainBatches(
            interactions, objective, history=MeanPooling.Config(length=LENGTH, strict=False), seed=0
        )
        self.prepared = (time.process_time() - began) / len(interactions)
        began = time.process_time()
        self.coming = iter(self.batches)
        self.batch = next(self.coming)
        self.ordered = (time.process_time() - began) / len(interactions)
        self.taken: dict[str, list[float]] = {"gather": [], "step": [], "wall": [], "cpu": []}

    def current(self) -> Iterator[Batch]:
        """Give the batch that was gathered last, again and again."""
        while True:
            yield self.batch


def compare(logs: dict[int, Interactions]) -> dict[str, Any]:
    """Gather and train in turn; return the medians of each log."""
    module = module_of(next(iter(logs.values())), "in_batch.InBatch")
    module.train()
    sides = {num_rows: Side(log) for num_rows, log in logs.items()}
    steps = {num_rows: our_step(module, side.current(), low=False) for num_rows, side in sides.items()}
    for number in range(-1, ROUNDS):
        for num_rows, side in list(sides.items())[:: 1 if number % 2 else -1]:
            cpu, began = time.process_time(), time.perf_counter()
            side.batch = next(side.coming)
            gathered = time.perf_counter()
            steps[num_rows]()
            ended, cpu = time.perf_counter(), time.process_time() - cpu
            if number >= 0:  # the first of each warms up
                for name, seconds in zip(
                    side.taken, (gathered - began, ended - gathered, ended - began, cpu), strict=True
                ):
                    side.taken[name].append(seconds / BATCH)
    figures: dict[str, Any] = {}
    for num_rows, side in sides.items():
        figures[f"{num_rows}"] = {name: statistics.median(each) for name, each in side.taken.items()}
        figures[f"{num_rows}"] |= {"order": side.ordered, "prepare": side.prepared}
    return figures


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = compare({num_rows: log_of(Path(folder), num_rows) for num_rows in arguments.rows})
    print("microseconds an example; bar 1.5 x, goal 1.2 x")
    print("interactions   gather     step      cpu    order  prepare   ratio: wall    cpu    load")
    first = figures[f"{arguments.rows[0]}"]
    load = os.getloadavg()[0]
    for num_rows in arguments.rows:
        own = figures[f"{num_rows}"]
        ratios = [own[name] / first[name] for name in ("wall", "cpu")]
        own |= {"ratio_wall": ratios[0], "ratio_cpu": ratios[1]}
        told = "".join(f"{own[name] * 1e6:9.2f}" for name in ("gather", "step", "cpu", "order", "prepare"))
        print(f"{num_rows:>12,}{told}{ratios[0]:14.2f}{ratios[1]:7.2f}{load:8.1f}")
    write("scaling", figures)


if __name__ == "__main__":
    main()
