"""Does a first look choose the better kind of recipe? Ten made-up logs for each of two planted structures.

  python scripts/bench/first_look.py                                  20 logs, 3 CPU minutes each; continues
  python scripts/bench/first_look.py --logs sequence --seeds 0 1      two of them

`features`: segment and budget of a user, category, brand and price of an item decide; an item has few
interactions. `sequence`: the previous item decides four of ten items, the user's taste the others; features
are noise. The validation split makes the choice. The test split shows which kind of recipe is better.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
from held_out import feature
from numpy.typing import NDArray
from record import OUTPUTS, markdown, write

DAY, FIRST_TIME = 86_400, 1_577_836_800  # 2020-01-01
FACETS = {"category": 20, "brand": 40}  # columns of the items, with the number of their values
FEATURES = [
    *(feature("item", name, "categorical.Categorical", dim=16) for name in FACETS),
    feature("item", "price", "binned.Binned", dim=8),
    feature("user", "segment", "categorical.Categorical", dim=16),
    feature("user", "budget", "binned.Binned", dim=8),
]
FAST = [
    *("split=leave_one_out", "trainer.refit=false", "trainer.probe_steps=25", "baselines=none"),
    *("index=flat_ip", "metrics.ks=[10,20]", "metrics.num_bootstrap=0", "metrics.importance_repeats=0"),
    "console=quiet",
]
KEYS = {"valid": "valid/recall_at_20", "test": "test/recall_at_20"}
Frames = dict[str, pd.DataFrame]


def features_log(seed: int, num_users: int = 1_000, num_items: int = 600) -> Frames:
    """Draw items by the segment's taste for category and brand, and by the distance of price and budget."""
    rng = np.random.default_rng([seed, 0])
    users, items = tables(rng, num_users, num_items)
    distance = np.log(users.budget.to_numpy())[:, None] - np.log(items.price.to_numpy())
    weights = rng.gumbel(size=distance.shape) - distance**2
    for name, count in FACETS.items():
        taste = rng.normal(scale=1.3, size=(users.segment.max() + 1, count))
        weights += taste[users.segment][:, items[name]]
    return frames(rng, users, items, np.argsort(-weights, axis=1)[:, :8], shortest=5)


def sequence_log(seed: int, num_users: int = 1_000, num_items: int = 400, num_groups: int = 40) -> Frames:
    """Draw four of ten items from the group after that of the previous item, others from four favorites."""
    rng = np.random.default_rng([seed, 1])
    users, items = tables(rng, num_users, num_items)
    group, following = rng.permutation(num_items) % num_groups, rng.permutation(num_groups)
    favorites = rng.integers(num_groups, size=(num_users, 4))
    is_taken = np.zeros((num_users, num_items), dtype=np.bool_)
    chains = np.zeros((num_users, 16), dtype=np.int64)
    for step in range(chains.shape[1]):
        wanted = favorites[np.arange(num_users), rng.integers(4, size=num_users)]
        if step:
            follows = rng.random(num_users) < 0.4
            wanted = np.where(follows, following[group[chains[:, step - 1]]], wanted)
        weights = rng.gumbel(size=is_taken.shape) + 20.0 * (group == wanted[:, None])
        chains[:, step] = np.where(is_taken, -np.inf, weights).argmax(axis=1)
        is_taken[np.arange(num_users), chains[:, step]] = True
    return frames(rng, users, items, chains, shortest=6)


LOGS: dict[str, Callable[[int], Frames]] = {"features": features_log, "sequence": sequence_log}


