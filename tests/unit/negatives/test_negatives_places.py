"""Places of rows among distinct ones, against a list's own."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.negatives.candidates import Places

NUM_ITEMS = 12
ROW = st.integers(0, NUM_ITEMS)
PLACES = Places(NUM_ITEMS)
"""One for all examples: nothing may be left in it."""


@given(rows=st.lists(ROW, unique=True), wanted=st.lists(ROW, max_size=20))
def test_each_row_is_found_where_it_is(rows: list[int], wanted: list[int]) -> None:
    given, asked = torch.tensor(rows, dtype=torch.int64), torch.tensor(wanted, dtype=torch.int32)
    found, first = PLACES.among(given, asked, given[:1])
    assert found.tolist() == [rows.index(row) if row in rows else -1 for row in wanted]
    assert first.tolist() == [0][: len(rows)]
