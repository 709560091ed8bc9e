"""Lines to read with a comparison, and which of its settings and rows to show first."""

import pandas as pd

from twotower.reports.compare.comparison import Comparison, several, with_settings
from twotower.reports.compare.figure_names import format_figure, heading, validation_key
from twotower.reports.compare.run_frame import MEASURED, SETTING
from twotower.reports.compare.verdicts import NOT_COMPARABLE, seed_reach
from twotower.runs.fingerprint import override_key

MOST_IN_CONSOLE = 6


def main_keys(comparison: Comparison, most: int = MOST_IN_CONSOLE) -> list[str]:
    """Return the settings to show first: those that users typed, and a few others.

    Of the others, a key that an earlier key determines is left out: `index.nlist` determines `index`. Typed
    keys are always shown: each trial of a search has its own learning rate, which determines all other keys.
    """
    known = with_settings(comparison.runs)
    typed = {override_key(text) for result in comparison.results.values() for text in result.overrides}
    chosen: list[str] = []
    for key in comparison.keys:
        values = [row[f"{SETTING}{key}"] for row in known]
        is_determined = False
        for other in chosen:
            others = [row[f"{SETTING}{other}"] for row in known]
            is_determined |= len(set(zip(others, values, strict=True))) == len(set(others))
        if key in typed or (len(chosen) < most and not is_determined):
            chosen.append(key)
    return chosen


def plotted_rows(comparison: Comparison) -> pd.DataFrame:
    """Return the rows of runs that can be plotted together with the baseline."""
    rows = comparison.rows
    is_measured = rows["state"].isin(MEASURED) & (rows["kind"] != "baseline")
    return rows[is_measured & (rows["verdict"] != NOT_COMPARABLE)]


def summary(comparison: Comparison, with_user_notes: bool = True) -> list[str]:
    """Return the lines to read with the table: baseline, tests, seeds, searches and notes."""
    lines = []
    rows, metric = comparison.rows, comparison.metric
    if comparison.baseline is not None:
        lines.append(f"baseline: {rows['name'][comparison.baseline]} ({comparison.baseline_reason})")
    key = validation_key(metric)
    if key in rows and rows[key].notna().any():
        lines.append(f"rows: sorted by {heading(key)}")
    if comparison.num_tests:
        lines.append(
            f"tests: {comparison.num_tests} over {comparison.num_users:,} users; p-values are corrected for "
            "the number of tests (Holm), each interval is of its difference alone"
        )
    if comparison.noise is not None:
        sd, num_seeds = comparison.noise
        reach = format_figure(metric, seed_reach(sd))
        lines.append(
            f"seeds: sd {format_figure(metric, sd)} over {num_seeds} seeds; two single runs may differ by "
            f"{reach} because of the seed alone"
        )
    lines += [search.describe() for search in comparison.searches]
    notes = [*comparison.notes, *(_user_notes(rows) if with_user_notes else ())]
    return [*lines, *(f"note: {note}" for note in notes)]


def shared_note(rows: pd.DataFrame) -> str:
    """Return the note that all these runs share, as those of one sweep do."""
    notes = set(rows["note"][rows["kind"] != "baseline"])
    return notes.pop() if len(notes) == 1 else ""


def _user_notes(rows: pd.DataFrame) -> list[str]:
    """Return the users' notes on their runs, each text once."""
    if note := shared_note(rows):
        return [f"on all these runs: {note}"]
    names: dict[str, list[str]] = {}
    for name, note in zip(rows["name"], rows["note"], strict=True):
        if note:
            names.setdefault(note, []).append(name)
    return [f"{several(named)}: {note}" for note, named in names.items()]
