"""The default recipe and tuned baselines on other data sets: cuts of five logs, and synthetic logs.

But for one rule, the recipe was not chosen on these sets (docs/default-recipe.md). A row is a set with a
recipe of `RECIPES`. MovieLens and Beauty are read from `TWOTOWER_DATA_DIR`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from statistics import fmean
from typing import Any

import pandas as pd
import trainings
from held_out import STRANGERS, make, paths_of
from record import OUTPUTS, Figures, Line, Row, Table, markdown

SPLITS, METRIC = ("valid", "test"), "recall_at_20"
FAST = ("metrics.ks=[10,20]", "metrics.num_bootstrap=0")
TOWERS_ALONE = ("baselines=none", "metrics.importance_repeats=0")
BASELINES_ALONE = ("trainer=smoke", "trainer.refit=false", "initialization=random", "embedding_dim=8")
SHARES = ("split.unit=share", "split.test=0.1", "split.valid=0.1")
REPEATED = (42, 43, 44)


@dataclass(frozen=True)
class Recipe:
    """What is run on some sets.

    Attributes:
        words: settings in addition to those of the set; a split replaces the set's own.
        features: whether the columns of the sets are read.
        seeds: of each set.
        sets: patterns of names.
        but: patterns of names that are left out.
    """

    words: tuple[str, ...] = ()
    features: bool = False
    seeds: tuple[int, ...] = (42,)
    sets: tuple[str, ...] = ("*",)
    but: tuple[str, ...] = ("*_visits",)


RECIPES = {
    "windows": Recipe(
        ("split=rolling", "split.num_windows=4", *SHARES),
        True,
        REPEATED,
        but=("*_visits", "made_habits", "made_long"),
    ),
    "windows of 28 days": Recipe(("split=rolling", "split.num_windows=4"), True, sets=("beauty_users_20",)),
    "features": Recipe((), True, REPEATED, but=("made_habits", "made_long")),
    "256 wide": Recipe((*TOWERS_ALONE, "embedding_dim=256"), True, but=("made_*", "ml1m_news", "ml1m_pairs")),
    "ids": Recipe(TOWERS_ALONE, seeds=REPEATED),
    "initial": Recipe(
        (
            *TOWERS_ALONE,
            "trainer.initial_share=1",
        )
    ),
    "tuned baselines": Recipe(BASELINES_ALONE),
    "fixed baselines": Recipe((*BASELINES_ALONE, "baselines=fixed")),
}
"""The towers of the baselines alone take seconds and do not count."""


def rows() -> list[Row]:
    """Return a row for each set and recipe."""
    return [
        Row(f"{name} {recipe}", words_for(name, each), each.seeds)
        for recipe, each in RECIPES.items()
        for name in STRANGERS
        if any(fnmatch(name, one) for one in each.sets) and not any(fnmatch(name, one) for one in each.but)
    ]


def words_for(name: str, recipe: Recipe) -> tuple[str, ...]:
    """Return the settings of a recipe on a set, without the paths of its files."""
    stranger = STRANGERS[name]
    typed = (*stranger.typed, *(stranger.features if recipe.features else ()))
    if any(each.startswith("split=") for each in recipe.words):
        typed = tuple(each for each in typed if not each.startswith("split."))
    return ("data=table_files", *typed, *FAST, *recipe.words)


def measure(row: Row, seed: int) -> Figures:
    """Train on a set, which is made if it is not there."""
    folder = make(row.name.split()[0], OUTPUTS / "carry_over")
    words = (*row.words, *paths_of(folder))
    return trainings.figures_of(trainings.trained(row.name, words, seed, OUTPUTS / "carry_over" / "runs"))


def of_recipe(lines: Sequence[Line], *recipes: str) -> dict[str, list[Line]]:
    """Return the lines of some recipes by set."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        name, _, recipe = line.row.partition(" ")
        if recipe in recipes:
            found.setdefault(name, []).append(line)
    return found


def recall(lines: Sequence[Line], split: str) -> float:
    """Return the mean of recall@20 over the seeds."""
    return fmean(line.figures["metrics"][f"{split}/{METRIC}"] for line in lines)


def best_baseline(
    baselines: Mapping[str, Mapping[str, float]], split: str, chosen_on: str
) -> tuple[str, float]:
    """Return the name with its figure, and recall@20, of the baseline that is best on a split."""
    known = {name: each for name, each in baselines.items() if f"{chosen_on}/{METRIC}" in each}
    best = max(known, key=lambda name: known[name][f"{chosen_on}/{METRIC}"])
    figure = known[best][f"{split}/{METRIC}"]
    return f"`{best}` {figure:.4f}", figure


