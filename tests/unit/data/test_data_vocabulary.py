import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.vocabulary import Vocabulary

whole = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.lists(whole) | st.lists(text))
def test_ids_survive_the_way_to_rows_and_back(ids):
    vocabulary = Vocabulary.fit(ids)
    rows = vocabulary.rows(ids)
    assert vocabulary.ids(rows).tolist() == ids
    assert sorted(set(rows.tolist())) == list(range(1, len(set(ids)) + 1))
    assert Vocabulary(vocabulary.values).rows(ids).tolist() == rows.tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(whole, unique=True), st.lists(whole))
def test_unknown_ids_get_row_0(known, asked):
    rows = Vocabulary.fit(known).rows(asked)
    assert [row > 0 for row in rows] == [one in known for one in asked]


anything = st.text(max_size=14) | st.integers() | st.sampled_from(["a\0", "\ud800", True, None, 5.0, b"5"])


@settings(max_examples=40, deadline=None)
@given(st.lists(whole, unique=True) | st.lists(text, unique=True), st.lists(anything))
def test_row_and_rows_agree(known, asked):
    vocabulary = Vocabulary.fit(known)
    asked = [*asked, *known]
    assert [vocabulary.row(one) for one in asked] == vocabulary.rows(asked).tolist()


@pytest.mark.parametrize("odd", ["5", 5.0, True, None, [5], float("nan"), 2**70, b"5"])
def test_ids_of_the_wrong_type_are_unknown(odd):
    assert Vocabulary.fit([1, 5]).rows([odd, 5]).tolist() == [0, 2]
    assert Vocabulary.fit(["1", "x"]).rows([odd if odd != "5" else 5, "x"]).tolist() == [0, 2]


def test_arrays_of_any_kind():
    assert Vocabulary.fit(["1", "x"]).rows(np.array(["x", "y"])).tolist() == [2, 0]
    assert Vocabulary.fit([1, 5]).rows(np.array([5, 4], dtype=np.uint8)).tolist() == [2, 0]
    assert Vocabulary.fit([1, 5]).rows(np.array([5.0])).tolist() == [0]
    assert Vocabulary.fit([]).rows(["x", 1]).tolist() == [0, 0]


@pytest.mark.parametrize("row", [0, -1, 3])
def test_a_row_without_an_id_is_an_error(row):
    with pytest.raises(IndexError, match=r"1\.\.2"):
        Vocabulary.fit([1, 5]).ids([row])
