"""Published rows beside ours: trains recipes under the contracts of conf/benchmark, and prints the table.

  python scripts/bench/leaderboard.py                                the table, from the stored lines
  python scripts/bench/leaderboard.py --plan                         the missing seeds, the cheapest row first
  python scripts/bench/leaderboard.py --run                          trains them; a stopped training continues
  python scripts/bench/leaderboard.py --run --recipes beauty         both splits of one recipe
  python scripts/bench/leaderboard.py --run --typed trainer.max_epochs=1 --lines try.jsonl           a trial
  python scripts/bench/leaderboard.py --add RUN_FOLDER               adds a run that has ended

Only runs of a benchmark are accepted, and only with the contract of today (conf/benchmark/NAME.yaml). A row
needs three seeds. Each run adds a line to scripts/bench/results/leaderboard.jsonl. What is claimed, and by
whom, stands in the head comment of conf/experiment/NAME.yaml and nowhere else. Ours is the test split's
figure of the epoch that validation chose. Data is read from `TWOTOWER_DATA_DIR`.
"""

import argparse
import functools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from record import OUTPUTS, markdown
from safetensors import safe_open
from scipy import stats

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import compose
from twotower.commands.conf import choices
from twotower.config.errors import InputError
from twotower.data.download import DATA_VARIABLE
from twotower.experiments.runs.benchmark import Benchmark
from twotower.experiments.runs.fingerprint import AFTER_TRAINING, DATA_KEYS, IRRELEVANT_KEYS
from twotower.experiments.runs.result import open_result, read_result
from twotower.experiments.runs.run_files import CONFIG, RESULT
from twotower.experiments.runs.tower_origin import find_trainer
from twotower.files.plain_values import fingerprint_values, load_yaml

HERE = Path(__file__).parents[2]
LINES = Path(__file__).parent / "results" / "leaderboard.jsonl"
Line = dict[str, Any]
OF_THE_LINE = ("benchmark", "experiment", "recipe", "data", "seed")
LEFT_OUT = "new_items."  # of the towers' weights: fitted in closed form after training
TOLD = re.compile(r"(test|valid)/(uncapped_recall|recall|hit_rate|ndcg)_at_(10|20)")
SEEDS = (42, 43, 44)
DEFAULT = "default"
NOT_OF_THE_RECIPE = (AFTER_TRAINING - {"index"}) | SWEEP_ONLY | DATA_KEYS | {"seed"}


@dataclass(frozen=True)
class Row:
    """A recipe on a benchmark; `default` is that of `twotower train`."""

    benchmark: str
    experiment: str = DEFAULT
    more: tuple[str, ...] = ()
    """Further overrides."""
    minutes: float = 1.0
    """Minutes of a seed, until a line of the recipe has them."""

    def typed(self) -> list[str]:
        """Return the overrides of the row."""
        recipe = [] if self.experiment == DEFAULT else [f"experiment={self.experiment}"]
        return [f"benchmark={self.benchmark}", *recipe, *self.more]


ROWS = (
    Row("ml_1m_loo", "ml_1m_sasrec"),
    Row("ml_1m_loo", "ml_1m_hstu_no_times", minutes=80),
    Row("ml_1m_temporal", "ml_1m_sasrec"),
    Row("ml_1m_times_loo", "ml_1m_hstu", minutes=80),
    Row("ml_1m_temporal", "ml_1m_hstu", minutes=80),
    Row("beauty_loo", "beauty"),
    Row("beauty_temporal", "beauty"),
    Row("gowalla_ordered", "gowalla"),
    Row("gowalla_unordered", "gowalla", ("objective.recency_half_life_share=null",)),
    Row("online_retail_temporal"),
    Row("online_retail_temporal", "online_retail_mlp"),
)
"""In the order of the table: below leave-one-out the same recipe under a global temporal split, and below the
row that uses the order of items within a line the row that does not."""

NAMES = {"HR": "hit_rate", "R": "uncapped_recall", "N": "ndcg"}
"""How claims call metrics -> how we do; others are in capitals what they are here."""
PAIR = re.compile(r"\b([A-Z]+)@(\d+) (\.\d+)")
CLAIM = re.compile(r"Claimed(?: on (\w+))?:? ([^(]+)\(([^;:)]+)")
OF_EXPERIMENT = re.compile(r"override /benchmark: (\w+)")
USUAL = ("test/recall_at_20", "test/ndcg_at_20")


