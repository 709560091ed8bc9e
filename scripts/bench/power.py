"""Rejection rates of the paired test of `compare` at zero and at the difference that it can detect.

    $ python scripts/bench/power.py outputs/default/RUN outputs/other/RUN

The test users of a run are drawn with replacement, with their differences of two rankings: the two best
baselines, and the towers against the best one. Effects: none (centered differences); the stated difference
for each user, as a gain and as a loss; and the same mean from some users who win instead of losing, so that
the sizes of all differences stay.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from twotower.evaluation.metrics.metric import Floats
from twotower.evaluation.power import ALPHA, detectable_differences
from twotower.experiments.compare.paired import sign_flips
from twotower.experiments.runs.result import open_result
from twotower.experiments.runs.run_files import PER_USER, PER_USER_BASELINES

METRICS = ("recall_at_20", "ndcg_at_20")
SIMULATIONS, BLOCK = 4_000, 500


def pairs(folder: Path, metric: str) -> Iterator[tuple[str, Floats]]:
    """Yield the name of each pair and the differences [Q] of its users."""
    baselines = pd.read_parquet(folder / PER_USER_BASELINES)
    values = baselines.pivot_table(index="user_id", columns="baseline", values=metric)
    best, second = values.mean().nlargest(2).index
    towers = pd.read_parquet(folder / PER_USER).set_index("user_id")[metric].reindex(values.index)
    yield f"{best} - {second}", (values[best] - values[second]).to_numpy()
    yield f"towers - {best}", (towers - values[best]).to_numpy()


def rejection_rate(sample: Callable[[np.random.Generator], Floats]) -> float:
    """Return the share of samples [BLOCK, users] that the test rejects, in percent."""
    generator, rejected = np.random.default_rng(1), 0
    for block in range(SIMULATIONS // BLOCK):
        rejected += sum(test.p_value() <= ALPHA for test in sign_flips(sample(generator), seed=block))
    return 100 * rejected / SIMULATIONS


def rejection_rates(differences: Floats, num_users: int, effect: float) -> Iterator[float]:
    """Yield the rates without an effect, with one for each user, and with one for some users."""
    centered = differences - differences.mean()
    sizes = np.abs(centered)
    shape = BLOCK, num_users
    sides = np.where(np.arange(BLOCK) % 2, effect, -effect)[:, None]
    win_rate = (1 + effect / sizes.mean()) / 2
    yield rejection_rate(lambda generator: generator.choice(centered, shape))
    yield rejection_rate(lambda generator: generator.choice(centered, shape) + sides)
    yield rejection_rate(
        lambda generator: (
            generator.choice(sizes, shape) * np.where(generator.random(shape) < win_rate, 1.0, -1.0)
        )
    )


def main(folders: list[str]) -> None:
    """Print a table of rates in percent for the runs of the command line."""
    print("| data | metric | pair | users | difference | at 0 | each user | some users |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for folder in map(Path, folders):
        data = str(open_result(folder).settings["data"]["_target_"]).rpartition(".")[2]
        for metric in METRICS:
            for name, differences in pairs(folder, metric):
                num_users = len(differences)
                (effect,) = detectable_differences(differences[None], num_users)
                rates = rejection_rates(differences, num_users, effect)
                shown = " | ".join(f"{rate:.1f}" for rate in rates)
                metric_text = metric.replace("_at_", "@")
                print(f"| {data} | {metric_text} | {name} | {num_users:,} | {effect:.4f} | {shown} |")


if __name__ == "__main__":
    main(sys.argv[1:])
