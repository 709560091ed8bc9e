"""Does the recipe carry over? It is run on data sets nobody chose it on, beside every baseline.

  python scripts/bench/carry_over.py --make                          only make the data sets: two minutes
  python scripts/bench/carry_over.py --sets 'retail_*' made_long --seeds 42 43 44     minutes a set and seed
  python scripts/bench/carry_over.py --sets ml100k --split leave_one_out experiment=mine    another recipe
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from held_out import chosen, make, typed_for
from record import OUTPUTS, machine

HERE = Path(__file__).parents[2]
LINES = Path(__file__).parent / "results" / "carry_over.jsonl"
SPLITS, METRICS = ("test", "valid"), ("recall_at_20", "ndcg_at_20")
BASELINES_ONLY = ("trainer=smoke", "trainer.refit=false", "initialization=random", "embedding_dim=8")
"""Towers that take seconds and do not count."""
FAST = ("metrics.ks=[10,20]", "metrics.num_bootstrap=0", "console=quiet")
Line = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What is run on every set.

    Attributes:
        overrides: of the default.
        split: another one than the set's own.
        features: whether the columns of the sets are read.
        baselines_only: whether the towers do not count.
    """

    overrides: tuple[str, ...] = ()
    split: str | None = None
    features: bool = False
    baselines_only: bool = False

    def name(self) -> str:
        """Return what a table is headed with."""
        split = [f"split={self.split}"] if self.split else []
        what = "baselines" if self.baselines_only else "default"
        return " ".join([what, *split, *(["with features"] if self.features else []), *self.overrides])

    def typed(self, folder: Path) -> list[str]:
        """Return what scripts/train.py is told of a set."""
        typed = typed_for(folder, self.features)
        if self.split:
            typed = [*(each for each in typed if not each.startswith("split.")), f"split={self.split}"]
        return [*typed, *FAST, *(BASELINES_ONLY if self.baselines_only else ()), *self.overrides]


