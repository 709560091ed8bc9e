"""Published results next to ours, under the contracts of conf/benchmark.

Only lines with the contract of today (conf/benchmark/NAME.yaml) are ranked, and a row needs three seeds. The
head comment of conf/experiment/NAME.yaml states the claim and its source. Ours is the figure of the test
split at the epoch that validation chose. Data is read from `TWOTOWER_DATA_DIR`.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import trainings
from record import OUTPUTS, Figures, Line, Row, Table, markdown
from safetensors import safe_open
from scipy import stats

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.conf import choices
from twotower.config.errors import InputError
from twotower.experiments.runs.benchmark import Benchmark
from twotower.experiments.runs.fingerprint import AFTER_TRAINING, DATA_KEYS
from twotower.experiments.runs.result import open_result
from twotower.files.plain_values import fingerprint_values

SEEDS = (42, 43, 44)
DEFAULT = "default"
LEFT_OUT = "new_items."  # of the towers' weights: fitted in closed form after training
NOT_OF_THE_RECIPE = (AFTER_TRAINING - {"index"}) | SWEEP_ONLY | DATA_KEYS | {"seed"}
RECIPES: Sequence[tuple[str, str, str, float]] = (
    ("ml_1m_loo", "ml_1m_sasrec", "", 35),
    ("ml_1m_loo", "ml_1m_hstu_no_times", "", 80),
    ("ml_1m_temporal", "ml_1m_sasrec", "", 35),
    ("ml_1m_times_loo", "ml_1m_hstu", "", 80),
    ("ml_1m_temporal", "ml_1m_hstu", "", 80),
    ("beauty_loo", "beauty", "", 30),
    ("beauty_temporal", "beauty", "", 30),
    ("gowalla_ordered", "gowalla", "", 45),
    ("gowalla_unordered", "gowalla", "objective.recency_half_life_share=null", 60),
    ("online_retail_temporal", DEFAULT, "", 1),
    ("online_retail_temporal", "online_retail_mlp", "", 1),
)
"""Benchmark, experiment (`default`: that of `twotower train`), further settings and minutes of a seed, in the
order of the table: below leave-one-out the same recipe under a global temporal split, and below the row that
uses the order of items within a line the row that does not."""

NAMES = {"HR": "hit_rate", "R": "uncapped_recall", "N": "ndcg"}
"""Names of metrics in claims -> ours; others are ours in capitals."""
PAIR = re.compile(r"\b([A-Z]+)@(\d+) (\.\d+)")
CLAIM = re.compile(r"Claimed(?: on (\w+))?:? ([^(]+)\(([^;:)]+)")
OF_EXPERIMENT = re.compile(r"override /benchmark: (\w+)")
USUAL = ("test/recall_at_20", "test/ndcg_at_20")


@dataclass(frozen=True)
class Claim:
    """A published result: figures by our keys, its source, whether the test split chose, its benchmark."""

    figures: Mapping[str, float]
    source: str
    on_test: bool
    benchmark: str | None


def claim_of(text: str) -> Claim | None:
    """Read a claim off the head comment of an experiment; None if it makes none."""
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    found, own = CLAIM.search(comment), OF_EXPERIMENT.search(text)
    if found is None:
        return None
    figures = {
        f"test/{NAMES.get(name, name.lower())}_at_{k}": float(value)
        for name, k, value in PAIR.findall(found[2])
    }
    benchmark = found[1] or (own[1] if own else None)
    return Claim(figures, found[3].strip(), "on test" in found[2], benchmark)


def claimed(experiment: str) -> Claim | None:
    """Return the claim of an experiment."""
    path = choices("experiment").get(experiment)
    return None if path is None else claim_of(path.read_text(encoding="utf-8"))


@functools.cache
def contract_of(benchmark: str) -> str | None:
    """Return the fingerprint of a contract as its YAML is today; None if there is none."""
    if benchmark not in choices("benchmark"):
        return None
    contract = Benchmark.from_spec(trainings.composed((f"benchmark={benchmark}",))["benchmark"], "")
    return fingerprint_values(trainings.by_class_name(contract.plain()))


def is_accepted(line: Line) -> bool:
    """Return whether a line has the contract of today."""
    return bool(line.figures["contract"] == contract_of(line.row.split()[0]))


def rows() -> list[Row]:
    """Return a row for each recipe on a benchmark."""
    found = []
    for benchmark, experiment, more, minutes in RECIPES:
        recipe = [] if experiment == DEFAULT else [f"experiment={experiment}"]
        words = (f"benchmark={benchmark}", *recipe, *more.split())
        found.append(Row(f"{benchmark} {experiment}", words, SEEDS, minutes))
    return found


def recipe_of(row: Row) -> str:
    """Return what is equal for the seeds of one recipe, whatever its data and its metrics."""
    recipe = {
        key: each for key, each in trainings.composed(row.words).items() if key not in NOT_OF_THE_RECIPE
    }
    return fingerprint_values(trainings.by_class_name(recipe))


def measure(row: Row, seed: int) -> Figures:
    """Train a row under its contract; return what is stored of it."""
    folder = trainings.trained(row.name, row.words, seed, OUTPUTS / "leaderboard")
    result = open_result(folder)
    assert result.benchmark is not None
    return trainings.figures_of(folder) | {
        "contract": contract_of(result.benchmark.name),
        "side_information": list(result.benchmark.side_information),
        "width": result.settings["embedding_dim"],
        "parameters": num_parameters(folder),
        "index_recall": round(result.index["recall_at_100"], 4),
    }


def num_parameters(folder: Path) -> int:
    """Return how many floating-point numbers the towers are, without what is fitted for new items."""
    with safe_open(folder / "bundle" / "towers.safetensors", "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys() if not name.startswith(LEFT_OUT)}  # noqa: SIM118
    sizes = {name: each.get_shape() for name, each in slices.items() if "F" in each.get_dtype()}
    return sum(math.prod(shape) for shape in sizes.values())


def show(lines: Sequence[Line]) -> str:
    """Return the table in Markdown: a row for each recipe and benchmark, of its recipes the latest."""
    cells, notes = [], []
    accepted = [line for line in lines if is_accepted(line)]
    order = {row.name: row for row in rows()}
    for name in sorted({line.row for line in accepted}, key=lambda name: (*_place(name, [*order]), name)):
        last = [line for line in accepted if line.row == name][-1]
        of = [
            line
            for line in accepted
            if (line.row, line.settings, line.data) == (name, last.settings, last.data)
        ]
        cells.append(_cells(of))
        recall = min(line.figures["index_recall"] for line in of)
        is_old = name not in order or not _is_of_today(last, order[name])
        old = "; recorded with other settings or setting names" if is_old else ""
        of_machine = f"{last.machine['cores']} x {last.machine['cpu']}"
        notes.append(f"- `{last.command}`: recall of the index {recall:.3f}, {of_machine}{old}")
    tail = "Ours: the test split at the epoch that validation chose, mean over seeds [95 % by Student's t]."
    return "\n".join([markdown(pd.DataFrame(cells)), "", tail, "", *notes, ""])


def _place(name: str, names: Sequence[str]) -> tuple[int]:
    return (names.index(name) if name in names else len(names),)


def _is_of_today(line: Line, row: Row) -> bool:
    try:
        return line.settings == recipe_of(row)
    except InputError:  # the experiment has another name today
        return False


def _cells(of: Sequence[Line]) -> dict[str, str]:
    benchmark, experiment = of[-1].row.split()
    figures, claim, told = of[-1].figures, claimed(experiment), "-"
    if claim and claim.benchmark == benchmark:
        told = " / ".join(f"{value:.4f}" for value in claim.figures.values())
        told = f"{told} ({claim.source}{', chosen on test' if claim.on_test else ''})"
    keys = [key for key in (claim.figures if claim else ()) if key in figures["metrics"]]
    keys = keys or [key for key in USUAL if key in figures["metrics"]]
    ours = " / ".join(interval_of([line.figures["metrics"][key] for line in of]) for key in keys)
    is_ranked = {line.seed for line in of} >= set(SEEDS)
    kinds: Sequence[Any] = figures["side_information"]
    return {
        "benchmark": benchmark,
        "recipe": experiment,
        "figures": " / ".join(key.removeprefix("test/").replace("_at_", "@") for key in keys),
        "claimed": told,
        "ours": ours if is_ranked else "-",
        "seeds": str(len(of)) if is_ranked else f"{len(of)} of {len(SEEDS)} seeds",
        "width": str(figures["width"]),
        "parameters": f"{figures['parameters']:,}",
        "minutes": f"{fmean(line.minutes for line in of):.1f}",
        "side information": ", ".join(kind.replace("_", " ") for kind in kinds) or "none",
    }


def interval_of(values: Sequence[float]) -> str:
    """Return the mean of a figure over seeds with its 95 % interval; one seed has none."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.4f} [{fmean(values) - half:.4f}, {fmean(values) + half:.4f}]"


TABLES = {"leaderboard": Table("benchmarks.md", rows, measure, show, recipe_of, "twotower train")}
