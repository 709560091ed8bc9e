"""Lines to read with the table of a comparison."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from twotower.reports.compare.figure_names import format_figure, heading, per_user_column, validation_key
from twotower.reports.compare.run_frame import UNENDED, UNREADABLE, records
from twotower.reports.compare.verdicts import BETTER, NOT_COMPARABLE, NOT_TESTED, WORSE, seed_reach

if TYPE_CHECKING:
    from twotower.reports.compare.comparison import Comparison

BASELINE = "the baseline"
ONE_SEED = (
    "every configuration has one seed here, so better and worse hold for these runs; another seed may reverse"
    " a small difference (twotower train seeds=5 measures by how much)"
)
NO_DIRECTION = (
    "has no better direction in these runs (higher_is_better of result.json, from the metric's class): rows"
    " are sorted from the highest on, and none is called better"
)


def summary(comparison: "Comparison", with_user_notes: bool = True) -> list[str]:
    """Return the lines to read with the table: baseline, tests, seeds and notes."""
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
    named = [(note, name) for note, name in zip(rows["note"], rows["name"], strict=True) if note]
    return _once(named)


def _once(named: Sequence[tuple[str, str]]) -> list[str]:
    """Return each text once, after the first of its names and how many more there are."""
    names: dict[str, list[str]] = {}
    for text, name in named:
        names.setdefault(text, []).append(name)
    return [
        f"{each[0]}{f' and {len(each) - 1} more' if len(each) > 1 else ''}: {text}"
        for text, each in names.items()
    ]


def verdict_notes(
    metric: str,
    higher: bool | None,
    num_repeated: int,
    rows: pd.DataFrame,
    tests: bool,
    by_configuration: bool,
) -> Iterator[str]:
    """Yield what the verdicts leave out; `num_repeated` configurations have several seeds."""
    if tests and per_user_column(metric) is None:
        yield f"{metric} is no mean over users of the test split, so differences in it are not tested"
    if higher is None:
        yield f"{metric} {NO_DIRECTION}"
    if num_repeated and not by_configuration:
        several = "1 configuration has" if num_repeated == 1 else f"{num_repeated} configurations have"
        yield f"{several} several seeds; by=configuration tests all of them, and the variation over seeds too"
    elif not num_repeated and rows["verdict"].isin([BETTER, WORSE]).any():
        yield ONE_SEED


def problem_notes(rows: pd.DataFrame) -> list[str]:
    """Return why rows have no figures or are not tested, each reason once."""
    problems = []
    for row in records(rows):
        problem = ""
        if row["state"] in (UNREADABLE, UNENDED):
            problem = f"{row['reason'] or row['verdict']}; shown without figures"
        elif row["verdict"] == NOT_COMPARABLE:
            problem = f"not comparable with the baseline: {row['reason']}"
        elif row["verdict"] == NOT_TESTED:
            problem = f"not tested against the baseline: {row['reason']}"
        if problem:
            problems.append((problem, row["name"] if row["kind"] == "baseline" else row["folder"]))
    return _once(problems)
