"""Memory and time of an id table, whole in one process or divided between two (needs the extra torchrec).

Prints, for each process, the private memory (RssAnon) before and after, and the median seconds of a step.
"""

import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from record import OUTPUTS

from twotower.files.atomic import write_text_atomically
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.row_wise_table import RowWiseTable
from twotower.parallel.processes import processes
from twotower.parallel.ranks import rank, world_size
from twotower.training.optimizers.rowwise_adagrad import SparseRowwiseAdagrad

NUM_ROWS, DIM, BATCH, STEPS = 5_000_000, 64, 4_096, 40


def private_mb() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon"))


def train(folder: Path) -> None:
    """Train a table for some steps, and write the figures of this process."""
    before, began = private_mb(), time.perf_counter()
    encoder = LookupEncoder(NUM_ROWS, DIM, sparse=True, row_wise=world_size() > 1)
    figures: dict[str, float] = {"build_seconds": time.perf_counter() - began}
    table: Any = encoder.table
    optimizer = SparseRowwiseAdagrad([table.weight], 0.02)
    if isinstance(encoder.table, RowWiseTable):
        encoder.table.set_optimizer(optimizer)
    seconds, draws = [], torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(1, NUM_ROWS, (BATCH, 1), generator=draws)[rank() :: world_size()]
        began = time.perf_counter()
        optimizer.zero_grad()
        (encoder(rows) - 1).square().mean().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    encoder.eval()
    figures |= {"step_seconds": statistics.median(seconds), "eval_seconds": time.perf_counter() - began}
    figures |= {"private_mb_before": before, "private_mb": private_mb()}
    (folder / f"{world_size()}_{rank()}.json").write_text(json.dumps(figures), encoding="utf-8")


def main() -> None:
    """Train with one process and with two."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in (1, 2):
            follow = partial(train, folder)
            with processes(size, 1, follow, folder):
                follow()
                while len(list(folder.glob(f"{size}_*.json"))) < size:
                    time.sleep(0.1)
        found = {
            path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
        }
    for process, figures in found.items():
        print(process, {key: round(value, 3) for key, value in figures.items()})
    write_text_atomically(OUTPUTS / "row_wise_table.json", json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
