"""Notes below the table of a comparison: what its verdicts leave out, windows, and runs with problems."""

import shlex
from collections.abc import Iterable, Iterator

import pandas as pd

from twotower.experiments.compare.figure_names import heading, per_user_column
from twotower.experiments.compare.run_frame import UNENDED, UNREADABLE, records
from twotower.experiments.compare.verdicts import (
    BASELINE,
    NO_DIFFERENCE,
    NOT_COMPARABLE,
    NOT_TESTED,
    ONE_SEED,
)
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.windows import agreement

TEST_HIDDEN = (
    "test hidden, so validation ranks it; twotower evaluate run=RUN_FOLDER test=reveal looks at the test"
    " split once"
)
ONE_SEED_NOTE = (
    "(one seed): the test is over users, so the verdict holds for these two trainings; another seed may"
    " reverse a small difference. seeds=3 trains three seeds, and by=configuration tests them"
)
NO_DIRECTION = (
    "has no better direction in these runs (higher_is_better of result.json, from the metric's class): rows"
    " are sorted from the highest on, and none is called better"
)


def verdict_notes(
    rows: pd.DataFrame,
    metric: str,
    higher: bool | None,
    num_repeated: int,
    tests: bool,
    by_configuration: bool,
) -> Iterator[str]:
    """Yield what the verdicts leave out; `num_repeated` configurations have several seeds."""
    if tests and per_user_column(metric) is None:
        yield f"{metric} is no mean over users of the test split, so differences in it are not tested"
    if higher is None:
        yield f"{metric} {NO_DIRECTION}"
    if any(str(verdict).endswith(ONE_SEED) for verdict in rows["verdict"]):
        yield ONE_SEED_NOTE
    is_single = (rows["kind"] != "baseline") & (rows["folders"].map(len) == 1)
    if num_ties := int((is_single & (rows["verdict"] == NO_DIFFERENCE)).sum()):
        for base in rows["result"][is_single & (rows["verdict"] == BASELINE)]:
            typed = [text for text in base.overrides if override_key(text) != "seed"]
            command = shlex.join(["twotower", "train", *typed, "seeds=3"])
            yield f"{num_ties} rows tie with the baseline: train each with three seeds, as {command}"
    if num_repeated and not by_configuration:
        several = "1 configuration has" if num_repeated == 1 else f"{num_repeated} configurations have"
        yield f"{several} several seeds; by=configuration tests all of them, and the variation over seeds too"


def window_notes(runs: pd.DataFrame, metric: str) -> Iterator[str]:
    """Yield how well the windows of split=rolling agree on the ranking of the runs that share them."""
    name = metric.rpartition("/")[2]
    shared: dict[tuple[str, ...], list[list[dict[str, float]]]] = {}
    for result in runs["result"]:
        if result.windows_summary:
            begins = tuple(each["test_from"] for each in result.windows)
            shared.setdefault(begins, []).append([each["metrics"] for each in result.windows])
    if len(shared) > 1 and metric.startswith(("mean_", "sd_")):
        yield f"{metric} is not comparable between runs with other windows (split=rolling)"
    for begins, table in shared.items():
        for split in ("valid", "test"):
            key = f"{split}/{name}"
            tau = agreement(pd.DataFrame([[each.get(key) for each in run] for run in table], dtype=float).T)
            if tau is not None:
                yield (
                    f"Kendall's tau of {len(table)} runs by {heading(key)} between {len(begins)} windows: "
                    f"{tau:.2f} (1: the same ranking, 0: no agreement)"
                )


def problem_notes(rows: pd.DataFrame) -> list[str]:
    """Return why rows have no figures or are not tested, each reason once."""
    against = {NOT_COMPARABLE: f"{NOT_COMPARABLE} with", NOT_TESTED: f"{NOT_TESTED} against"}
    problems = []
    for row in records(rows):
        name = row["name"] if row["kind"] == "baseline" else row["folder"]
        if row["state"] in (UNREADABLE, UNENDED):
            problems.append((f"{row['reason'] or row['verdict']}; shown without figures", name))
        elif row["verdict"] in against:
            problems.append((f"{against[row['verdict']]} the baseline: {row['reason']}", name))
        if row["kind"] != "baseline" and row["result"].is_test_hidden:
            problems.append((TEST_HIDDEN, name))
    return each_once(problems)


def each_once(named: Iterable[tuple[str, str]]) -> list[str]:
    """Return each text once, after the first of its names and how many more there are."""
    names: dict[str, list[str]] = {}
    for text, name in named:
        names.setdefault(text, []).append(name)
    return [
        f"{each[0]}{f' and {len(each) - 1} more' if len(each) > 1 else ''}: {text}"
        for text, each in names.items()
    ]
