"""Going on from week to week against training from scratch each week, on Online Retail by its calendar.

  python scripts/bench/weekly.py [weeks=8] [seed=42] [warm_start.epochs=4 ...]     12 minutes of two idle
  cores

The log is cut by time, with the users and items that it has by then. Towers are trained on the first nine
months; then, week by week, they go on (`warm_start=` from the run of the week before) and others are trained
from scratch, both through scripts/train.py with the same settings, and both are asked for the following week.
What is typed goes to `warm_start=`. Writes outputs/bench/weekly.json and weekly.md, after every week. Runs
from scratch are kept in outputs/bench/weekly/, and taken again by the next call.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "src" / "twotower" / "data" / "bundled" / "online_retail"
OUT = Path(os.environ.get("WEEKLY_OUT", "outputs/bench"))
BEGIN = pd.Timestamp("2011-09-01", tz="UTC")
WEEK = pd.Timedelta(days=7)
METRIC = "test/recall_at_20"
SETTINGS = ("features=online_retail", "split.test=7", "split.valid=28", "console=quiet", "index=flat_ip")


def cut(until: pd.Timestamp, folder: Path) -> list[str]:
    """Write the log up to a time, with its users and items; returns the overrides that name the files."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {"StockCode": "str", "description": "str"}
    log, users, items = (
        pd.read_csv(BUNDLED / f"{name}.csv.gz", dtype=text, keep_default_na=False)
        for name in ("interactions", "users", "items")
    )
    log = log[log.timestamp < until.timestamp()]
    users, items = users[users.CustomerID.isin(log.CustomerID)], items[items.StockCode.isin(log.StockCode)]
    for name, table in (("interactions", log), ("users", users), ("items", items)):
        table.to_csv(folder / f"{name}.csv", index=False)
    return [f"data.{name}_path={folder / name}.csv" for name in ("interactions", "users", "items")]


def run(*arguments: str) -> tuple[dict[str, Any], Path]:
    """Run scripts/train.py to its end; returns its result with the seconds that it took, and its folder."""
    name = next(text for text in arguments if text.startswith(("name=", "warm_start=")))
    key, _, value = name.partition("=")
    place = OUT / "runs" / value if key == "name" else Path(value).parent
    before = set(place.glob("*/result.json"))
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(ROOT / "scripts" / "train.py"), *arguments], check=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    (path,) = set(place.glob("*/result.json")) - before
    result = json.loads(path.read_text())
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return result | {"seconds": time.perf_counter() - began, "cpu_seconds": cpu}, path.parent


def week_of(number: int, further: Path, typed: list[str], seed: str) -> tuple[dict[str, Any], Path]:
    """Train up to a week's end in both ways, test on the next; returns figures and the run gone on to."""
    data = cut(BEGIN + (number + 1) * WEEK, OUT / "weekly" / str(number))
    going, folder = run(f"warm_start={further}", *data, *typed, f"seed={seed}")
    kept = OUT / "weekly" / f"scratch_{seed}_{number}.json"
    if not kept.is_file():
        scratch, _ = run(f"name=scratch{seed}", *of_files(data), f"seed={seed}")
        kept.write_text(json.dumps(figures_of("scratch", scratch)))
    grown = going["ancestry"]
    counts = {key: grown[key] for key in ("new_users", "new_items", "new_interactions")}
    week = {"week": str((BEGIN + (number - 1) * WEEK).date())}
    return week | counts | figures_of("warm_start", going) | json.loads(kept.read_text()), folder


def figures_of(name: str, result: dict[str, Any]) -> dict[str, float]:
    """Return what is compared of a run."""
    return {
        f"{name}/{METRIC}": result["metrics"][METRIC],
        f"{name}/seconds": round(result["seconds"], 1),
        f"{name}/cpu_seconds": round(result["cpu_seconds"], 1),
        f"{name}/train_seconds": result["timing"]["train_seconds"],
    }


def first_run(seed: str) -> Path:
    """Return the run of the first nine months, trained if it is not there."""
    kept = OUT / "weekly" / f"first_{seed}"
    if not kept.is_file():
        data = cut(BEGIN + WEEK, OUT / "weekly" / "0")
        kept.write_text(str(run(f"name=further{seed}", *of_files(data), f"seed={seed}")[1]))
    return Path(kept.read_text())


def of_files(data: list[str]) -> list[str]:
    """Return all that a training from scratch is told."""
    columns = [
        *("user_column=CustomerID", "item_column=StockCode", "item_label=description"),
        *("user_features=[country]", "item_features=[description,price]"),
    ]
    return [
        "data=table_files",
        *data,
        *(f"data.{text}" for text in columns),
        *SETTINGS,
        f"output_root={OUT / 'runs'}",
    ]


def table_of(weeks: list[dict[str, Any]]) -> str:
    """Return the figures of all weeks and their means as a table in Markdown."""
    found = pd.DataFrame(weeks)
    means = found.drop(columns="week").mean()
    found.loc[len(found)] = {"week": "mean", **means}
    keys = [
        f"{name}/{key}" for key in (METRIC, "seconds", "cpu_seconds") for name in ("warm_start", "scratch")
    ]
    lines = ["| week from | new users | new items | new interactions | " + " | ".join(keys) + " |"]
    lines.append("|---" * (4 + len(keys)) + "|")
    for row in found.to_dict("records"):
        counts = [f"{row[key]:,.0f}" for key in ("new_users", "new_items", "new_interactions")]
        figures = [f"{row[key]:.4f}" if METRIC in key else f"{row[key]:.1f}" for key in keys]
        lines.append("| " + " | ".join([str(row["week"]), *counts, *figures]) + " |")
    recall = means[f"warm_start/{METRIC}"] / means[f"scratch/{METRIC}"]
    shares = [means[f"warm_start/{key}"] / means[f"scratch/{key}"] for key in ("seconds", "cpu_seconds")]
    lines.append(
        f"\nrecall {recall:.3f} of scratch, in {shares[0]:.3f} of its seconds ({shares[1]:.3f} of its CPU's)"
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure as many weeks as are asked for."""
    typed = [text for text in sys.argv[1:] if not text.startswith(("weeks=", "seed="))]
    own = dict(text.split("=", 1) for text in sys.argv[1:] if text.startswith(("weeks=", "seed=")))
    seed, weeks = own.get("seed", "42"), []
    (OUT / "weekly").mkdir(parents=True, exist_ok=True)
    further = first_run(seed)
    for number in range(1, int(own.get("weeks", "8")) + 1):
        figures, further = week_of(number, further, typed, seed)
        weeks.append(figures)
        (OUT / "weekly.json").write_text(json.dumps(weeks, indent=2))
        (OUT / "weekly.md").write_text(table_of(weeks))
        print(table_of(weeks), flush=True)


if __name__ == "__main__":
    main()
