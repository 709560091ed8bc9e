"""Searches whose trials are compared: importance of the settings, and the value of each trial."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from twotower.files.plain_values import load_json
from twotower.runs.result import is_number

SWEEP = "sweep.json"
MOST_SHOWN = 4
TOO_FEW = "too few trials ended to estimate the importance of settings"


@dataclass(frozen=True)
class SearchRecord:
    """A search with one objective.

    Attributes:
        name: of its folder.
        objective: figure that is optimized.
        higher: whether it is maximized.
        importance: setting -> share of the variation of the objective, the largest first.
        num_trials: started trials.
        numbers: of the trials that ended with a value, in order.
        values: of the objective.
        jobs: folders of these trials.
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

    def describe(self) -> str:
        """Return one line about the search."""
        best = self.best_so_far()
        ended = f"{len(best)} of " if len(best) < self.num_trials else ""
        reached = f"{ended}{self.num_trials} trials{' ended' if ended else ''}"
        number = self.numbers[best.index(best[-1])]
        shares = ", ".join(f"{key} {share:.2f}" for key, share in list(self.importance.items())[:MOST_SHOWN])
        more = len(self.importance) - MOST_SHOWN
        mattered = f"importance: {shares}{f' and {more} more' if more > 0 else ''}"
        return (
            f"search {self.name}: {reached}, the best was number {number}; {mattered if shares else TOO_FEW}"
        )


def read_searches(runs: Iterable[Path]) -> list[SearchRecord]:
    """Return the searches whose trials are among these runs; a search that cannot be read is left out."""
    folders = dict.fromkeys(run.parent for run in runs)
    return [search for folder in folders if (search := _read_search(folder)) is not None]


def _read_search(folder: Path) -> SearchRecord | None:
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