def summary(title: str, ratios: Sequence[float]) -> str:
    """Return a line on the ratios of all sets."""
    ahead = sum(each >= 1 for each in ratios)
    return (
        f"{title}: at least 1 on {ahead} of {len(ratios)}, mean {fmean(ratios):.3f}, lowest {min(ratios):.3f}"
    )


def beside_the_best(found: Mapping[str, Sequence[Line]]) -> str:
    """Return recall@20 of a recipe, means over seeds, beside the best baselines."""
    sides = {
        "validation, best tuned baseline": ("valid", "valid"),
        "test, chosen on validation": ("test", "valid"),
        "test, best on test": ("test", "test"),
    }
    cells: list[dict[str, Any]] = []
    ratios: dict[str, list[float]] = {side: [] for side in sides}
    for name, lines in found.items():
        figures = lines[0].figures
        row: dict[str, Any] = {
            "set": name,
            "test users": f"{figures['evaluated']['test']:,}",
            "seeds": len(lines),
        }
        for side, (split, chosen_on) in sides.items():
            told, figure = best_baseline(figures["baselines"], split, chosen_on)
            ratios[side].append(recall(lines, split) / max(figure, 1e-9))
            row |= {split: f"{recall(lines, split):.4f}", side: told, f"x {side}": f"{ratios[side][-1]:.2f}"}
        cells.append(row)
    notes = [f"- {summary(side, each)}" for side, each in ratios.items()]
    return "\n".join([markdown(pd.DataFrame(cells)), "", *notes])


def step_by_step(lines: Sequence[Line]) -> str:
    """Return recall@20 of initial embeddings, of towers of ids and of features, and of tuned baselines.

    Means over seeds. Below: how they compare with each other, on the sets that have both.
    """
    parts = {part: of_recipe(lines, part) for part in ("initial", "ids", "features")}
    tuned = of_recipe(lines, "tuned baselines", "features")
    cells: list[dict[str, Any]] = []
    ratios: dict[str, list[float]] = {}
    for name in parts["initial"]:
        row = {"set": name}
        for split in SPLITS:
            figures = {part: recall(each[name], split) for part, each in parts.items() if name in each}
            row |= {f"{split}: {part}": f"{figures[part]:.4f}" if part in figures else "-" for part in parts}
            if name in tuned:
                baselines = tuned[name][0].figures["baselines"]
                row[f"{split}: tuned baseline"], figures["tuned baseline"] = best_baseline(
                    baselines, split, split
                )
            for later, earlier in (
                *(
                    ("ids", "initial"),
                    ("features", "initial"),
                    ("features", "ids"),
                    ("ids", "tuned baseline"),
                ),
            ):
                if {later, earlier} <= figures.keys():
                    title = f"{split}, {later} over {earlier}"
                    ratios.setdefault(title, []).append(figures[later] / max(figures[earlier], 1e-9))
        cells.append(row)
    notes = [f"- {summary(title, each)}" for title, each in ratios.items()]
    return "\n".join([markdown(pd.DataFrame(cells).fillna("-")), "", *notes])


def gains_of_tuning(lines: Sequence[Line]) -> str:
    """Return how much better each baseline is if it is tuned: the mean ratio over the sets."""
    fixed, tuned = of_recipe(lines, "fixed baselines"), of_recipe(lines, "tuned baselines")
    gains: dict[str, list[float]] = {}
    for name in fixed.keys() & tuned.keys():
        before, after = (each[name][0].figures["baselines"] for each in (fixed, tuned))
        for baseline in tuned[name][0].figures["tuned"]:
            for split in SPLITS if baseline in before else ():
                key = f"{split}/{METRIC}"
                ratio = after[baseline][key] / max(before[baseline][key], 1e-9)
                gains.setdefault(f"{baseline}, {split}, tuned over fixed", []).append(ratio)
    return "\n".join(f"- {summary(title, ratios)}" for title, ratios in sorted(gains.items()))


def show(lines: Sequence[Line]) -> str:
    """Return the tables of all recipes in Markdown."""
    found = []
    for recipe in ("windows", "windows of 28 days", "features"):
        if of_set := of_recipe(lines, recipe):
            found += [f"### {recipe}", beside_the_best(of_set)]
    found += ["### Initial embeddings, ids, features", step_by_step(lines)]
    found += ["### Tuned baselines", gains_of_tuning(lines)]
    wide, narrow = of_recipe(lines, "256 wide"), of_recipe(lines, "features")
    for split in SPLITS:
        ratios = [
            recall(wide[name], split) / recall(narrow[name], split) for name in wide.keys() & narrow.keys()
        ]
        found += [f"- {summary(f'256 wide over 64 wide, {split}', ratios)}"] if ratios else []
    return "\n\n".join(found)


TABLES = {
    "carry_over": Table(
        "default-recipe.md", rows, measure, show, trainings.training_fingerprint, "twotower train"
    )
}