def tables(rng: np.random.Generator, num_users: int, num_items: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the features of users and items."""
    segment, budget = rng.integers(15, size=num_users), np.exp(rng.normal(size=num_users))
    users = pd.DataFrame({"user_id": np.arange(num_users), "segment": segment, "budget": budget})
    facets = {name: rng.integers(count, size=num_items) for name, count in FACETS.items()}
    price = np.exp(rng.normal(size=num_items))
    return users, pd.DataFrame({"item_id": np.arange(num_items), **facets, "price": price})


def frames(
    rng: np.random.Generator,
    users: pd.DataFrame,
    items: pd.DataFrame,
    taken: NDArray[np.int64],
    shortest: int,
) -> Frames:
    """Return the tables; a user takes the first items of a row, one a day, from a random day of a year."""
    lengths = rng.integers(shortest, taken.shape[1] + 1, len(users))
    owners, steps = np.nonzero(np.arange(taken.shape[1]) < lengths[:, None])
    times = FIRST_TIME + (steps + rng.integers(365, size=len(users))[owners]) * DAY
    log = pd.DataFrame({"user_id": owners, "item_id": taken[owners, steps], "timestamp": times})
    return {"interactions": log, "users": users, "items": items}


def run(kind: str, seed: int) -> dict[str, Any]:
    """Run a first look unless it is complete; returns the winner next to the best recipe of another kind."""
    folder = OUTPUTS / "first_look" / f"{kind}_{seed}"
    if not list(folder.glob("runs/*/*/sweep.json")):
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in LOGS[kind](seed).items():
            table.to_csv(folder / f"{name}.csv", index=False)
        paths = [f"data.{name}_path={folder / name}.csv" for name in ("interactions", "users", "items")]
        typed = ["data=table_files", *paths, *FEATURES, *FAST, "sweep=first_look", f"seed={seed}"]
        script = str(Path(__file__).parents[1] / "train.py")
        subprocess.run([sys.executable, script, *typed, f"output_root={folder / 'runs'}"], check=True)
    path = next(folder.glob("runs/*/*/sweep.json"))
    winner = json.loads(path.read_text())["first_look"]["best"]["recipe"]
    results = {each.parent.name: json.loads(each.read_text()) for each in path.parent.glob("*/result.json")}
    kinds = {name: kind_of(name, result) for name, result in results.items()}
    row = {"log": kind, "seed": seed, "winner": winner, "right": kinds[winner] == kind}
    for split, key in KEYS.items():
        recall = {name: result["metrics"][key] for name, result in results.items()}
        other = max((name for name in recall if kinds[name] != kinds[winner]), key=recall.__getitem__)
        row |= {split: recall[winner], f"{split}: other kind": other, f"{split}: its": recall[other]}
    return row


def kind_of(recipe: str, result: dict[str, Any]) -> str:
    """Return what a recipe learns from: the order of items, features, or ids alone."""
    if recipe == "sequences":
        return "sequence"
    reads = result["training"]["chosen"].get("user_tower.widths", "") is not None
    return "features" if reads and recipe != "factorization" else "ids"


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown, and for each kind of log how often the choice was right."""
    table = pd.DataFrame(rows).map(lambda value: f"{value:.4f}" if isinstance(value, float) else value)
    lines = [markdown(table), ""]
    for kind in dict.fromkeys(row["log"] for row in rows):
        of = [row for row in rows if row["log"] == kind]
        ratios = {split: [row[split] / row[f"{split}: its"] for row in of] for split in KEYS}
        right, better = sum(row["right"] for row in of), sum(ratio > 1 for ratio in ratios["test"])
        margins = (f"{split} x {mean(each):.2f}, at worst {min(each):.2f}" for split, each in ratios.items())
        found = f"right on {right} of {len(of)}, better on the test split on {better}"
        lines.append(f"{kind}: {found}; recall@20 over that of the other kinds: {'; '.join(margins)}")
    return "\n".join(lines)


def main() -> None:
    """Run the first looks; print the table after each one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--logs", nargs="+", choices=list(LOGS), default=list(LOGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for kind in given.logs:
        for seed in given.seeds:
            rows.append(run(kind, seed))
            print(report(rows), flush=True)
    print(write("first_look", {"rows": rows}))


if __name__ == "__main__":
    main()
