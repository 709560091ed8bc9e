"""Notes on how many configurations looked at the test splits of runs."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from twotower.reports.compare.run_frame import MEASURED, records
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.test_ledger import count_looks, find_ledger, read_looks


def look_notes(runs: pd.DataFrame) -> Iterator[str]:
    """Yield a note for each test split at which several configurations looked, by the ledger above it."""
    ended = records(runs[runs["state"].isin(MEASURED)])
    splits = dict.fromkeys(
        (find_ledger(Path(run["folder"])), run["result"].data.fingerprint) for run in ended
    )
    for path, data in splits:
        looks = [] if path is None else [each for each in read_looks(path) if each.data == data]
        if not looks:
            continue
        last = looks[-1]
        found = count_looks(looks, last.data, last.metric)
        higher = higher_is_better(last.metric, (run["result"].higher_is_better for run in ended))
        if found.configurations > 1:
            yield (
                f"test split {last.data[:8]} ({last.source}, {last.split}): {found.configurations} "
                f"configurations looked at it ({found.looks} looks){found.text(higher)}"
            )
