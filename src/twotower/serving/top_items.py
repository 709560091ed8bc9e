"""The top k of the items that each request allows; fewer only if fewer are allowed.

Shapes: Q requests, D embedding, n candidates, K results.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.bundle.embed import Floats, Rows
from twotower.index.ground_truth import SCAN_SHARE, contains, similar_sizes
from twotower.index.index import Index
from twotower.serving.live_items import LiveItems

SCAN_ROWS = 20_000
"""Up to this many allowed items are scored directly."""

SPARE = 1.5
"""Factor on the number of fetched items, because allowed items are not evenly distributed."""

SMALLEST_SEARCH = 32
"""Smallest k of a search: fewer results are not faster."""

FIRST_SEARCH = 2
"""Factor on k of the first search of an exact index: the best items are rarely all excluded."""

TopItems = tuple[Rows, Floats]


@dataclass(frozen=True, eq=False)
class Choice:
    """Number of results, excluded rows and allowed rows (None allows all) of a request.

    Rows are distinct, ascending and offered. Embeddings of few allowed rows, [n, D], save reading them again.
    """

    k: int
    excluded: Rows
    allowed: Rows | None = None
    embeddings: Floats | None = None


def top_items(index: Index, items: LiveItems, queries: Floats, choices: Sequence[Choice]) -> list[TopItems]:
    """Find for queries, float32 [Q, D], the best rows, [K], and their scores, [K], best first.

    The index returns as many more items as are excluded or not allowed; an exact index is first asked for
    fewer. If that is too many, if the searched lists have too few items, or if some items are allowed and the
    index is exact, all candidates are scored. Scores are exact for any index; equal ones are in the order of
    rows.
    """
    wanted = np.array([num_fetched(items, choice) for choice in choices], dtype=np.int64)
    first = wanted
    if index.is_exact:
        wanted[[choice.allowed is not None for choice in choices]] = 0  # a search would score all items
        first = np.minimum(wanted, [max(SMALLEST_SEARCH, FIRST_SEARCH * choice.k) for choice in choices])
    found = _fetched(index, queries, choices, first)
    short = [each for each in np.flatnonzero(first < wanted).tolist() if not found[each].is_complete]
    if short:
        again = _fetched(index, queries[short], [choices[each] for each in short], wanted[short])
        for position, each in zip(short, again, strict=True):
            found[position] = each
    return [
        _best(items, query, choice, fetched.rows)
        for query, choice, fetched in zip(queries, choices, found, strict=True)
    ]


def num_fetched(items: LiveItems, choice: Choice) -> int:
    """Return how many items to ask the index for so that k allowed ones are likely among them; 0 = scan."""
    num_left = items.num_live
    num_wanted = min(choice.k, num_left)
    if choice.allowed is not None:
        num_left = len(choice.allowed)
        if num_left <= SCAN_ROWS:
            return 0
        num_wanted = math.ceil(SPARE * num_wanted * items.num_live / num_left)
    num_wanted += len(choice.excluded)
    return num_wanted if num_wanted < SCAN_SHARE * num_left else 0


def most_similar(items: LiveItems, row: int, query: Floats, choice: Choice) -> TopItems:
    """Return the items with the highest cosine to a row; `query` [D] is its vector with bias 0."""
    candidates = np.delete(*_candidates(items, choice))
    return _first(candidates, items.cosines(row, query)[candidates - 1], choice.k)


class _Fetched(NamedTuple):
    """The fetched rows that a request allows, and whether they include its top k of all items."""

    rows: Rows
    is_complete: bool


def _fetched(index: Index, queries: Floats, choices: Sequence[Choice], wanted: Rows) -> list[_Fetched]:
    """Search the index, each query for its number of items; 0 = no search."""
    found = [_Fetched(np.zeros(0, dtype=np.int64), False)] * len(queries)
    for positions in similar_sizes(wanted, SMALLEST_SEARCH):
        result = index.search(queries[positions], int(wanted[positions].max()))
        for position, rows, scores in zip(positions.tolist(), result.rows, result.scores, strict=True):
            number = wanted[position]
            found[position] = _filtered(choices[position], rows[:number], scores[:number])
    return found


def _filtered(choice: Choice, rows: Rows, scores: Floats) -> _Fetched:
    is_allowed = (rows > 0) & ~contains(choice.excluded, rows)
    if choice.allowed is not None:
        is_allowed &= contains(choice.allowed, rows)
    (positions,) = is_allowed.nonzero()
    # The k-th has a higher score than the last one that was fetched, so that no equal one is missing.
    is_complete = len(positions) >= choice.k and bool(scores[positions[choice.k - 1]] > scores[-1])
    return _Fetched(rows[positions], is_complete)


def _best(items: LiveItems, query: Floats, choice: Choice, found: Rows) -> TopItems:
    if len(found) >= choice.k:
        return _first(found, items.scores(found, query), choice.k)
    allowed, positions = _candidates(items, choice)
    candidates = np.delete(allowed, positions)
    if choice.embeddings is not None:
        scores = np.delete(choice.embeddings @ query, positions)
    elif len(candidates) < SCAN_SHARE * items.num_rows:
        scores = items.scores(candidates, query)
    else:
        scores = items.scores(None, query)[candidates - 1]
    return _first(candidates, scores, choice.k)


def _candidates(items: LiveItems, choice: Choice) -> tuple[Rows, Rows]:
    """Return the allowed rows, and the positions of excluded ones among them."""
    allowed = items.live_rows() if choice.allowed is None else choice.allowed
    return allowed, allowed.searchsorted(choice.excluded[contains(allowed, choice.excluded)])


def _first(rows: Rows, scores: Floats, k: int) -> TopItems:
    """Return the k highest scores and their rows; equal scores in the order of rows."""
    if k < len(rows):
        lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= lowest)
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