@dataclass(frozen=True)
class Claim:
    """A published result, by our keys; who; whether the test split chose; on which benchmark."""

    figures: Mapping[str, float]
    source: str
    on_test: bool
    benchmark: str | None


def claim_of(text: str) -> Claim | None:
    """Read a claim off the head comment of an experiment; None where it makes none."""
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
    """Return what is claimed of an experiment."""
    path = choices("experiment").get(experiment)
    return None if path is None else claim_of(path.read_text(encoding="utf-8"))


@functools.cache
def contract_of(benchmark: str) -> str | None:
    """Return the fingerprint of a contract as its YAML is today; None if there is none."""
    if benchmark not in choices("benchmark"):
        return None
    return Benchmark.from_spec(compose("train", [f"benchmark={benchmark}"])["benchmark"], "").fingerprint


def is_accepted(line: Line) -> bool:
    """Return whether a line is of a run with the contract of today."""
    return "contract" in line and line["contract"] == contract_of(line["benchmark"])


def run(row: Row, recipe: str, seed: int, root: Path, typed: Sequence[str]) -> Path:
    """Train, or continue a training that was stopped; returns the run's folder, of its row and seed alone."""
    root = root / f"seed{seed}"
    name = f"{row.benchmark}-{row.experiment}"
    for folder in root.glob(f"{name}/*"):
        is_stopped = (folder / CONFIG).is_file() and not (folder / RESULT).is_file()
        if is_stopped and recipe_of(dict(load_yaml(folder / CONFIG))) == recipe:
            train(["train.py", f"resume={folder}"])
            return folder
    place = [f"name={name}", f"output_root={root}", f"seed={seed}", "reuse=false", "console=quiet"]
    known = set(root.glob(f"{name}/*/{RESULT}"))
    train(["train.py", *row.typed(), *typed, *place])
    (path,) = set(root.glob(f"{name}/*/{RESULT}")) - known
    return path.parent


def train(words: Sequence[str]) -> None:
    """Run the command in a process of its own, whose memory and threads no earlier run has touched."""
    subprocess.run([sys.executable, str(HERE / "scripts" / words[0]), *words[1:]], check=True)


def recipe_of(settings: Mapping[str, Any]) -> str:
    """Return what is equal for the seeds of one recipe, whatever its data and its metrics."""
    return fingerprint_values({key: value for key, value in settings.items() if key not in NOT_OF_THE_RECIPE})


def line_of(folder: Path) -> Line:
    """Return what is stored of a run that has ended well, or of the evaluation that revealed its test split.

    Raises:
        InputError: it has not, or it is of no benchmark.
    """
    result = read_result(folder)
    if result is None or not result.finished or not result.metrics:
        raise InputError(f"{folder}: no run that has ended with metrics")
    if result.is_test_hidden:
        raise InputError(
            f"{folder}: its test split is hidden; add the run of `twotower evaluate test=reveal`"
        )
    towers, trained = folder, result
    if result.training_reused_from is not None:
        towers = find_trainer(folder)
        trained = open_result(towers)
        if not trained.is_test_hidden:  # else its test metrics are the first ones
            raise InputError(f"{folder}: its towers are of {towers}; add that run")
    if trained.ancestry is not None:
        raise InputError(
            f"{folder}: trains the towers of {trained.ancestry.parent} further; train from scratch"
        )
    if result.seed not in SEEDS:
        raise InputError(
            f"{folder}: seed {result.seed}; the leaderboard takes {SEEDS}, so that none is chosen"
        )
    settings = dict(load_yaml(folder / CONFIG))
    if not result.is_of(settings):
        raise InputError(f"{folder / CONFIG}: is not that of the run; restore it from the bundle")
    if result.benchmark is None:
        raise InputError(f"{folder}: has no contract; the leaderboard takes runs of benchmark=NAME")
    if result.benchmark.fingerprint != contract_of(result.benchmark.name):
        raise InputError(f"{folder}: its contract is not that of conf/benchmark/{result.benchmark.name}.yaml")
    named = [text.partition("=")[2] for text in result.overrides if text.startswith("experiment=")]
    machine, code = trained.provenance.machine, trained.provenance.code
    return {
        "benchmark": result.benchmark.name,
        "contract": result.benchmark.fingerprint,
        "side_information": list(result.benchmark.side_information),
        "experiment": named[-1] if named else DEFAULT,
        "seed": result.seed,
        "figures": {key: round(value, 5) for key, value in result.figures().items() if TOLD.fullmatch(key)},
        "monitor": result.training.monitor,
        "epochs": result.training.epochs,
        "train_minutes": round(result.timing["train_seconds"] / 60, 2),
        "minutes": round(trained.timing["total_seconds"] / 60, 2),
        "width": settings["embedding_dim"],
        "parameters": num_parameters(towers),
        "index_recall": round(result.index["recall_at_100"], 4),
        "machine": {key: machine.get(key) for key in ("cpu", "cores", "threads")},
        "commit": code.get("commit"),
        "command": command_of(trained.overrides),
        "fingerprint": result.fingerprint,
        "data": result.data.fingerprint,
        "recipe": recipe_of(settings),
    }


