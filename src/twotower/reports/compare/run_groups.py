"""Runs that belong together: of one configuration, on the same data, with the same baselines."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from twotower.reports.compare.figure_names import exact_key
from twotower.reports.compare.run_frame import (
    IDENTITY,
    MEASURED,
    SETTING,
    is_figure,
    make_frame,
    records,
    setting_text,
)
from twotower.runs.folder_name import without_seed
from twotower.runs.result import Result, is_number

UNKNOWN = str(None)
GROUP = ["data", "seen_filter", "configuration"]
"""Columns that are equal for the seeds of one configuration."""


def data_difference(run: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how the data of two rows differ; empty if their figures are comparable."""
    if UNKNOWN in (run["data"], other["data"]):
        return "a result does not record its data"
    if run["data"] != other["data"]:
        texts = {
            column.removeprefix(SETTING): (setting_text(run[column]), setting_text(other[column]))
            for column in sorted(run, key=lambda column: None in (run[column], other[column]))
            if column.startswith((f"{SETTING}split", f"{SETTING}data"))
        }
        for part in ("split", "data"):
            for key, (left, right) in texts.items():
                if key.split(".")[0] == part and left != right:
                    return f"other {part}: {key} {left} against {right}"
        return "other data: its content has changed"
    if run["seen_filter"] != other["seen_filter"]:
        seen = f"seen_filter {run['seen_filter']} against {other['seen_filter']}"
        return f"seen items are filtered in one and not in the other ({seen})"
    return ""


def largest_group(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with figures on the data that most of them were evaluated on; of equals, the first."""
    ended = runs[runs["state"].isin(MEASURED) & (runs["data"] != UNKNOWN)]
    if ended.empty:
        return ended
    keys = list(zip(ended["data"], ended["seen_filter"], strict=True))
    most = Counter(keys).most_common(1)[0][0]
    return ended[[key == most for key in keys]]


def configuration_rows(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per configuration with the means of its runs that ended, and notes on the other runs.

    A configuration without a run that ended is a row of its first run. Of two runs with the same seed the
    later one counts. Runs on different data are different configurations; a run that has not ended does not
    record its data and joins the first configuration with its settings.
    """
    all_runs = records(runs)
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in all_runs:
        if run["state"] in MEASURED:
            groups.setdefault((run["configuration"], run["data"], run["seen_filter"]), []).append(run)
    for run in all_runs:
        if run["state"] not in MEASURED:
            fitting = [key for key in groups if key[0] == run["configuration"] and run["configuration"]]
            groups.setdefault(fitting[0] if fitting else (run["folder"],), []).append(run)
    rows, notes = [], []
    for group in groups.values():
        members = list({run["seed"]: run for run in group if run["state"] in MEASURED}.values())
        row = (members or group)[0] | {"kind": "configuration"}
        if len(members) > 1:
            name = without_seed(row["name"]) or row["name"]
            seeds = tuple(run["seed"] for run in members if run["seed"] is not None)
            row |= {"name": f"{name} ({len(members)} seeds)", "seeds": seeds}
            row |= {"folders": tuple(run["folder"] for run in members)}
            # A figure that one of them lacks has no mean.
            row |= {key: sum(run[key] for run in members) / len(members) for key in row if is_figure(key)}
        rows.append(row)
        if members:
            missing = [run for run in group if run["state"] not in MEASURED]
            notes += [f"{run['name']}: {run['problem']}; not in the mean of {row['name']}" for run in missing]
            if repeats := len(group) - len(missing) - len(members):
                notes.append(
                    f"{row['name']}: {repeats} more runs repeat a seed; the latest of each seed counts"
                )
    return make_frame(rows), notes


def baseline_rows(runs: pd.DataFrame, results: Mapping[str, Result]) -> pd.DataFrame:
    """Return a row for each built-in baseline that these runs, all on the same data, recorded.

    All runs on the same data have the same baselines, so the row takes the first run's figures.
    """
    rows: dict[str, dict[str, Any]] = {}
    for run in records(runs[runs["state"].isin(MEASURED)]):
        for name, recorded in results[run["folder"]].baselines.items():
            figures = {key: float(value) for key, value in recorded.items() if is_number(value)}
            # A baseline has no index, so its figures are those of exact search.
            figures |= {exact_key(key): value for key, value in figures.items()}
            row = {column: run[column] for column in IDENTITY} | {"name": name, "kind": "baseline"}
            row |= {"state": "ok", "problem": "", "seed": None, "seeds": (), "note": ""}
            rows.setdefault(name, row | figures)
    return make_frame(list(rows.values()))


def seed_spread(runs: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return mean, std and count of a figure over the seeds of each configuration with at least two.

    The index has the columns of `GROUP`.
    """
    runs = runs if figure in runs else runs.assign(**{figure: math.nan})
    last = runs.dropna(subset=[figure]).drop_duplicates([*GROUP, "seed"], keep="last")
    spread = last.groupby(GROUP, sort=False)[figure].agg(["mean", "std", "count"])
    return spread[spread["count"] > 1]


def seed_noise(spread: pd.DataFrame) -> dict[tuple[str, str], tuple[float, int]]:
    """Pool the spreads of all configurations on the same data.

    Equal spreads of equal means belong to one training that was indexed several times and count once.

    Returns:
        (data, seen_filter) -> standard deviation of one run over seeds, and how many seeds it is from.
    """
    noise = {}
    for key, group in spread.groupby(level=["data", "seen_filter"], sort=False):
        distinct = group.drop_duplicates()
        freedom = distinct["count"] - 1
        sd = math.sqrt(float((distinct["std"] ** 2 * freedom).sum() / freedom.sum()))
        noise[str(key[0]), str(key[1])] = sd, int(distinct["count"].sum())
    return noise
