"""Does the recipe carry over? It is run beside every baseline.

But for one rule, it was not chosen on these data sets (docs/default-recipe.md).

  python scripts/bench/carry_over.py --make                          only make the data sets: two minutes
  python scripts/bench/carry_over.py --sets 'retail_*' made_long --seeds 42 43 44     minutes a set and seed
  python scripts/bench/carry_over.py --sets ml100k --split leave_one_out experiment=mine    another recipe
  python scripts/bench/carry_over.py --split rolling split.num_windows=4    means over windows
  python scripts/bench/carry_over.py --part initial                  the initial embeddings alone
  python scripts/bench/carry_over.py --table                         the tables of all that has been run

What else is typed goes to scripts/train.py; runs with the same make one table. Each run adds a line to
scripts/bench/results/carry_over.jsonl, from which tables are made; those that are there are not run again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
from held_out import chosen, make, typed_for
from record import OUTPUTS, machine, markdown

HERE = Path(__file__).parents[2]
LINES = Path(__file__).parent / "results" / "carry_over.jsonl"
SPLITS, METRICS = ("test", "valid"), ("recall_at_20", "ndcg_at_20")
WITHOUT_BASELINES = ("baselines=none", "metrics.importance_repeats=0")
PARTS = {
    "default": (),
    "baselines": ("trainer=smoke", "trainer.refit=false", "initialization=random", "embedding_dim=8"),
    "trained": WITHOUT_BASELINES,
    "initial": (
        *WITHOUT_BASELINES,
        *("trainer.probe_steps=0", "trainer.max_epochs=1", "optimizer.learning_rate=1e-9"),
        "trainer.min_standard_errors=1000",
    ),
}
"""What is run, with its overrides: towers and baselines; baselines, with towers of seconds that do not count;
towers alone; towers with their initial embeddings, because no epoch is that much better."""
FAST = ("metrics.ks=[10,20]", "metrics.num_bootstrap=0", "console=quiet")
Line = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What is run on every set.

    Attributes:
        overrides: of the default.
        split: another one than the set's own.
        features: whether the columns of the sets are read.
        part: key of `PARTS`.
    """

    overrides: tuple[str, ...] = ()
    split: str | None = None
    features: bool = False
    part: str = "default"

    def name(self) -> str:
        """Return what a table is headed with."""
        split = [f"split={self.split}"] if self.split else []
        return " ".join([self.part, *split, *(["with features"] if self.features else []), *self.overrides])

    def typed(self, folder: Path) -> list[str]:
        """Return what scripts/train.py is told of a set."""
        typed = typed_for(folder, self.features)
        if self.split:
            typed = [*(each for each in typed if not each.startswith("split.")), f"split={self.split}"]
        return [*typed, *FAST, *PARTS[self.part], *self.overrides]