def num_parameters(folder: Path) -> int:
    """Return how many floating-point numbers the towers are, without what is fitted for new items."""
    with safe_open(folder / "bundle" / "towers.safetensors", "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys() if not name.startswith(LEFT_OUT)}  # noqa: SIM118
    sizes = {name: each.get_shape() for name, each in slices.items() if "F" in each.get_dtype()}
    return sum(math.prod(shape) for shape in sizes.values())


def command_of(overrides: Sequence[str]) -> str:
    """Return the command of a run, without where this machine keeps what."""
    folder = os.environ.get(DATA_VARIABLE)
    kept = [text for text in overrides if text.partition("=")[0] not in IRRELEVANT_KEYS | {"seed", "test"}]
    if folder:
        kept = [text.replace(folder.rstrip("/"), f"${DATA_VARIABLE}") for text in kept]
    return " ".join(["twotower train", *kept])


def read(path: Path) -> list[Line]:
    """Return the stored lines; of the same row, recipe, data and seed the latest."""
    if not path.is_file():
        return []
    lines: dict[tuple[Any, ...], Line] = {}
    for line in (json.loads(text) for text in path.read_text().splitlines() if text):
        key = tuple(line.get(each) for each in OF_THE_LINE)
        lines.pop(key, None)  # so that a line that was added again is the last
        lines[key] = line
    return list(lines.values())


def keep(line: Line, path: Path) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def missing_seeds(
    lines: Sequence[Line], typed: Sequence[str] = ()
) -> list[tuple[Row, str, list[int], float]]:
    """Return row, recipe, missing seeds and estimated minutes of a seed, the cheapest row first."""
    found = []
    for row in ROWS:
        recipe = recipe_of(compose("train", [*row.typed(), *typed]))
        known = {line["seed"] for line in lines if _is_of(line, row) and line["recipe"] == recipe}
        of_recipe = [line["minutes"] for line in lines if line["experiment"] == row.experiment]
        minutes = of_recipe[-1] if of_recipe else row.minutes
        found.append((row, recipe, [seed for seed in SEEDS if seed not in known], minutes))
    return sorted((each for each in found if each[2]), key=lambda each: each[3])


def _is_of(line: Line, row: Row) -> bool:
    return is_accepted(line) and (line["benchmark"], line["experiment"]) == (row.benchmark, row.experiment)


def table_of(lines: Sequence[Line]) -> str:
    """Return the table in Markdown: a row for each recipe and benchmark, of its recipes the latest."""
    rows, notes = [], []
    accepted = [line for line in lines if is_accepted(line)]
    order = {(row.benchmark, row.experiment): number for number, row in enumerate(ROWS)}
    names = {(line["benchmark"], line["experiment"]) for line in accepted}
    for name in sorted(names, key=lambda name: (order.get(name, len(order)), name)):
        of = _latest([line for line in accepted if (line["benchmark"], line["experiment"]) == name])
        rows.append(_row(of))
        machine = f"{of[-1]['machine']['cores']} x {of[-1]['machine']['cpu']}"
        recall = min(line["index_recall"] for line in of)
        old = "" if _is_of_today(of[-1]) else "; not the settings of today's YAML, or other names of them"
        notes.append(f"- `{of[-1]['command']}`: recall of the index {recall:.3f}, {machine}{old}")
    tail = "Ours: the test split at the epoch that validation chose, mean over seeds [95 % by Student's t]."
    ranked = {line["experiment"] for line in accepted}
    before = [line for line in lines if line["experiment"] not in ranked]
    for experiment in dict.fromkeys(line["experiment"] for line in before):
        of = _latest([line for line in before if line["experiment"] == experiment])
        keys, figures = _figures(of)
        notes.append(f"- before the contracts of today: {experiment}, {len(of)} seeds, {keys} {figures}")
    return "\n".join([markdown(pd.DataFrame(rows)), "", tail, "", *notes, ""])


def _is_of_today(line: Line) -> bool:
    """Return whether the recipe of a line is what its experiment is today."""
    name = line["benchmark"], line["experiment"]
    row = next((each for each in ROWS if (each.benchmark, each.experiment) == name), Row(*name))
    try:
        return bool(line["recipe"] == recipe_of(compose("train", row.typed())))
    except InputError:  # the experiment has another name today
        return False


def _latest(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of the recipe and the data of the last line."""
    last = lines[-1]
    return [line for line in lines if (line["recipe"], line["data"]) == (last["recipe"], last["data"])]


def _figures(of: Sequence[Line]) -> tuple[str, str]:
    """Return the names and the means of the figures of a row: those that are claimed of its recipe."""
    line, claim = of[-1], claimed(of[-1]["experiment"])
    keys = [key for key in (claim.figures if claim else ()) if key in line["figures"]]
    keys = keys or [key for key in USUAL if key in line["figures"]]
    names = (key.removeprefix("test/").replace("_at_", "@") for key in keys)
    return " / ".join(names), " / ".join(interval_of([line["figures"][key] for line in of]) for key in keys)


def _row(of: Sequence[Line]) -> dict[str, str]:
    line, claim = of[-1], claimed(of[-1]["experiment"])
    told = "-"
    if claim and claim.benchmark == line["benchmark"]:
        told = " / ".join(f"{value:.4f}" for value in claim.figures.values())
        told = f"{told} ({claim.source}{', chosen on test' if claim.on_test else ''})"
    is_ranked = {each["seed"] for each in of} >= set(SEEDS)
    keys, ours = _figures(of)
    return {
        "benchmark": line["benchmark"],
        "recipe": line["experiment"],
        "figures": keys,
        "claimed": told,
        "ours": ours if is_ranked else "-",
        "seeds": str(len(of)) if is_ranked else f"{len(of)} of {len(SEEDS)} seeds",
        "width": str(line["width"]),
        "parameters": f"{line['parameters']:,}",
        "minutes": f"{fmean(line['minutes'] for line in of):.1f}",
        "side information": ", ".join(kind.replace("_", " ") for kind in line["side_information"]) or "none",
    }


def interval_of(values: Sequence[float]) -> str:
    """Return the mean of a figure over seeds with its 95 % interval; one seed has none."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.4f} [{fmean(values) - half:.4f}, {fmean(values) + half:.4f}]"


def main(words: Sequence[str] | None = None) -> None:
    """Run, add and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", action="store_true", help="train the missing seeds, the cheapest row first")
    parser.add_argument("--plan", action="store_true", help="print what --run would train")
    parser.add_argument("--recipes", nargs="+", default=[], help="only these experiments")
    parser.add_argument("--typed", nargs="+", default=[], help="further overrides, for a trial")
    parser.add_argument("--add", nargs="+", type=Path, default=[], help="folders of runs")
    parser.add_argument("--folder", type=Path, default=OUTPUTS / "leaderboard")
    parser.add_argument("--lines", type=Path, default=LINES, help="where the lines are")
    asked = parser.parse_args(words)
    for folder in asked.add:
        keep(line_of(folder), asked.lines)
    plan = missing_seeds(read(asked.lines), asked.typed) if asked.run or asked.plan else []
    plan = [each for each in plan if not asked.recipes or each[0].experiment in asked.recipes]
    for row, recipe, seeds, minutes in plan:
        print(f"{' '.join(row.typed())}: seeds {seeds}, about {minutes * len(seeds):.0f} minutes", flush=True)
        for seed in seeds if asked.run else []:
            keep(line_of(run(row, recipe, seed, asked.folder, asked.typed)), asked.lines)
    if not asked.plan:
        print(table_of(read(asked.lines)))


if __name__ == "__main__":
    main()
