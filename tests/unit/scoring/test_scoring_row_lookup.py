"""Positions of rows among distinct ones, against a list's own."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.scoring.scorer import RowLookup

NUM_ITEMS = 12
ROW = st.integers(0, NUM_ITEMS)
LOOKUP = RowLookup(NUM_ITEMS)
"""One for all examples: it must forget the rows of a call."""


@given(rows=st.lists(ROW, unique=True), wanted=st.lists(ROW, max_size=20))
def test_each_row_has_its_position(rows: list[int], wanted: list[int]) -> None:
    found = LOOKUP.positions(torch.tensor(rows, dtype=torch.int64), torch.tensor(wanted, dtype=torch.int32))
    assert found.tolist() == [rows.index(row) if row in rows else -1 for row in wanted]