def run(name: str, recipe: Recipe, seed: int, root: Path) -> Line:
    """Train on a set; returns what is kept of it."""
    typed, runs = recipe.typed(make(name, root)), root / "runs"
    place = [f"name={name}", f"output_root={runs}", f"seed={seed}", "reuse=false"]
    before, known = resource.getrusage(resource.RUSAGE_CHILDREN), set(runs.glob(f"{name}/*/result.json"))
    load, began = os.getloadavg()[0], time.perf_counter()
    subprocess.run([sys.executable, str(HERE / "scripts" / "train.py"), *typed, *place], check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    (path,) = set(runs.glob(f"{name}/*/result.json")) - known
    result = json.loads(path.read_text())
    keys = [f"{split}/{metric}" for split in SPLITS for metric in METRICS]
    return {
        "set": name,
        "recipe": recipe.name(),
        "seed": seed,
        **{key: result["data"][key] for key in ("users", "items", "interactions")},
        "evaluated": {split: result["evaluated"][split]["users"] for split in SPLITS},
        "metrics": _of_keys(result["metrics"], keys),
        "baselines": {each: _of_keys(found, keys) for each, found in result["baselines"].items()},
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


def _of_keys(figures: Mapping[str, float], keys: Iterable[str]) -> dict[str, float]:
    return {key: round(figures[key], 5) for key in keys if key in figures}


def best_baseline(line: Line, split: str, metric: str) -> tuple[str, float]:
    """Return the baseline that is best on a split, and its figure."""
    key = f"{split}/{metric}"
    found = {name: figures[key] for name, figures in line["baselines"].items() if key in figures}
    best = max(found, key=found.__getitem__)
    return best, found[best]


def times_the_best(lines: Sequence[Line], split: str, metric: str) -> float:
    """Return the mean figure of a set's runs over that of its best baseline."""
    figure: float = mean(each["metrics"][f"{split}/{metric}"] for each in lines)
    return figure / max(best_baseline(lines[0], split, metric)[1], 1e-9)


def by_set(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Yield the runs of each set."""
    for data in dict.fromkeys(line["set"] for line in lines):
        yield [line for line in lines if line["set"] == data]


def tables_of(lines: Sequence[Line]) -> str:
    """Return a table in Markdown for each recipe and split: a set a row, means over the seeds."""
    found = []
    for recipe in dict.fromkeys(line["recipe"] for line in lines):
        of = [line for line in lines if line["recipe"] == recipe]
        found.append(f"### {recipe}\n\n{beside_the_best(of)}\n")
        for split in SPLITS:
            found.append(f"### {recipe}: {split}\n\n{_table(of, split)}")
    return "\n".join(found)


def beside_the_best(lines: Sequence[Line]) -> str:
    """Return one table of a recipe: recall@20, means over seeds, beside the best baseline of each split."""
    head = ["set", "users", "items", "seeds", "minutes"]
    for split in SPLITS[::-1]:
        head += [split, "best baseline", "x best"]
    rows = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * 5 + "---|---:|---:|---|---:|"]
    ratios: dict[str, list[float]] = {split: [] for split in SPLITS}
    for of in by_set(lines):
        cells = [of[0]["set"], f"{of[0]['users']:,}", f"{of[0]['items']:,}", str(len(of))]
        cells.append(f"{mean(each['train_minutes'] for each in of):.1f}")
        for split in SPLITS[::-1]:
            figure = mean(each["metrics"][f"{split}/{METRICS[0]}"] for each in of)
            name, best = best_baseline(of[0], split, METRICS[0])
            ratios[split].append(times_the_best(of, split, METRICS[0]))
            cells += [f"{figure:.4f}", f"`{name}` {best:.4f}", f"{ratios[split][-1]:.2f}"]
        rows.append("| " + " | ".join(cells) + " |")
    for split in SPLITS[::-1]:
        found = ratios[split]
        ahead = f"{split}: ahead on {sum(each >= 1 for each in found)} of {len(found)}"
        rows.append(f"\n{ahead}, x best {mean(found):.3f} in the mean, {min(found):.3f} at worst")
    return "\n".join(rows)


def against_tuned(lines: Sequence[Line]) -> str:
    """Return recall@20 of the best fixed and tuned baselines, and of the towers of `default` over both.

    Below: the mean over sets of tuned over fixed, for each baseline.
    """
    head = [
        "set",
        *(f"{split}: {what}" for split in SPLITS[::-1] for what in ("fixed", "tuned", "x fixed", "x tuned")),
    ]
    rows = ["| " + " | ".join(head) + " |", "|---|" + "---|---|---:|---:|" * len(SPLITS)]
    ratios: dict[str, list[tuple[float, float]]] = {split: [] for split in SPLITS}
    gains: dict[tuple[str, str], list[float]] = {}
    for of in by_set(lines):
        towers = [line for line in of if line["recipe"] == "default"]
        tuned = [line for line in of if line["recipe"] == "baselines"]
        if not towers or not tuned:
            continue
        cells, sides = [of[0]["set"]], (towers[0], tuned[0])
        for split in SPLITS[::-1]:
            key = f"{split}/{METRICS[0]}"
            figure = mean(each["metrics"][key] for each in towers)
            best = [best_baseline(each, split, METRICS[0]) for each in sides]
            ratios[split].append((figure / best[0][1], figure / best[1][1]))
            cells += [f"`{name}` {value:.4f}" for name, value in best]
            cells += [f"{ratio:.2f}" for ratio in ratios[split][-1]]
            for name in sorted({*tuned[0]["tuned"]}):
                fixed, found = (each["baselines"][name][key] for each in sides)
                gains.setdefault((name, split), []).append(found / max(fixed, 1e-9))
        rows.append("| " + " | ".join(cells) + " |")
    for split in SPLITS[::-1]:
        for what, ratio in zip(("fixed", "tuned"), zip(*ratios[split], strict=True), strict=False):
            ahead = f"{split}, {what}: ahead on {sum(each >= 1 for each in ratio)} of {len(ratio)}"
            rows.append(f"\n{ahead}, x best {mean(ratio):.3f} in the mean, {min(ratio):.3f} at worst")
    for (name, split), gain in gains.items():
        better, worse = (sum(sign * (each - 1) > 1e-9 for each in gain) for sign in (1, -1))
        rows.append(
            f"\n{name}, {split}: tuned / fixed {mean(gain):.3f}, better on {better} sets, worse on {worse}"
        )
    return "\n".join(rows)


def _table(lines: Sequence[Line], split: str) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line["baselines"]))
    head = ["set", "users", "items", "interactions", "asked", "seeds", "model", *names, "x best", "minutes"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    shares: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for of in by_set(lines):
        ratios = [times_the_best(of, split, metric) for metric in METRICS]
        for metric, ratio in zip(METRICS, ratios, strict=True):
            shares[metric].append(ratio)
        counts = [f"{of[0][key]:,}" for key in ("users", "items", "interactions")]
        figures = [[each["metrics"] for each in of]]
        figures += [[each["baselines"].get(name, {}) for each in of] for name in names]
        cells = [of[0]["set"], *counts, f"{of[0]['evaluated'][split]:,}", str(len(of))]
        cells += [_cell(each, split) for each in figures]
        cells += [
            " / ".join(f"{ratio:.2f}" for ratio in ratios),
            f"{mean(each['minutes'] for each in of):.1f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    behind = [sum(ratio < 1 for ratio in each) for each in shares.values()]
    means = " / ".join(f"{mean(each):.3f}" for each in shares.values())
    rows.append(f"\nrecall@20 / ndcg@20; {len(shares[METRICS[0]])} sets: mean of x best {means}; ")
    rows[-1] += f"behind the best baseline on {behind[0]} / {behind[1]}\n"
    return "\n".join(rows)


def _cell(figures: Sequence[Mapping[str, float]], split: str) -> str:
    if not all(figures):
        return "-"
    means = (mean(each[f"{split}/{metric}"] for each in figures) for metric in METRICS)
    return " / ".join(f"{value:.4f}" for value in means)


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
    parser.add_argument(
        "--baselines-only", action="store_true", help="run towers of seconds, which do not count"
    )
    parser.add_argument("--table", action="store_true")
    arguments, overrides = parser.parse_known_args()
    names = chosen(arguments.sets)
    recipe = Recipe(tuple(overrides), arguments.split, arguments.features, arguments.baselines_only)
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
            print(tables_of([line for line in read(arguments.lines) if line["recipe"] == recipe.name()]))
    if arguments.table:
        lines = [line for line in read(arguments.lines) if line["set"] in names]
        print(tables_of(lines), "### tuned baselines", against_tuned(lines), sep="\n\n")


if __name__ == "__main__":
    main()
