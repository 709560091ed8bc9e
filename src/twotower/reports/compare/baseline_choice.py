"""The row that all other rows are compared with."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.reports.compare.figure_names import INDEX_COLUMNS, heading, validation_key
from twotower.reports.compare.run_frame import MEASURED, records
from twotower.reports.compare.run_groups import baseline_rows, largest_group
from twotower.runs.result import Result


def choose_baseline(
    name: str | None,
    metric: str,
    higher: bool | None,
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    results: Mapping[str, Result],
) -> tuple[int | None, str, pd.DataFrame]:
    """Return the baseline's position, how it was chosen, and the built-in baselines of its data.

    Built-in baselines are counted after the rows. Without a name it is the best row on the validation split
    among those on the data of most runs. Of rows that are equal there, such as one training under several
    indexes, it is the one whose index has the highest recall. The test split never chooses: the best of many
    test results is partly luck.

    Raises:
        InputError: nothing or several rows have this name, or the run has no figures.
    """
    group = largest_group(runs)
    built_in = baseline_rows(group, results)
    if name:
        position = _find_baseline(name, rows, built_in)
        if position < len(rows):
            same = (runs["data"] == rows["data"][position]) & (
                runs["seen_filter"] == rows["seen_filter"][position]
            )
            built_in = baseline_rows(runs[same], results)
        return position, "named", built_in
    is_on_data = rows["data"].isin(group["data"]) & rows["seen_filter"].isin(group["seen_filter"])
    measured = rows[rows["state"].isin(MEASURED) & is_on_data]
    measured = measured[measured[metric].notna()] if metric in measured else measured[:0]
    if measured.empty:
        return None, "", built_in
    key = validation_key(metric)
    validated = measured[measured[key].notna()] if key in measured else measured[:0]
    if validated.empty or higher is None:
        why = (
            f"no run has {heading(key)} to choose by"
            if validated.empty
            else f"{heading(key)} has no better direction"
        )
        return int(measured.index[0]), f"the first; {why}, and baseline= names another", built_in
    sign = 1 if higher else -1
    recall = validated[INDEX_COLUMNS[0]].fillna(0) if INDEX_COLUMNS[0] in validated else validated[key] * 0
    best = max(validated.index, key=lambda at: (sign * validated[key][at], recall[at]))
    test = ", not by the test split" if key != metric else ""
    return int(best), f"the best by {heading(key)}{test}", built_in


def _find_baseline(name: str, rows: pd.DataFrame, built_in: pd.DataFrame) -> int:
    """Return the position of the row that `baseline=` names: a folder, a name, or a part of one name."""
    named = [*records(rows), *records(built_in)]
    folder = Path(name).resolve() if Path(name).is_dir() else None
    positions = range(len(named))
    trained = positions[: len(rows)]
    matches = (
        [at for at in trained if folder and folder in (Path(each).resolve() for each in named[at]["folders"])]
        or [at for at in positions[len(rows) :] if named[at]["name"] == name]
        or [at for at in trained if named[at]["name"] == name]
        or [at for at in trained if name in named[at]["name"]]
    )
    if len(matches) > 1:
        names = ", ".join(named[at]["name"] for at in matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise InputError(f"baseline={name}: {len(matches)} runs have this in their name ({names}); name one")
    if not matches:
        suggestion = nearest(name, [row["name"] for row in named])
        raise InputError(f"baseline={name}: no such run or baseline here; {suggestion}")
    row = named[matches[0]]
    if row["state"] not in MEASURED:
        raise InputError(f"baseline={name}: this run has no metrics ({row['problem']}); name another")
    return matches[0]
