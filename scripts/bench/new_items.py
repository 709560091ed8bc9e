"""How well items are found that training never saw: a fifth of them is held out, by `split=item_cold`.

  python scripts/bench/new_items.py --seeds 42 43 44     two sets and all choices of `new_items`
  python scripts/bench/new_items.py --table              the table of all that has been run

`cold`, `warm` and `all` are recall@20 of the test split by exact search over known and new items; for
`cold_alone` there are new items only, for `warm_alone` known ones. Each run adds a line to
scripts/bench/results/new_items.jsonl; those that are there are not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from record import OUTPUTS, machine

HERE = Path(__file__).parents[2]
LINES = Path(__file__).parent / "results" / "new_items.jsonl"
PARTS, METRIC = ("cold", "warm", "all", "cold_alone", "warm_alone"), "recall_at_20"
SETS = {
    "online_retail": [],
    "movielens_1m": ["data=movielens_1m", "split.unit=share", "split.test=0.1", "split.valid=0.1"],
}
CHOICES = {
    "by_tower": ["new_items=by_tower"],
    "by_content": [],
    **{f"by_content, boost {boost}": [f"new_items.boost={boost}"] for boost in (0, 0.5)},
}
FAST = [
    "split=item_cold",
    "metrics.num_bootstrap=0",
    "console=quiet",
    *(f"~baselines.{name}" for name in ("ease", "trend_ease", "item_knn", "bought_before")),
]
Line = dict[str, Any]


def run(data: str, choice: str, seed: int, root: Path) -> Line:
    """Train, or take the training of another choice; returns what is kept."""
    known, began = set(root.glob(f"{data}/*/result.json")), time.perf_counter()
    place = [f"name={data}", f"output_root={root}", f"seed={seed}"]
    typed = [*SETS[data], *FAST, *CHOICES[choice], *place]
    subprocess.run([sys.executable, str(HERE / "scripts" / "train.py"), *typed], check=True)
    (path,) = set(root.glob(f"{data}/*/result.json")) - known
    result = json.loads(path.read_text())
    found = result["cold_start"]
    return {
        "set": data,
        "choice": choice,
        "seed": seed,
        **{who: _of(found[who]) for who in ("model", "content", "random")},
        **{key: found[key] for key in ("num_cold_items", "num_users", "num_targets")},
        "epochs": result["training"]["epochs"],
        "minutes": round((time.perf_counter() - began) / 60, 2),
        "fingerprint": result["fingerprint"],
        "load_after": round(os.getloadavg()[0], 1),
        **machine(),
    }


def _of(parts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {part: round(parts[part][METRIC], 5) for part in PARTS}


def table_of(lines: Sequence[Line]) -> str:
    """Return a table in Markdown, means over the seeds."""
    heads = ["set", "new items", *(part.replace("_", " ") for part in PARTS), "seeds"]
    rows = [f"| {' | '.join(heads)} |", f"|---|---|{'---:|' * (len(PARTS) + 1)}"]
    for data in dict.fromkeys(line["set"] for line in lines):
        of_set = [line for line in lines if line["set"] == data]
        for choice in CHOICES:
            of = [line for line in of_set if line["choice"] == choice]
            rows += [] if not of else [_row(data, choice, [line["model"] for line in of])]
        rows.append(_row(data, "content neighbors", [line["content"] for line in of_set[:1]]))
    return "\n".join(rows)


def _row(data: str, choice: str, found: Sequence[Mapping[str, float]]) -> str:
    cells = [f"{mean(each[part] for each in found):.4f}" for part in PARTS]
    return "| " + " | ".join([data, choice, *cells, str(len(found))]) + " |"


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--folder", type=Path, default=OUTPUTS / "new_items")
    parser.add_argument("--lines", type=Path, default=LINES, help="where the lines are")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    lines: Path = arguments.lines
    before = [json.loads(text) for text in lines.read_text().splitlines()] if lines.is_file() else []
    known = {(line["set"], line["choice"], line["seed"]) for line in before}
    for data in [] if arguments.table else arguments.sets:
        for seed in arguments.seeds:
            for choice in CHOICES:
                if (data, choice, seed) not in known:
                    lines.parent.mkdir(parents=True, exist_ok=True)
                    line = run(data, choice, seed, arguments.folder)
                    with lines.open("a") as file:
                        file.write(json.dumps(line) + "\n")
    print(table_of([json.loads(text) for text in lines.read_text().splitlines()]))


if __name__ == "__main__":
    main()