def run(name: str, recipe: Recipe, seed: int, root: Path) -> Line:
    """Train on a set; returns what is kept of it: with split=rolling, the means over its windows."""
    typed, runs = recipe.typed(make(name, root)), root / "runs"
    place = [f"name={name}", f"output_root={runs}", f"seed={seed}", "reuse=false"]
    before, known = resource.getrusage(resource.RUSAGE_CHILDREN), set(runs.glob(f"{name}/*/result.json"))
    load, began = os.getloadavg()[0], time.perf_counter()
    subprocess.run([sys.executable, str(HERE / "scripts" / "train.py"), *typed, *place], check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    (path,) = set(runs.glob(f"{name}/*/result.json")) - known
    result = json.loads(path.read_text())
    windows = result.get("windows") or [result]
    baselines = [
        each for each in result["baselines"] if all(each in window["baselines"] for window in windows)
    ]
    return {
        "set": name,
        "recipe": recipe.name(),
        "seed": seed,
        **{key: result["data"][key] for key in ("users", "items", "interactions")},
        "evaluated": {split: result["evaluated"][split]["users"] for split in SPLITS},
        "metrics": _means([window["metrics"] for window in windows]),
        "baselines": {each: _means([window["baselines"][each] for window in windows]) for each in baselines},
        "tuned": {name: each["chosen"] for name, each in result.get("baselines_tuning", {}).items()},
        "tuning_seconds": sum(each["seconds"] for each in result.get("baselines_tuning", {}).values()),
        "epochs": result["training"]["epochs"],
        "train_minutes": round(result["timing"]["train_seconds"] / 60, 2),
        "minutes": round(wall / 60, 2),
        "cpu_minutes": round((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60, 2),
        "load_before": round(load, 1),
        "fingerprint": result["fingerprint"],
        **machine(),
    }


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = [f"{split}/{metric}" for split in SPLITS for metric in METRICS]
    return {key: round(mean(each[key] for each in figures), 5) for key in keys if key in figures[0]}


def against_best(
    lines: Sequence[Line], split: str, baselines: Sequence[Line], chosen_on: str | None = None
) -> pd.DataFrame:
    """Return by set: recall@20 of some runs, mean over seeds, over that of one of the baselines.

    The columns are `figure`, `baseline` (its name with its figure) and `ratio`.

    Args:
        chosen_on: the split on which the baseline is best; None: `split` itself.
    """
    key, rows = f"{split}/{METRICS[0]}", {}
    chosen_by = f"{chosen_on or split}/{METRICS[0]}"
    of_set = {line["set"]: line["baselines"] for line in reversed(baselines)}
    for name in dict.fromkeys(line["set"] for line in lines):
        figure = mean(line["metrics"][key] for line in lines if line["set"] == name)
        found = {each: figures for each, figures in of_set[name].items() if {key, chosen_by} <= {*figures}}
        best = max(found, key=lambda each: found[each][chosen_by])
        told = f"`{best}` {found[best][key]:.4f}"
        rows[name] = {"figure": figure, "baseline": told, "ratio": figure / max(found[best][key], 1e-9)}
    return pd.DataFrame.from_dict(rows, orient="index")


def summary_of(title: str, ratios: pd.Series) -> str:
    """Return a line on the ratios of all sets."""
    ahead = f"{title}: at least 1 on {(ratios >= 1).sum()} of {len(ratios)}"
    return f"\n{ahead}, {ratios.mean():.3f} in the mean, {ratios.min():.3f} at worst"


def beside_the_best(lines: Sequence[Line]) -> str:
    """Return the table of a recipe: recall@20, means over seeds, beside the best baseline of each split."""
    runs = pd.DataFrame(lines).groupby("set", sort=False)
    first = runs.first()
    table = pd.DataFrame({"set": first.index}, index=first.index)
    table[["users", "items"]] = first[["users", "items"]].map("{:,}".format)
    table["seeds"], table["minutes"] = runs.size(), runs["train_minutes"].mean().map("{:.1f}".format)
    notes = []
    for split in SPLITS[::-1]:
        found = against_best(lines, split, lines)
        table[split] = found["figure"].map("{:.4f}".format)
        table[f"{split}: best baseline"] = found["baseline"]
        table[f"{split}: x best"] = found["ratio"].map("{:.2f}".format)
        notes.append(summary_of(f"{split}, over the best baseline", found["ratio"]))
    found = against_best(lines, "test", lines, chosen_on="valid")
    table["test: baseline chosen on validation"] = found["baseline"]
    table["test: x chosen"] = found["ratio"].map("{:.2f}".format)
    notes.append(summary_of("test, over the baseline that validation chooses", found["ratio"]))
    return "\n".join([markdown(table), *notes])


def against_tuned(lines: Sequence[Line]) -> str:
    """Return recall@20 of the best fixed and tuned baselines, and of the towers of `default` over both.

    Below: the mean over sets of tuned over fixed, for each baseline.
    """
    fixed = [line for line in lines if line["recipe"] == "default" and not line.get("tuned")]
    tuned = [line for line in lines if line["recipe"] == "baselines"]
    sets = {line["set"]: line for line in tuned}
    fixed = [line for line in fixed if line["set"] in sets]
    if not fixed:
        return "no set has been run with fixed and with tuned baselines"
    first: dict[str, Line] = {}
    for line in fixed:
        first.setdefault(line["set"], line)
    table, notes, gains = pd.DataFrame({"set": [*first]}, index=[*first]), [], []
    for split in SPLITS[::-1]:
        for what, baselines in (("fixed", fixed), ("tuned", tuned)):
            found = against_best(fixed, split, baselines)
            table[f"{split}: {what}"] = found["baseline"]
            table[f"{split}: x {what}"] = found["ratio"].map("{:.2f}".format)
            notes.append(summary_of(f"{split}, over the best {what} baseline", found["ratio"]))
        key = f"{split}/{METRICS[0]}"
        for name in sorted({each for line in tuned for each in line["tuned"]}):
            gain = [
                sets[data]["baselines"][name][key] / max(line["baselines"][name][key], 1e-9)
                for data, line in first.items()
                if name in sets[data]["tuned"]
            ]
            better, worse = (sum(sign * (each - 1) > 1e-9 for each in gain) for sign in (1, -1))
            ratio = f"tuned / fixed {mean(gain):.3f}"
            gains.append(f"\n{name}, {split}: {ratio}, better on {better} sets, worse on {worse}")
    return "\n".join([markdown(table), *notes, *gains])


def step_by_step(lines: Sequence[Line]) -> str:
    """Return recall@20 of initial embeddings, of towers of ids and of features, and of tuned baselines.

    Means over seeds. Below: how the first three compare with each other, on the sets that have both.
    """
    parts = {"initial": "initial", "trained": "ids", "default with features": "features"}
    runs = pd.DataFrame([line for line in lines if line["recipe"] in parts])
    if not (runs.size and (runs["recipe"] == "initial").any()):
        return "no set has been run with --part initial"
    sets = [*dict.fromkeys(runs.loc[runs["recipe"] == "initial", "set"])]
    tuned = [line for line in lines if line["recipe"] in ("baselines", "default with features")]
    table, notes = pd.DataFrame({"set": sets}, index=sets), []
    for split in SPLITS[::-1]:
        runs["figure"] = [metrics[f"{split}/{METRICS[0]}"] for metrics in runs["metrics"]]
        means = runs.pivot_table("figure", "set", "recipe").reindex(sets).rename(columns=parts)
        for part in (part for part in parts.values() if part in means):
            table[f"{split}: {part}"] = means[part].map("{:.4f}".format, na_action="ignore").fillna("-")
        found = against_best([line for line in tuned if line["set"] in sets], split, tuned)
        table[f"{split}: tuned baseline"] = found["baseline"].reindex(sets).fillna("-")
        for later, earlier in (("ids", "initial"), ("features", "initial"), ("features", "ids")):
            if {later, earlier} <= {*means.columns}:
                ratios = (means[later] / means[earlier]).dropna()
                notes.append(summary_of(f"{split}, {later} over {earlier}", ratios))
    return "\n".join([markdown(table), *notes])


def tables_of(lines: Sequence[Line]) -> str:
    """Return the table of each recipe in Markdown."""
    recipes = dict.fromkeys(line["recipe"] for line in lines if line["baselines"])
    of = {recipe: [line for line in lines if line["recipe"] == recipe] for recipe in recipes}
    return "\n".join(f"### {recipe}\n\n{beside_the_best(each)}\n" for recipe, each in of.items())


def read(path: Path) -> list[Line]:
    """Return the lines of earlier runs; of the same run the latest."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return list({(line["recipe"], line["set"], line["seed"]): line for line in lines}.values())


def main() -> None:
    """Make, run and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["*"], help="names or patterns")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--split", help="another than the set's own")
    parser.add_argument("--features", action="store_true", help="read the sets' columns; otherwise ids alone")
    parser.add_argument("--folder", type=Path, default=OUTPUTS / "carry_over")
    parser.add_argument("--lines", type=Path, default=LINES, help="where the lines are")
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--again", action="store_true", help="run what has been run")
    parser.add_argument("--part", choices=PARTS, default="default", help="run towers or baselines alone")
    parser.add_argument("--table", action="store_true")
    arguments, overrides = parser.parse_known_args()
    names = chosen(arguments.sets)
    recipe = Recipe(tuple(overrides), arguments.split, arguments.features, arguments.part)
    if arguments.make:
        for name in names:
            print((make(name, arguments.folder) / "manifest.json").read_text(), end="", flush=True)
        return
    known = {(line["recipe"], line["set"], line["seed"]) for line in read(arguments.lines)}
    for name in [] if arguments.table else names:
        for seed in arguments.seeds:
            if (recipe.name(), name, seed) in known and not arguments.again:
                continue
            arguments.lines.parent.mkdir(parents=True, exist_ok=True)
            with arguments.lines.open("a") as file:
                file.write(json.dumps(run(name, recipe, seed, arguments.folder)) + "\n")
            lines = [line for line in read(arguments.lines) if line["recipe"] == recipe.name()]
            print(tables_of(lines) if lines[0]["baselines"] else lines[-1]["metrics"])
    if arguments.table:
        lines = [line for line in read(arguments.lines) if line["set"] in names]
        print(tables_of(lines), "### tuned baselines", against_tuned(lines), sep="\n\n")
        print("\n### step by step", step_by_step(lines), sep="\n\n")


if __name__ == "__main__":
    main()
