"""Changes of a catalogue step by step, as vectors that an index adds and removes.

Shapes: N items, M versions of items, Q queries, D embedding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Lt, MinLen
from numpy.typing import NDArray

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.spec import Fraction, PositiveFraction, Seed
from twotower.index.check import evenly_spaced

Floats = NDArray[np.float32]
Operation = Literal["insert", "delete", "replace", "search"]


@dataclass(frozen=True)
class CatalogueState:
    """The catalogue after some steps: rows from `first` to below `end` are live.

    Attributes:
        changed: share of the items at the start that changed; a deleted and an inserted item count once.
        queries: [Q, D]; None: not searched.
        numbers: their positions among the queries of the runbook, [Q].
    """

    first: int
    end: int
    changed: float
    queries: Floats | None
    numbers: NDArray[np.int64]


class Runbook(Component):
    """Items in a random order, of which the oldest go first.

    New vectors drift: those of step t are turned by t times `turn` degrees (each vector by the same angle, in
    D/2 planes that the seed draws), and then moved by the share `gather` of the way to one item that users
    like: the best one of the first query at the start. Only `gather` changes lengths. Users follow the items:
    every second query turns with them.

    Reference: Simhadri et al., "Results of the Big ANN: NeurIPS'23 competition", section 3 (streaming).
    """

    class Config(Component.Config):
        steps: Annotated[list[dict[Operation, Fraction]], MinLen(1)]
        """In order: `insert`, `delete` and `replace` of shares of the items at the start. Each step ends with
        searches of all queries, or of the share `search` (0: none)."""
        start: PositiveFraction = 1.0
        """Share of the vectors that the index is built from; inserted items are the others."""
        turn: Annotated[float, Ge(0), Le(180)] = 0.0
        """Degrees by which each step turns new vectors further."""
        gather: Annotated[float, Ge(0), Lt(1)] = 0.0
        """Share of the way by which new vectors move to one item."""
        seed: Seed = 0
        """Of the order of the items and the planes of the turn."""

        def problems(self) -> Iterator[tuple[str, str]]:
            """Report changes of more items than there are."""
            gone = sum(step.get("delete", 0.0) + step.get("replace", 0.0) for step in self.steps)
            if gone > 1 + 1e-9:
                yield "steps", f"delete and replace are {gone:.3g} of the items together; expected at most 1"
            inserted, spare = sum(step.get("insert", 0.0) for step in self.steps), 1 / self.start - 1
            if inserted > spare + 1e-9:
                remedy = f"insert less, or lower start to {1 / (1 + inserted):.3g}"
                message = (
                    f"insert is {inserted:.3g} of the items at the start, but start={self.start:g} leaves"
                )
                yield "steps", f"{message} {spare:.3g}: {remedy}"

        def build(self) -> "Runbook":
            """Build the runbook; raises InputError with the first of `problems`."""
            for key, message in self.problems():
                raise InputError(f"runbook.{key}: {message}")
            return self.make(Runbook)

    config: Config

    def run(self, items: Floats, queries: Floats) -> tuple[Floats, list[CatalogueState]]:
        """Return the vectors of all versions [M, D], by row, and the state at the start and after each step.

        Args:
            items: [N, D].
            queries: [Q, D].
        """
        random = np.random.default_rng(self.config.seed)
        items = items[random.permutation(len(items))]
        planes = random.permutation(items.shape[1])
        num_start = max(1, round(self.config.start * len(items)))
        start, spare = items[:num_start], items[num_start:]
        liked = start[np.argmax(start @ queries[0])]
        versions, states = [start], [CatalogueState(0, num_start, 0.0, queries, np.arange(len(queries)))]
        first = inserted = 0
        gone, new, changed = 0.0, 0.0, 0.0
        for number, step in enumerate(self.config.steps, 1):
            angle = number * self.config.turn
            insert, delete, replace = (step.get(name, 0.0) for name in ("insert", "delete", "replace"))
            gone, new = gone + delete + replace, new + insert
            changed += max(delete, insert) + replace
            replaced = round(replace * num_start)
            last, until = round(gone * num_start), min(round(new * num_start), len(spare))
            fresh = np.concatenate([start[max(first, last - replaced) : last], spare[inserted:until]])
            fresh = turned(fresh, angle, planes)
            fresh += self.config.gather * (turned(liked[None], angle, planes) - fresh)
            versions.append(fresh)
            first, inserted = last, until
            asked = queries.copy()
            asked[1::2] = turned(asked[1::2], angle, planes)
            end = states[-1].end + len(fresh)
            if first == end:
                raise InputError(f"runbook.steps: no item is left after step {number}; delete less")
            num_pairs = -(-len(asked) // 2)
            pairs = evenly_spaced(num_pairs, math.ceil(step.get("search", 1.0) * num_pairs))
            numbers = (2 * pairs[:, None] + np.arange(2)).ravel()
            numbers = numbers[numbers < len(asked)]
            searched = asked[numbers] if len(numbers) else None
            states.append(CatalogueState(first, end, changed, searched, numbers))
        return np.concatenate(versions), states


def turned(vectors: Floats, degrees: float, planes: NDArray[np.int64]) -> Floats:
    """Return vectors [n, D] turned in the plane of each two axes of a list; an odd one stays."""
    half = len(planes) // 2
    one, other = planes[0 : 2 * half : 2], planes[1 : 2 * half : 2]
    cos, sin = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    result = vectors.copy()
    result[:, one] = cos * vectors[:, one] - sin * vectors[:, other]
    result[:, other] = sin * vectors[:, one] + cos * vectors[:, other]
    return result
