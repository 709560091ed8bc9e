"""The mask of known positives against a loop over all pairs."""

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from twotower.negatives.candidates import known_pairs

NUM_ITEMS = 12
ITEM = st.integers(1, NUM_ITEMS)


@given(
    rows=st.sets(ITEM),
    known=st.lists(st.lists(ITEM, max_size=6), max_size=6),
)
@example(rows=set(range(1, NUM_ITEMS + 1)), known=[[NUM_ITEMS, 1], [], [2]])  # the whole catalogue
def test_known_pairs_are_exactly_the_known_items_among_the_candidates(
    rows: set[int], known: list[list[int]]
) -> None:
    candidates = sorted(rows)
    known_positives = torch.tensor([p for p, items in enumerate(known) for _ in items], dtype=torch.int64)
    known_items = torch.tensor([item for items in known for item in items], dtype=torch.int64)
    positions, columns = known_pairs(
        torch.tensor(candidates, dtype=torch.int64), NUM_ITEMS, known_positives, known_items
    )
    expected = [
        (p, candidates.index(item)) for p, items in enumerate(known) for item in items if item in rows
    ]
    assert list(zip(positions.tolist(), columns.tolist(), strict=True)) == expected
    assert positions.tolist() == sorted(positions.tolist())
