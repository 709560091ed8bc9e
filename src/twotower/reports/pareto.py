"""Pareto fronts of quality against latency and size of the index."""

import operator
from collections.abc import Sequence


def front(criteria: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the positions that no other one dominates, in the order of their criteria; lower is better.

    Of equal ones, the first is returned.
    """
    best: list[int] = []
    for at in sorted(range(len(criteria)), key=criteria.__getitem__):
        if not any(all(map(operator.le, criteria[other], criteria[at])) for other in best):
            best.append(at)
    return best
