"""Published rows beside ours: runs experiments over seeds, and tells what they came to.

  python scripts/bench/leaderboard.py --experiments ml_1m_sasrec beauty --seeds 42 43 44     minutes to hours
  python scripts/bench/leaderboard.py --table                        from the lines that are kept: no training
  python scripts/bench/leaderboard.py --add RUN_FOLDER --as item_cold          takes a run that has ended

Each run adds a line to scripts/bench/results/leaderboard.jsonl; the same experiment, recipe and seed is not
run again. What is claimed, and by whom, stands in the head comment of conf/experiment/NAME.yaml and nowhere
else. Ours is the test split's figure of the epoch that validation chose. Data is read from
`TWOTOWER_DATA_DIR`.
"""

import argparse
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

from record import OUTPUTS
from safetensors import safe_open
from scipy import stats

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import checked
from twotower.commands.conf import choices
from twotower.config.errors import InputError
from twotower.data.download import DATA_VARIABLE
from twotower.files.plain_values import fingerprint_values, load_yaml
from twotower.runs.fingerprint import IRRELEVANT_KEYS
from twotower.runs.result import Result, read_result
from twotower.runs.run_files import CONFIG

HERE = Path(__file__).parents[2]
LINES = Path(__file__).parent / "results" / "leaderboard.jsonl"
Line = dict[str, Any]
OF_THE_ROW = ("experiment", "recipe", "data", "seed")
LEFT_OUT = "new_items."  # of the towers' weights: fitted in closed form after training
TOLD = re.compile(r"(test|valid)/(uncapped_recall|recall|hit_rate|ndcg)_at_(10|20)")
COLD = tuple(
    f"cold_start/{whom}/recall_at_20" for whom in ("model/cold", "content/cold", "model/warm", "model/all")
)

TYPED = {
    "ml_1m_sasrec": ["experiment=ml_1m_sasrec", "data.path={data}/ml-1m-sasrec/ml-1m.txt"],
    "beauty": ["experiment=beauty", "data.path={data}/amazon-beauty-5core/Beauty.txt"],
    "gowalla": [
        "experiment=gowalla",
        "data.train_path={data}/gowalla/train.txt",
        "data.test_path={data}/gowalla/test.txt",
    ],
    "online_retail": ["data=online_retail"],
    "item_cold": [
        "data=movielens_1m",
        "split=item_cold",
        "split.unit=share",
        "split.test=0.1",
        "split.valid=0.1",
    ],
}
"""What is typed for a row; of others `experiment=NAME`."""

NAMES = {"HR": "hit_rate", "R": "uncapped_recall", "N": "ndcg"}
"""How claims call metrics -> how we do; others are in capitals what they are here."""
PAIR = re.compile(r"\b([A-Z]+)@(\d+) (\.\d+)")
CLAIM = re.compile(r"Claimed:? ([^(]+)\(([^;:)]+)")
USUAL = ("test/recall_at_20", "test/ndcg_at_20")


@dataclass(frozen=True)
class Claim:
    """What somebody says to have reached, by our keys; who; and whether the test split chose."""

    figures: Mapping[str, float]
    source: str
    on_test: bool


def claim_of(comment: str) -> Claim | None:
    """Read a claim off the head comment of an experiment; None where it makes none."""
    text = " ".join(line.lstrip("# ") for line in comment.splitlines() if line.startswith("#"))
    found = CLAIM.search(text)
    if found is None:
        return None
    figures = {
        f"test/{NAMES.get(name, name.lower())}_at_{k}": float(value)
        for name, k, value in PAIR.findall(found[1])
    }
    return Claim(figures, found[2].strip(), "on test" in found[1])


def claimed(experiment: str) -> Claim | None:
    """Return what is claimed of an experiment."""
    path = choices("experiment").get(experiment)
    return None if path is None else claim_of(path.read_text(encoding="utf-8"))


def typed_for(experiment: str) -> list[str]:
    """Return what scripts/train.py is told."""
    folder = os.environ.get(DATA_VARIABLE, "data")
    return [text.format(data=folder) for text in TYPED.get(experiment, [f"experiment={experiment}"])]


def run(experiment: str, seed: int, root: Path) -> Path:
    """Train; returns the run's folder, beside those of its seed alone: others may be trained meanwhile."""
    root = root / f"seed{seed}"
    place = [f"name={experiment}", f"output_root={root}", f"seed={seed}", "reuse=false", "console=quiet"]
    known = set(root.glob(f"{experiment}/*/result.json"))
    train(["train.py", *typed_for(experiment), *place])
    (path,) = set(root.glob(f"{experiment}/*/result.json")) - known
    return path.parent


def train(words: Sequence[str]) -> None:
    """Run the command in a process of its own, whose memory and threads no earlier run has touched."""
    subprocess.run([sys.executable, str(HERE / "scripts" / words[0]), *words[1:]], check=True)


def recipe_of(settings: Mapping[str, Any]) -> str:
    """Return what is equal for the seeds of one recipe, wherever its data lies."""
    apart = IRRELEVANT_KEYS | SWEEP_ONLY | {"seed", "data"}
    return fingerprint_values({key: value for key, value in settings.items() if key not in apart})


