"""Runbooks: which items are live after each step, how new vectors drift, and what is measured."""

import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index.auto import Auto
from twotower.index.churn import exact_states, measure_churn
from twotower.index.flat_ip import FlatIP
from twotower.index.ivf_flat import IVFFlat
from twotower.index.runbook import Runbook, turned

QUERIES = np.random.default_rng(1).standard_normal((30, 8), dtype=np.float32)


def vectors(number: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((number, 8), dtype=np.float32)


def runbook(*steps: dict[str, float], **settings: float) -> Runbook:
    return Runbook.Config.model_validate({"steps": [*steps], **settings}).build()


def test_a_turn_keeps_lengths_and_turns_each_vector_by_the_angle() -> None:
    np.testing.assert_allclose(turned(np.float32([[1, 0]]), 90, np.array([0, 1])), [[0, 1]], atol=1e-6)
    np.testing.assert_allclose(
        turned(np.float32([[1, 0, 5]]), 90, np.array([1, 0, 2])), [[0, -1, 5]], atol=1e-6
    )
    before = vectors(20)
    after = turned(before, 30, np.random.default_rng(2).permutation(8))
    lengths = np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), lengths, rtol=1e-5)
    np.testing.assert_allclose((before * after).sum(axis=1), np.cos(np.pi / 6) * lengths**2, rtol=1e-5)


def test_the_oldest_items_go_and_new_rows_follow() -> None:
    steps = {"insert": 0.1, "delete": 0.05}, {"replace": 0.25, "search": 0.0}, {"insert": 0.05}
    versions, states = runbook(*steps, start=0.8).run(vectors(100), QUERIES)
    live = [(state.first, state.end) for state in states]
    assert live == [(0, 80), (4, 88), (24, 108), (24, 112)]  # shares of the 80 at the start
    assert [state.changed for state in states] == pytest.approx([0, 0.1, 0.35, 0.4])
    assert [state.queries is None for state in states] == [False, False, True, False]
    np.testing.assert_array_equal(versions[88:108], versions[4:24])  # no drift: the same vectors
    inserted = np.concatenate([versions[:80], versions[80:88], versions[108:]])
    assert len(np.unique(inserted, axis=0)) == 92
    assert (inserted[:, None] == vectors(100)).all(axis=2).any(axis=1).all()


def test_new_vectors_turn_further_with_each_step_and_gather_around_one_item() -> None:
    steps = [{"replace": 0.5}, {"replace": 0.5}]
    versions, states = runbook(*steps, turn=20.0).run(vectors(10), QUERIES)
    for old, new, degrees in ((versions[:5], versions[10:15], 20), (versions[5:10], versions[15:], 40)):
        cosines = (old * new).sum(axis=1) / (old**2).sum(axis=1)
        np.testing.assert_allclose(np.degrees(np.arccos(cosines)), degrees, rtol=1e-4)
    assert states[2].queries is not None
    np.testing.assert_array_equal(states[2].queries[::2], QUERIES[::2])
    asked = states[2].queries[1::2]
    cosines = (asked * QUERIES[1::2]).sum(axis=1) / (asked**2).sum(axis=1)
    np.testing.assert_allclose(np.degrees(np.arccos(cosines)), 40, rtol=1e-4)
    gathered, _ = runbook(*steps, gather=0.5).run(vectors(10), QUERIES)
    liked = vectors(10)[np.argmax(vectors(10) @ QUERIES[0])]
    np.testing.assert_allclose(gathered[10:], (gathered[:10] + liked) / 2, rtol=1e-5, atol=1e-6)


def test_recall_is_that_of_the_live_items_and_both_kinds_of_cells_are_measured() -> None:
    steps = [{"replace": 0.4, "search": 0.0}, {"insert": 0.1, "delete": 0.1}]
    versions, states = runbook(*steps, start=0.9, gather=0.9).run(vectors(1500), QUERIES)
    exact_results = exact_states(versions, states)
    flat, cells = (
        measure_churn("case", config, versions, states, exact_results, 0.99)
        for config in (FlatIP.Config(), IVFFlat.Config(nlist=8, nprobe=8))
    )
    (exact,) = flat
    assert [point.recall for point in exact.points] == [{10: 1.0, 100: 1.0}] * 2
    assert exact.points[-1].num_cells is None
    balanced, as_built = cells
    assert (balanced.is_maintained, as_built.is_maintained) == (True, False)
    for row in cells:
        assert [point.changed for point in row.points] == pytest.approx([0, 0.5])
        assert row.points[0].num_cells == 8
    assert [point.recall[100] for point in (*balanced.points, *as_built.points)] == [1.0] * 4
    assert as_built.points[-1].num_cells == 8
    assert balanced.points[-1].num_cells != 8
    before, after = as_built.points[-1].imbalance, balanced.points[-1].imbalance
    assert before is not None
    assert after is not None
    assert after < 0.9 * before


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 7, 42])
def test_measured_queries_neither_fit_nor_tune(number: int) -> None:
    queries = vectors(number)
    versions, states = runbook({"replace": 0.2, "search": 0.5}, turn=0.0).run(vectors(300), queries)
    start, later = exact_states(versions, states)
    assert start is not None
    assert later is not None
    used = {query.tobytes() for query in (*start.fitted, *start.tuning.queries, *later.tuning.queries)}
    measured = {query.tobytes() for each in (start, later) for query in each.test[100].queries}
    assert used
    assert measured
    if number > 6:
        assert not used & measured
        assert not {query.tobytes() for query in start.fitted} & {
            query.tobytes() for query in start.tuning.queries
        }


def test_an_index_chosen_by_measurement_is_one_of_its_candidates() -> None:
    versions, states = runbook({"replace": 0.2}).run(vectors(300), QUERIES)
    config = Auto.Config(max_bytes_per_item=1e6, candidates=["flat_ip"])
    rows = measure_churn("case", config, versions, states, exact_states(versions, states), 0.9)
    assert [row.points[0].num_cells for row in rows] == [None]


@pytest.mark.parametrize(
    ("steps", "settings", "message"),
    [
        ([{"delete": 0.6}, {"replace": 0.5}], {}, "runbook.steps: delete and replace are 1.1 of the items"),
        (
            [{"insert": 0.5}],
            {"start": 0.8},
            "runbook.steps: insert is 0.5 .* leaves 0.25: .* lower start to 0.667",
        ),
        ([{"delete": 1.0}], {}, "runbook.steps: no item is left after step 1; delete less"),
    ],
)
def test_changes_of_more_items_than_there_are_are_refused(
    steps: list[dict[str, float]], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        runbook(*steps, **settings).run(vectors(50), QUERIES)
