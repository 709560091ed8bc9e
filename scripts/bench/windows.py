"""Does the mean of four validation windows pick a better recipe than one window? Three recipes on four sets.

  python scripts/bench/windows.py                        two hours; the same command continues
  python scripts/bench/windows.py --sets online_retail --table     the table of finished runs alone

Each recipe is trained on seven windows (`split=rolling`). For each of the last four test windows, the recipe
is picked by the validation window before it, and by the mean of the four validation windows before it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from held_out import make, typed_for
from record import OUTPUTS

ROOT = OUTPUTS / "windows"
NUM_WINDOWS, NUM_MEAN = 7, 4
KIND = "recall_at_20"
LENGTHS = {
    "retail_users_20": ["split.test=28", "split.valid=28"],
    "ml100k": ["split.unit=share", "split.test=0.06", "split.valid=0.06"],
    "beauty_users_20": ["split.unit=share", "split.test=0.06", "split.valid=0.06"],
    "online_retail": ["split.test=28", "split.valid=28"],
}
"""Set -> its windows."""
RECIPES = {
    "default": [],
    "slower": ["optimizer.learning_rate=0.001"],
    "next_item": ["objective=next_item", "loss=in_batch_softmax"],
}
FAST = [
    *("metrics.ks=[10,20]", "metrics.num_bootstrap=0", "console=quiet", "baselines=all_time"),
    *(f"~baselines.{name}" for name in ("ease", "item_knn", "content_knn")),
]


class Pick(NamedTuple):
    """What is picked for a test window, and the test figure of each recipe."""

    data: str
    window: int
    by_one: str
    by_four: str
    tests: dict[str, float]


def windows(data: str, recipe: str) -> Path | None:
    """Return the result of a recipe on all windows, None if it has not been run to its end."""
    found = sorted((ROOT / data / recipe).glob("*/result.json"))
    ended = [path for path in found if json.loads(path.read_text())["status"] == "ok"]
    return ended[-1] if ended else None


def run(data: str, recipe: str) -> None:
    """Train a recipe on all windows of a set, or resume it."""
    train = [sys.executable, str(Path(__file__).parents[1] / "train.py")]
    stopped = sorted(path.parent for path in (ROOT / data / recipe).glob("*/config.yaml"))
    typed = ["data=online_retail"] if data == "online_retail" else typed_for(make(data, ROOT / "data"))
    typed = [text for text in typed if not text.startswith("split.")]
    split = ["split=rolling", f"split.num_windows={NUM_WINDOWS}", *LENGTHS[data]]
    place = [f"output_root={ROOT}", f"name={data}/{recipe}"]
    arguments = [f"resume={stopped[-1]}"] if stopped else [*typed, *split, *FAST, *RECIPES[recipe], *place]
    subprocess.run([*train, *arguments], check=True)


def picks(data: str) -> Iterator[Pick]:
    """Yield the picks for each test window that four validation windows precede."""
    figures = {}
    for recipe in RECIPES:
        path = windows(data, recipe)
        if path is None:
            return
        found = [entry["metrics"] for entry in json.loads(path.read_text())["windows"]]
        figures[recipe] = [(each[f"valid/{KIND}"], each[f"test/{KIND}"]) for each in found]
    for newest in range(NUM_MEAN, NUM_WINDOWS + 1):
        valid = {recipe: [valid for valid, _ in each[:newest]] for recipe, each in figures.items()}
        yield Pick(
            data=data,
            window=newest,
            by_one=max(valid, key=lambda recipe: valid[recipe][-1]),
            by_four=max(valid, key=lambda recipe: mean(valid[recipe][-NUM_MEAN:])),
            tests={recipe: each[newest - 1][1] for recipe, each in figures.items()},
        )


def table(found: list[Pick]) -> Iterator[str]:
    """Yield a table in Markdown, then how often each way picks the best recipe, and its mean regret."""
    yield f"| set | test window | {' | '.join(RECIPES)} | one window picks | four windows pick |"
    yield f"|---|{'---:|' * (1 + len(RECIPES))}---|---|"
    for each in found:
        tests = " | ".join(f"{value:.4f}" for value in each.tests.values())
        yield f"| {each.data} | {each.window} | {tests} | {each.by_one} | {each.by_four} |"
    for words, chosen in (("one window", "by_one"), ("four windows", "by_four")):
        regrets = [max(each.tests.values()) - each.tests[getattr(each, chosen)] for each in found]
        hits = f"the best recipe in {regrets.count(0)} of {len(found)}"
        yield f"{words}: {hits}, mean regret {mean(regrets):.5f}"


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(LENGTHS), choices=list(LENGTHS))
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    for data in asked.sets:
        for recipe in RECIPES:
            if not asked.table and windows(data, recipe) is None:
                run(data, recipe)
    found = [pick for data in asked.sets for pick in picks(data)]
    print("\n".join(table(found)) if found else "no set has been run with every recipe")


if __name__ == "__main__":
    main()
