"""What the searches found whose trials are compared: which keys mattered, and how good the trials were."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from twotower.files.plain_values import load_json
from twotower.reports.compare.record import RunRecord
from twotower.runs.result import is_number

SWEEP = "sweep.json"
MOST_TOLD = 4
TOO_FEW = "too few ended to say which keys mattered"


@dataclass(frozen=True)
class SearchRecord:
    """A search with one objective.

    Attributes:
        name: of its folder.
        objective: key of the figure it goes by.
        higher: whether more of that is better.
        importance: key -> its share in what makes trials good, the largest first.
        num_trials: all that were begun.
        numbers: of the trials that ended well, in their order.
        values: what they reached.
        jobs: their folders.
    """

    name: str
    objective: str
    higher: bool
    importance: Mapping[str, float]
    num_trials: int
    numbers: Sequence[int]
    values: Sequence[float]
    jobs: Sequence[Path]

    def best_so_far(self) -> list[float]:
        """Return the best value up to each trial."""
        return list(accumulate(self.values, max if self.higher else min))

    def told(self) -> str:
        """Return it in a line."""
        best = self.best_so_far()
        ended = f"{len(best)} of " if len(best) < self.num_trials else ""
        reached = f"{ended}{self.num_trials} trials{' ended' if ended else ''}"
        number = self.numbers[best.index(best[-1])]
        shares = ", ".join(f"{key} {share:.2f}" for key, share in list(self.importance.items())[:MOST_TOLD])
        more = len(self.importance) - MOST_TOLD
        mattered = f"what mattered: {shares}{f' and {more} more' if more > 0 else ''}"
        return (
            f"search {self.name}: {reached}, the best was number {number}; {mattered if shares else TOO_FEW}"
        )


def searches_of(records: Iterable[RunRecord]) -> list[SearchRecord]:
    """Return the searches that these runs are trials of; one that cannot be read is left out."""
    folders = dict.fromkeys(record.folder.parent for record in records)
    return [found for folder in folders if (found := _search(folder)) is not None]


def _search(folder: Path) -> SearchRecord | None:
    try:
        search: Any = load_json(folder / SWEEP)["search"]
        ((objective, way),) = search["objectives"].items()
        trials = [
            (row["number"], (row["values"] or {}).get(objective), folder / row["job"])
            for row in search["trials"]
        ]
        importance = {str(key): float(share) for key, share in search["importance"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    good = sorted((int(number), float(value or 0), job) for number, value, job in trials if is_number(value))
    if not good:
        return None
    higher = way == "maximize"
    return SearchRecord(
        folder.name, str(objective), higher, importance, len(trials), *zip(*good, strict=True)
    )
