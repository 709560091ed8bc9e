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
    """A search.

    Attributes:
        name: of its folder.
        objective: figure that is optimized.
        is_maximized: whether higher values are better.
        importance: setting -> share of the variation of the objective, the largest first.
        num_trials: started trials.
        numbers: of the trials that ended with a value, in order.
        values: of the objective.
        jobs: folders of these trials.
    """

    name: str
    objective: str
    is_maximized: bool
    importance: Mapping[str, float]
    num_trials: int
    numbers: Sequence[int]
    values: Sequence[float]
    jobs: Sequence[Path]

    def best_so_far(self) -> list[float]:
        """Return the best value up to each trial."""
        return list(accumulate(self.values, max if self.is_maximized else min))

    def describe(self) -> str:
        """Return one line about the search."""
        best = self.best_so_far()
        is_complete = len(best) == self.num_trials
        reached = (
            f"{self.num_trials} trials" if is_complete else f"{len(best)} of {self.num_trials} trials ended"
        )
        shares = [f"{key} {share:.2f}" for key, share in self.importance.items()]
        more = f" and {len(shares) - MOST_SHOWN} more" if len(shares) > MOST_SHOWN else ""
        importance = f"importance: {', '.join(shares[:MOST_SHOWN])}{more}" if shares else TOO_FEW
        number = self.numbers[best.index(best[-1])]
        return f"search {self.name}: {reached}, the best was number {number}; {importance}"


def read_searches(runs: Iterable[Path]) -> list[SearchRecord]:
    """Return the searches whose trials are among these runs; a search that cannot be read is left out."""
    folders = dict.fromkeys(run.parent for run in runs)
    return [search for folder in folders if (search := _read_search(folder)) is not None]


def _read_search(folder: Path) -> SearchRecord | None:
    try:
        search: Any = load_json(folder / SWEEP)["search"]
        objective, way = search["metric"], search["direction"]
        trials = [(int(row["number"]), row["value"], folder / row["job"]) for row in search["trials"]]
        importance = {str(key): float(share) for key, share in search["importance"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    good = sorted(trial for trial in trials if is_number(trial[1]))
    if not good:
        return None
    return SearchRecord(
        folder.name, str(objective), way == "maximize", importance, len(trials), *zip(*good, strict=True)
    )