def line_of(folder: Path, experiment: str | None = None) -> Line:
    """Return what is kept of a run that has ended well.

    Raises:
        InputError: it has not, or does not say which experiment it is of.
    """
    result = read_result(folder)
    if result is None or not result.finished or not result.metrics:
        raise InputError(f"{folder}: no run that has ended with metrics")
    if result.training_reused_from is not None:
        raise InputError(f"{folder}: its towers are of {result.training_reused_from}; add that run")
    named = [text.partition("=")[2] for text in result.overrides if text.startswith("experiment=")]
    if experiment is None and not named:
        raise InputError(f"{folder}: says no experiment=; name the row with --as")
    machine, code = result.provenance.machine, result.provenance.code
    return {
        "experiment": experiment or named[-1],
        "seed": result.seed,
        "figures": {key: round(value, 5) for key, value in _told(result).items()},
        "monitor": result.training.monitor,
        "epochs": result.training.epochs,
        "train_minutes": round(result.timing["train_seconds"] / 60, 2),
        "minutes": round(result.timing["total_seconds"] / 60, 2),
        "parameters": num_parameters(folder),
        "index_recall": round(result.index["recall_at_100"], 4),
        "machine": {key: machine.get(key) for key in ("cpu", "cores", "threads")},
        "commit": code.get("commit"),
        "command": command_of(result.overrides),
        "fingerprint": result.fingerprint,
        "data": result.data.fingerprint,
        "recipe": recipe_of(dict(load_yaml(folder / CONFIG))),
    }


def _told(result: Result) -> dict[str, float]:
    figures = result.figures()
    wanted = [key for key in figures if TOLD.fullmatch(key)]
    return {key: figures[key] for key in [*wanted, *COLD] if key in figures}


def num_parameters(folder: Path) -> int:
    """Return how many floating-point numbers the towers are, without what is fitted for new items."""
    with safe_open(folder / "bundle" / "towers.safetensors", "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys() if not name.startswith(LEFT_OUT)}  # noqa: SIM118
    sizes = {name: each.get_shape() for name, each in slices.items() if "F" in each.get_dtype()}
    return sum(math.prod(shape) for shape in sizes.values())


def command_of(overrides: Sequence[str]) -> str:
    """Return the command of a run, without where this machine keeps what."""
    folder = os.environ.get(DATA_VARIABLE)
    kept = [text for text in overrides if text.partition("=")[0] not in IRRELEVANT_KEYS | {"seed"}]
    if folder:
        kept = [text.replace(folder.rstrip("/"), f"${DATA_VARIABLE}") for text in kept]
    return " ".join(["twotower train", *kept])


def read(path: Path) -> list[Line]:
    """Return the lines that are kept; of the same row, recipe, data and seed the latest."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text().splitlines() if text]
    return list({tuple(line[key] for key in OF_THE_ROW): line for line in lines}.values())


def keep(line: Line, path: Path) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def table_of(lines: Sequence[Line]) -> str:
    """Return the table in Markdown, a row an experiment: of its recipes the latest, all seeds of it."""
    head = ["row", "figures", "claimed", "ours", "seeds", "minutes", "parameters", "index recall", "machine"]
    rows, notes = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"], []
    for experiment in dict.fromkeys(line["experiment"] for line in lines):
        of = [line for line in lines if line["experiment"] == experiment]
        of = [line for line in of if (line["recipe"], line["data"]) == (of[-1]["recipe"], of[-1]["data"])]
        claim = claimed(experiment)
        rows.append(_row(experiment, of, claim))
        source = f"claimed by {claim.source}; " if claim else ""
        notes.append(f"- {experiment}: {source}`{of[-1]['command']}`")
    tail = "Ours: the test split at the epoch that validation chose, mean over seeds [95 % by Student's t]."
    return "\n".join([*rows, "", tail, "", *notes, ""])


def _row(experiment: str, of: Sequence[Line], claim: Claim | None) -> str:
    known, machine = of[-1]["figures"], of[-1]["machine"]
    keys = [key for key in (claim.figures if claim else ()) if key in known]
    keys = keys or [key for key in (*USUAL, *COLD) if key in known]
    told = " / ".join(f"{claim.figures[key]:.4f}" for key in keys if key in claim.figures) if claim else "-"
    cells = [
        experiment,
        " / ".join(map(_short, keys)),
        f"{told} (chosen on test)" if claim and claim.on_test else told,
        " / ".join(interval_of([line["figures"][key] for line in of]) for key in keys),
        str(len(of)),
        f"{fmean(line['minutes'] for line in of):.1f}",
        f"{of[-1]['parameters']:,}",
        f"{min(line['index_recall'] for line in of):.3f}",
        f"{machine['cores']} x {machine['cpu']}",
    ]
    return "| " + " | ".join(cells) + " |"


def interval_of(values: Sequence[float]) -> str:
    """Return the mean of a figure over seeds with its 95 % interval; one seed has none."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.4f} [{fmean(values) - half:.4f}, {fmean(values) + half:.4f}]"


def _short(key: str) -> str:
    return key.removeprefix("test/").removeprefix("cold_start/").replace("_at_", "@").replace("/", " ")


def main(words: Sequence[str] | None = None) -> None:
    """Run, add and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--experiments", nargs="+", default=[], help=f"{', '.join(TYPED)}, ...")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--add", nargs="+", type=Path, default=[], help="folders of runs")
    parser.add_argument("--as", dest="row", help="the row that they are of")
    parser.add_argument("--folder", type=Path, default=OUTPUTS / "leaderboard")
    parser.add_argument("--lines", type=Path, default=LINES, help="where the lines are")
    parser.add_argument("--again", action="store_true", help="run what has been run")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args(words)
    for folder in asked.add:
        keep(line_of(folder, asked.row), asked.lines)
    for experiment in [] if asked.table else asked.experiments:
        recipe = recipe_of(checked("train", typed_for(experiment)))
        for seed in asked.seeds:
            known = {(line["experiment"], line["recipe"], line["seed"]) for line in read(asked.lines)}
            if asked.again or (experiment, recipe, seed) not in known:
                keep(line_of(run(experiment, seed, asked.folder), experiment), asked.lines)
    rows = [
        each for each in read(asked.lines) if not asked.experiments or each["experiment"] in asked.experiments
    ]
    print(table_of(rows))


if __name__ == "__main__":
    main()
