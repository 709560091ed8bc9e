"""A whole training step against the textbook's step of the same model, and against the matrix product.

  python scripts/bench/step.py                 all, two minutes
  python scripts/bench/step.py --only "in-batch 4096"

Both sides are given a gathered batch of a log of MovieLens 1M's shape: draw, encode, loss, backward,
optimizer. Theirs is `textbook.py` with `torch.optim.AdamW`; before anything is timed the two losses of a
batch are compared. The last column is useful FLOP/s over those of a 1024-cubed matrix product in the same
precision, timed among the steps; useful are the products of distinct candidates and of the towers, thrice.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from record import Pairs, pairs, write
from step_model import (
    DIM,
    LENGTH,
    NUM_ITEMS,
    NUM_USERS,
    TEMPERATURE,
    WIDTH,
    batches_of,
    module_of,
    our_step,
    precision,
    synthetic_log,
)
from textbook import Textbook

from twotower.data.interactions import Interactions
from twotower.model.scoring.batch import Batch
from twotower.training.module import RetrievalModule

CASES = {
    "in-batch 1024": ("in_batch.InBatch", 1024, 30),
    "in-batch 4096": ("in_batch.InBatch", 4096, 9),
    "catalogue 1024": ("catalogue.Catalogue", 1024, 15),
}


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


def measure(interactions: Interactions, name: str, low: bool) -> tuple[Pairs, Pairs, float]:
    """Time one case in one precision: by the wall, by the processor, and the share of the product's rate."""
    negatives, size, count = CASES[name]
    module, batches = module_of(interactions, negatives), batches_of(interactions, size, 4)
    module.train()
    theirs = their_step(
        textbook_of(interactions, module), itertools.cycle(batches), low, name.startswith("in-batch")
    )
    ours = our_step(module, itertools.cycle(batches), low)
    first = torch.stack([ours(), theirs()])
    torch.testing.assert_close(first[0], first[1], rtol=2e-2 if low else 1e-4, atol=0)
    by_wall = pairs(ours, theirs, count)
    before = product_rate(low)
    by_processor = pairs(ours, theirs, count, clock=time.process_time)
    rate = (before + product_rate(low)) / 2
    distinct = statistics.mean(len(batch.positives.unique()) for batch in batches)
    flop = useful_flop(size, distinct if name.startswith("in-batch") else NUM_ITEMS)
    return by_wall, by_processor, flop / by_processor.ours / rate


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    chosen = parser.parse_args().only
    log, figures = synthetic_log(), {}
    print(f"torch threads {torch.get_num_threads()}\n{'':24}        ours       theirs   ratio")
    for name in chosen:
        for low in (False, True):
            by_wall, by_processor, share = measure(log, name, low)
            key = f"{name}, {'bf16' if low else 'fp32'}"
            print(f"{key:20} wall {by_wall.told()}")
            print(f"{'':20} cpu  {by_processor.told()}  {share:.0%} of the product's rate", flush=True)
            figures[key] = {"wall": vars(by_wall), "cpu": vars(by_processor), "share": share}
    if chosen == list(CASES):
        write("step", figures | {"torch_threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()
