"""Exact masked top-100 in Gowalla's shape, against plain blocks: `matmul`, -inf at the seen pairs, `topk`.

    python scripts/bench/top_k.py [users=29858] [threads=all]      (about a minute on two free cores)

40,981 items and 64 dimensions; users have 27 seen items, few have many. Vectors are drawn (`even`) or lie in
200 clusters, so that many scores are alike (`clustered`). Plain blocks have the
size that was fastest here; both sides must find the same. Memory is what the first search adds. Prints a
table, writes `outputs/bench/top_k.json`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from record import pairs, write

from twotower.evaluation.top_k import ExcludedPairs, exact_top_k

NUM_ITEMS, DIM, K, SEEN = 40_981, 64, 100, 27
PLAIN_BLOCKS, FEW = (128, 256, 512, 1024), 2048  # users to choose the block with


def plain(
    users: torch.Tensor, items: torch.Tensor, seen: ExcludedPairs, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best items, as one would write it."""
    rows, scores = [], []
    for first in range(0, len(users), block):
        found = users[first : first + block] @ items.T
        begin, end = np.searchsorted(seen[0], [first, first + block])
        place = torch.from_numpy(seen[0][begin:end] - first), torch.from_numpy(seen[1][begin:end] - 1)
        found[place] = -torch.inf
        best = found.topk(K, dim=1)
        rows.append(best.indices + 1)
        scores.append(best.values)
    return torch.cat(rows).numpy(), torch.cat(scores).numpy()


def vectors(number: int, clustered: bool) -> torch.Tensor:
    """Return unit vectors [number, D]."""
    drawn = torch.randn(number, DIM)
    if clustered:
        drawn = (
            0.5 * drawn
            + torch.randn(200, DIM, generator=torch.Generator().manual_seed(1))[torch.randint(200, (number,))]
        )
    return torch.nn.functional.normalize(drawn, dim=1)


def peak_mib() -> float:
    """Return the most memory this process has had since the last call."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(kind: str, users: torch.Tensor, items: torch.Tensor, seen: ExcludedPairs) -> dict[str, object]:
    """Time both sides in turn."""
    few = seen[0] < FEW
    took = {}
    for block in PLAIN_BLOCKS:
        began = time.process_time()
        plain(users[:FEW], items, (seen[0][few], seen[1][few]), block)
        took[block] = time.process_time() - began
    fastest = min(took, key=lambda size: took[size])

    def ours() -> tuple[np.ndarray, np.ndarray]:
        return exact_top_k(users, items, K, seen)

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        return plain(users, items, seen, fastest)

    peak_mib()
    before = peak_mib()
    found = ours()
    memory = peak_mib() - before
    assert (found[1] == theirs()[1]).all(), "not the scores of plain blocks"
    print(f"{kind}: {len(users)} users, plain blocks of {fastest}, memory {memory:.0f} MiB")
    figures: dict[str, object] = {f"{kind}_plain_block": fastest, f"{kind}_memory_mib": memory}
    for name, clock in (("wall", time.perf_counter), ("processor", time.process_time)):
        timed = pairs(ours, theirs, 3, warm_up=0, clock=clock)
        figures[f"{kind}_{name}"] = timed
        print(f"  {name:10s} {timed.told()}")
    return figures


@torch.inference_mode()
def main(num_users: int, threads: int) -> None:
    """Measure both kinds of vectors."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    counts = np.minimum(generator.geometric(1 / SEEN, num_users), 900)
    seen = np.repeat(np.arange(num_users), counts), generator.integers(1, NUM_ITEMS + 1, counts.sum())
    figures: dict[str, object] = {"users": num_users, "torch_threads": threads}
    for kind in ("even", "clustered"):
        users, items = (vectors(number, kind == "clustered") for number in (num_users, NUM_ITEMS))
        figures |= measure(kind, users, items, seen)
    print(write("top_k", figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("users", type=int, nargs="?", default=29_858)
    parser.add_argument("threads", type=int, nargs="?", default=torch.get_num_threads())
    arguments = parser.parse_args()
    main(arguments.users, arguments.threads)
