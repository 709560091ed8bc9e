import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.vocabulary import Vocabulary
from twotower.index.index import SearchResult
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.serving import top_items as module
from twotower.serving.live_items import LiveItems
from twotower.serving.top_items import Choice, num_fetched, top_items

NUM_ITEMS, DIM = 80, 4
ROWS = np.arange(1, NUM_ITEMS + 1)


def catalogue(seed):
    # Whole numbers, so that scores are exact and ties are common.
    vectors = np.random.default_rng(seed).integers(-3, 4, (NUM_ITEMS, DIM)).astype(np.float32)
    return LiveItems(Vocabulary(ROWS), pd.Series(ROWS.astype(str)), vectors), vectors


def rows(draw_from, values):
    return np.array(sorted(values & set(draw_from)), dtype=np.int64)


@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, 100),
    excluded=st.sets(st.integers(1, NUM_ITEMS)),
    allowed=st.none() | st.sets(st.integers(1, NUM_ITEMS)),
    removed=st.sets(st.integers(1, NUM_ITEMS), max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_the_best_allowed_are_found_whatever_is_left_out(seed, k, excluded, allowed, removed):
    items, vectors = catalogue(seed)
    index = FlatIP.Config().build()
    index.build(vectors, ROWS)
    for row in removed:
        items.remove(row)
        index.remove(np.array([row]))
    live = set(ROWS.tolist()) - removed
    query = np.random.default_rng(seed + 1).integers(-3, 4, DIM).astype(np.float32)
    chosen = None if allowed is None else rows(live, allowed)
    choice = Choice(k, rows(live, excluded), chosen)
    ((found, scores),) = top_items(index, items, query[None], [choice])
    candidates = (live if allowed is None else live & allowed) - excluded
    exact = {row: float(vectors[row - 1] @ query) for row in candidates}
    expected = sorted(exact.values(), reverse=True)[:k]
    assert scores.tolist() == expected
    assert [exact[row] for row in found.tolist()] == expected
    assert len(set(found.tolist())) == min(k, len(candidates))
    if chosen is not None:  # embeddings that are given are those that are scored
        given = Choice(k, rows(live, excluded), chosen, -items.embeddings(chosen))
        ((found, scores),) = top_items(index, items, -query[None], [given])
        assert scores.tolist() == expected


@pytest.mark.parametrize("num_excluded", [0, 1, 4])
def test_cells_that_run_out_are_made_good_by_a_scan(num_excluded):
    items, vectors = catalogue(3)
    index = IVFFlat.Config(nlist=20, nprobe=1).build()
    index.build(vectors, ROWS)
    query = vectors[10]
    lists_short = index.search(query[None], 15 + num_excluded).rows[0]
    assert -1 in lists_short
    ((found, scores),) = top_items(index, items, query[None], [Choice(15, ROWS[:num_excluded])])
    assert len(found) == 15
    assert scores.tolist() == sorted((vectors[num_excluded:] @ query).tolist(), reverse=True)[:15]


def test_equal_scores_are_in_the_order_of_rows():
    items, _ = catalogue(0)
    same = LiveItems(Vocabulary(ROWS), None, np.ones((NUM_ITEMS, DIM), dtype=np.float32))
    query = np.ones((1, DIM), dtype=np.float32)
    ((found, _),) = top_items(FlatIP.Config().build(), same, query, [Choice(5, ROWS[:2], ROWS)])
    assert found.tolist() == [3, 4, 5, 6, 7]
    assert items.num_live == NUM_ITEMS


def test_a_row_is_never_used_twice():
    items, vectors = catalogue(0)
    items.remove(5)
    items.add(5, vectors[0], None, {})
    items.remove(NUM_ITEMS + 1)
    items.add(5, vectors[0], "five", {})
    assert items.rows([5, 6, 999]).tolist() == [NUM_ITEMS + 2, 6, 0]
    assert items.latest(np.array([5, NUM_ITEMS + 1, 6])).tolist() == [NUM_ITEMS + 2, NUM_ITEMS + 2, 6]
    assert items.live(np.array([0, 5, NUM_ITEMS + 1, NUM_ITEMS + 2])).tolist() == [False, False, False, True]
    assert items.label_of(NUM_ITEMS + 2) == "five"
    assert items.num_live == NUM_ITEMS
    assert items.first(np.array([NUM_ITEMS + 2, NUM_ITEMS + 1, 5, 6])).tolist() == [5, 5, 5, 6]


def test_the_route_is_by_how_many_are_left(monkeypatch):
    items, _ = catalogue(0)
    monkeypatch.setattr(module, "SCAN_ROWS", 30)
    none = ROWS[:0]
    assert num_fetched(items, Choice(3, none)) == 3
    assert num_fetched(items, Choice(3, ROWS[:4])) == 7
    assert num_fetched(items, Choice(20, none)) == 0  # a quarter of all 80
    assert num_fetched(items, Choice(3, none, ROWS[:30])) == 0  # so few are looked at
    assert num_fetched(items, Choice(3, none, ROWS[:40])) == 9  # 1.5 * 3 * 80 / 40
    assert num_fetched(items, Choice(3, ROWS[:1], ROWS[:40])) == 0  # a quarter of the 40 allowed
    assert num_fetched(items, Choice(10**400, none)) == 0


@given(
    seed=st.integers(0, 1000),
    wanted=st.lists(
        st.tuples(st.integers(1, 20), st.sets(st.integers(1, NUM_ITEMS), max_size=6), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    smallest=st.sampled_from([1, 1000]),
)
def test_a_batch_is_searched_as_each_alone(seed, wanted, smallest):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(NUM_ITEMS, DIM)).astype(
        np.float32
    )  # no ties, which an index breaks as it likes
    items = LiveItems(Vocabulary(ROWS), None, vectors)
    index = IVFFlat.Config(nlist=8, nprobe=2).build()
    index.build(vectors, ROWS)
    queries = rng.normal(size=(len(wanted), DIM)).astype(np.float32)
    choices = [Choice(k, rows(ROWS, out), ROWS[10:] if some else None) for k, out, some in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SCAN_ROWS", 20)
        patch.setattr(module, "SMALLEST_SEARCH", smallest)
        found = top_items(index, items, queries, choices)
        alone = [top_items(index, items, queries[[n]], [choices[n]])[0] for n in range(len(wanted))]
    for choice, (some, scores), (same, same_scores) in zip(choices, found, alone, strict=True):
        assert scores.tolist() == same_scores.tolist()
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        assert some.tolist() == same.tolist()
        assert len(set(some.tolist())) == choice.k
        assert not set(some.tolist()) & set(choice.excluded.tolist())


class NearlyRight:
    """An index that returns rows 1, 2, 3 ... for any query."""

    is_exact = False

    def search(self, queries, k):
        return SearchResult(np.zeros((len(queries), k)), np.tile(ROWS[:k], (len(queries), 1)))


def test_a_request_gets_no_more_from_the_index_for_the_wishes_of_others():
    vectors = np.arange(NUM_ITEMS, dtype=np.float32)[:, None]  # the last row is the best
    items = LiveItems(Vocabulary(ROWS), None, vectors)
    queries = np.ones((2, 1), dtype=np.float32)
    found = top_items(NearlyRight(), items, queries, [Choice(2, ROWS[:1]), Choice(9, ROWS[:0])])
    assert [rows.tolist() for rows, _ in found] == [[3, 2], [9, 8, 7, 6, 5, 4, 3, 2, 1]]


def test_the_cosine_leaves_out_the_bias():
    vectors = np.array([[3, 4, 9], [4, 3, 0], [0, 0, 5]], dtype=np.float32)
    items = LiveItems(Vocabulary(np.arange(1, 4)), None, vectors, tower_dim=2)
    query = np.array([3, 4, 0], dtype=np.float32)
    assert items.cosines(1, query).tolist() == pytest.approx([1.0, 24 / 25, 0.0])
    items.add(9, np.array([-6, -8, 1], dtype=np.float32), None, {})
    assert items.cosines(1, query).tolist() == pytest.approx([1.0, 24 / 25, 0.0, -1.0])
    np.testing.assert_array_equal(vectors[2], [0, 0, 5])
