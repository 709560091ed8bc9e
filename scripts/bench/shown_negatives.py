"""What shown negatives are worth: MovieLens 1M, 4 stars and more are liked, fewer were shown in vain.

  TWOTOWER_DATA_DIR=<folder with ml-1m/> python scripts/bench/shown_negatives.py          all, half an hour
  python scripts/bench/shown_negatives.py --only 1 2 --seeds 0                            a part of it

Every variant is `experiment=movielens_1m` with another loss or other negatives, two epochs, the better one by
AUC on the validation split. Leave-one-out: the last liked movie of a user is the test target, and what was
disliked since the last but one is labelled with it. Writes outputs/bench/shown_negatives.json after each run,
and goes on from there; prints means over seeds with the mean 95 % interval of one run (over users).
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "outputs" / "bench" / "shown_negatives.json"
BASE = (
    "experiment=movielens_1m",
    "data.label_threshold=4",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
    "trainer.monitor=valid/auc",
    "index=flat_ip",
    "~baselines.ease",
    "output_root=outputs/bench/shown_negatives",
    "reuse=false",
)
BCE = ("loss=bce", "loss.temperature=0.2")
VARIANTS = {
    "bce + shown": (*BCE, "negatives=impressions"),
    "bce + shown + uniform": (*BCE, "negatives=impressions_and_uniform"),
    "in_batch_softmax + shown": ("negatives=impressions_and_in_batch",),
    "in_batch_softmax, none shown": ("negatives=in_batch",),
    "softmax of shown ones alone": ("negatives=impressions",),
}
METRICS = ("auc", "gauc", "log_loss", "calibration", "recall_at_20", "ndcg_at_20")


def figures_of(overrides: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Train once; return the figures of the test split, their intervals and the seconds of the training."""
    command = [sys.executable, "scripts/train.py", *BASE, *overrides, f"seed={seed}"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    found = sorted(
        (ROOT / "outputs/bench/shown_negatives").glob("*/*/result.json"),
        key=lambda p: p.stat().st_mtime,
    )
    result = json.loads(found[-1].read_text())
    return {
        "metrics": {name: result["metrics"][f"test/{name}"] for name in METRICS},
        "intervals": {name: result["intervals"].get(f"test/{name}") for name in METRICS},
        "train_seconds": result["timing"]["train_seconds"],
        "labelled": result["evaluated"]["test"],
    }


def table(record: dict[str, dict[str, Any]]) -> str:
    """Return the mean of each figure over the seeds +- half the mean interval, a variant a line."""
    lines = [f"{'':<30}" + "".join(f"{name:>18}" for name in METRICS) + f"{'seeds':>7}{'s':>7}"]
    for name, runs in record.items():
        cells = []
        for metric in METRICS:
            mean = statistics.mean(run["metrics"][metric] for run in runs.values())
            bounds = [run["intervals"][metric] for run in runs.values()]
            half = statistics.mean((high - low) / 2 for low, high in bounds)
            cells.append(f"{mean:.4f} +- {half:.4f}".rjust(18))
        seconds = statistics.mean(run["train_seconds"] for run in runs.values())
        lines.append(f"{name:<30}{''.join(cells)}{len(runs):>7}{seconds:>7.0f}")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=int, nargs="*", default=range(len(VARIANTS)), help="variants by number"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    record: dict[str, dict[str, Any]] = json.loads(OUTPUT.read_text()) if OUTPUT.is_file() else {}
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    names = list(VARIANTS)
    for seed in options.seeds:
        for name in (names[number] for number in options.only):
            if str(seed) not in record.setdefault(name, {}):
                record[name][str(seed)] = figures_of(VARIANTS[name], seed)
                OUTPUT.write_text(json.dumps(record, indent=2))
                print(table({key: runs for key, runs in record.items() if runs}), flush=True)


if __name__ == "__main__":
    main()
