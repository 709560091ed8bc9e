"""What every benchmark of speed does alike: time two sides in turn, and keep the figures.

Machines are shared and noisy: only the ratio of two sides that were timed in one run, in turn, means
something, so `pairs` gives that, and the load is written beside it.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twotower.files.atomic import write_text_atomically

if TYPE_CHECKING:  # the benchmarks of memory and start-up do not load it
    import pandas as pd

OUTPUTS = Path(__file__).parents[2] / "outputs" / "bench"


@dataclass(frozen=True)
class Pairs:
    """Medians of two sides timed in turn.

    Attributes:
        ours: seconds of a call.
        theirs: the same of the other side.
        ratio: the median over the pairs of theirs / ours: above 1 where ours is faster.
        lowest: the smallest ratio of a pair.
        highest: the largest.
        load: of the machine, over the last minute, at the end.
    """

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float
    load: float

    def told(self) -> str:
        """Return the figures as a line's end."""
        return (
            f"{self.ours * 1e3:9.2f} ms  {self.theirs * 1e3:9.2f} ms  {self.ratio:5.2f} x "
            f"[{self.lowest:.2f}, {self.highest:.2f}]  load {self.load:.1f}"
        )


def pairs(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    count: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Pairs:
    """Time two sides in turn, who begins alternating.

    Args:
        ours: one side.
        theirs: the other.
        count: pairs.
        warm_up: pairs before, not counted.
        clock: in seconds.
    """
    took: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    for number in range(warm_up + count):
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            began = clock()
            side()
            took[side].append(clock() - began)
    kept = {side: seconds[warm_up:] for side, seconds in took.items()}
    ratios = [other / own for own, other in zip(kept[ours], kept[theirs], strict=True)]
    return Pairs(
        statistics.median(kept[ours]),
        statistics.median(kept[theirs]),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        os.getloadavg()[0],
    )


def markdown(table: "pd.DataFrame") -> str:
    """Return a table of texts in Markdown."""
    rows: list[list[Any]] = [list(table), ["---"] * len(table.columns), *table.values.tolist()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def machine() -> dict[str, Any]:
    """Return what figures were measured on, and when."""
    command = ["git", "-C", str(OUTPUTS.parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg(),
        "commit": commit,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write(name: str, figures: Mapping[str, Any]) -> Path:
    """Write a benchmark's figures to `outputs/bench/<name>.json`, with what they were measured on."""
    plain = {key: asdict(each) if isinstance(each, Pairs) else each for key, each in figures.items()}
    path = OUTPUTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps({"machine": machine(), "figures": plain}, indent=2) + "\n")
    return path
