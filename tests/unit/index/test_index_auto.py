"""`index=auto`: candidates measured on a sample, costs predicted for all items."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.evaluation.indexing import tuned_index
from twotower.index.auto import Auto
from twotower.index.candidates import nlists_to_try
from twotower.index.check import check
from twotower.index.choice import Candidate, IndexChoice
from twotower.index.ground_truth import GroundTruth, SearchResult
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.hnsw import HNSW
from twotower.index.label_lists import LabelLists

DIM, NUM_ITEMS = 16, 8000


def clustered(count: int, seed: int) -> np.ndarray:
    centers = np.random.default_rng(0).standard_normal((1000, DIM))
    random = np.random.default_rng(seed)
    drawn = centers[random.integers(0, 1000, count)] + 0.4 * random.standard_normal((count, DIM))
    return (drawn * random.uniform(0.5, 2, (count, 1))).astype(np.float32)


VECTORS, QUERIES = clustered(NUM_ITEMS, 1), clustered(200, 2)


def candidate(kind: str, recall: float, rate: float, size: float, nlist: int | None = None) -> Candidate:
    spec = {"nlist": nlist} if nlist else {}
    return Candidate(
        kind=kind,
        spec=spec,
        search_args={},
        recall=recall,
        queries_per_second=rate,
        latency_ms=1000 / rate,
        bytes_per_item=size,
        build_seconds=1.0,
        points=[],
    )


A, B, C = (
    candidate("a", 1.0, 100, 264),
    candidate("b", 0.96, 900, 136, 64),
    candidate("c", 0.90, 2000, 40, 64),
)


def choice_of(**limits: float) -> IndexChoice:
    return IndexChoice.of([A, B, C], 10, 0.0, 0.95, limits)


@pytest.mark.parametrize(
    ("limits", "order"),
    [
        ({}, "bac"),  # c misses the target
        ({"bytes_per_item": 300}, "bac"),
        ({"bytes_per_item": 100}, "cba"),
        ({"latency_ms": 2}, "bca"),
        ({"latency_ms": 2, "bytes_per_item": 300}, "bca"),
    ],
)
def test_the_fastest_within_the_limits_that_reaches_the_target(limits: dict[str, float], order: str) -> None:
    choice = choice_of(**limits)
    assert "".join(each.kind for each in choice.candidates) == order
    assert choice.problem == ""


def test_limits_that_nothing_meets_name_the_least() -> None:
    choice = choice_of(latency_ms=0.1, bytes_per_item=20)
    assert choice.problem == (
        "no candidate of index=auto is within its limits: index.max_latency_ms=0.1, at least 0.5 (c"
        " nlist=64); index.max_bytes_per_item=20, at least 40 (c nlist=64)"
    )


def test_small_catalogues_are_searched_exactly_without_measuring() -> None:
    unread = partial(pytest.fail, "targets of users are gathered, which nothing reads")
    config, choice, *_ = Auto.Config(target_recall=0.9).choose_for(VECTORS, QUERIES, unread)
    assert config.owner is FlatIP
    assert (config.target_recall, choice) == (0.9, None)


@pytest.mark.parametrize("num_sampled", [10, 7500, NUM_ITEMS])
def test_predictions_are_those_of_the_built_index(num_sampled: int) -> None:
    config = Auto.Config(exact_below=0, num_sampled=num_sampled, target_recall=0.9)
    index, points, choice = tuned_index(config, VECTORS, np.arange(NUM_ITEMS), QUERIES[::2])
    assert choice is not None
    assert choice.num_sampled == max(num_sampled, 39 * nlists_to_try(NUM_ITEMS)[-1])
    kinds = {each.kind for each in choice.candidates}
    assert kinds == {"flat_ip", "ivf_sq", "ivf_flat", "ivf_pq_fastscan"}
    report = check(index, VECTORS, np.arange(NUM_ITEMS), QUERIES[1::2], 100, points, choice)
    best = choice.candidates[0]
    assert report.type == best.kind
    assert report.bytes_per_item == pytest.approx(best.bytes_per_item, rel=0.01)
    predicted = {str(point.search_args): point.recall for point in best.points}
    assert report.recall_at_100 == pytest.approx(predicted[str(index.search_args)], abs=0.03)
    assert report.ok


def test_a_limit_with_a_catalogue_of_one_item() -> None:
    config, choice, *_ = Auto.Config(max_latency_ms=1e3).choose_for(VECTORS[:1], QUERIES)
    assert choice is not None
    index = config.build()
    index.build(VECTORS[:1], np.arange(1))
    assert index.search(QUERIES[:1], 1).rows.tolist() == [[0]]


def test_each_prediction_of_bytes_and_recall_holds() -> None:
    names = ["ivf_sq", "ivf_pq", "flat_ip"]
    config = Auto.Config(
        exact_below=0, num_sampled=10, target_recall=0.9, max_bytes_per_item=1e6, candidates=names
    )
    choice = config.choose_for(VECTORS, QUERIES).choice
    assert choice is not None
    assert {each.kind for each in choice.candidates} == set(names)
    truth = GroundTruth.search(VECTORS, np.arange(NUM_ITEMS), QUERIES, 100)
    for each in choice.candidates:
        built = Index.Config.model_validate(each.spec).build()
        built.build(VECTORS, np.arange(NUM_ITEMS))
        built.set_search_args(each.search_args)
        recall = truth.recall(built.search(QUERIES, 100).rows)
        assert recall == pytest.approx(each.recall, abs=0.05), each.name
        size = check(built, VECTORS, np.arange(NUM_ITEMS), QUERIES).bytes_per_item
        assert size == pytest.approx(each.bytes_per_item, rel=0.01), each.name


def test_graphs_are_candidates_too() -> None:
    config = Auto.Config(exact_below=0, candidates=["hnsw", "hnsw_sq"], target_recall=0.9)
    choice = config.choose_for(VECTORS[:1000], QUERIES).choice
    assert choice is not None
    assert {each.kind for each in choice.candidates} == {"hnsw", "hnsw_sq"}
    assert all(each.search_args["efSearch"] >= 1 for each in choice.candidates)


def index_of(rows: list[int]) -> Index:
    """Return an exact index of some rows; each is a number whose vector is as far as the row is small."""
    index = FlatIP.Config().build()
    index.build(np.array([[10.0 - row, 0.0] for row in rows], dtype=np.float32), np.array(rows))
    return index


def difference_of(lists: LabelLists, index: Index) -> tuple[float, tuple[float, float]]:
    return lists.difference(index.search, index.is_exact)


def test_lists_lose_missed_targets_and_gain_those_behind_them() -> None:
    lists = LabelLists(
        queries=np.tile(np.array([1.0, 0.0], dtype=np.float32), (4, 1)),
        items=np.array([[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, -1, -1, -1]]),
        weights=np.array([[0.25, 0, 0, 0], [0, 0.25, 0, 0], [0, 0, 0.25, 0], [0, 0, 0, 0]]),
        num_fetched=np.array([2, 2, 2, 2]),
        k=2,
    )
    assert lists.recall == 0.5
    assert difference_of(lists, index_of([0, 1, 2, 3])) == (0.0, (0.0, 0.0))
    graph = HNSW.Config().build()
    graph.build(np.array([[10, 0], [9, 0], [8, 0], [7, 0]], dtype=np.float32), np.arange(4))
    assert difference_of(lists, graph) == (0.0, (-3 * 0.5 / 4, 3 * 0.5 / 4))
    scanned = dataclasses.replace(lists, num_fetched=np.zeros(4, dtype=np.int64))  # all items are scored
    assert difference_of(scanned, index_of([1, 3]))[0] == 0.0
    difference, interval = difference_of(lists, index_of([0, 2, 3]))  # one lost, and one gained
    spread = 1.96 * (2 * 0.25**2) ** 0.5
    assert (difference, interval) == (0.0, pytest.approx((-spread, spread)))
    difference, interval = difference_of(lists, index_of([1, 3]))  # the third is not there either
    assert (difference, interval) == (-0.25, pytest.approx((-0.25 - 1.96 * 0.25, -0.25 + 1.96 * 0.25)))


def test_each_user_is_searched_among_as_many_items_as_its_list_needs() -> None:
    index = FlatIP.Config().build()
    index.build(VECTORS, np.arange(NUM_ITEMS))
    ranked = GroundTruth.search(VECTORS, np.arange(NUM_ITEMS), QUERIES[:4], 100).exact.rows
    fetched = np.array([1, 2, 50, 100])
    last, next_ = ranked[np.arange(4), fetched - 1][:, None], ranked[np.arange(4), fetched % 100][:, None]
    lists = LabelLists(QUERIES[:4], last, np.full((4, 1), 0.25), fetched, 1)
    asked: list[int] = []

    def search(queries: np.ndarray, k: int) -> SearchResult:
        asked.append(k)
        return index.search(queries, k)

    assert lists.difference(search, is_exact=True)[0] == 0.0
    assert asked == [1, 2, 50, 100]
    others = dataclasses.replace(lists, items=np.append(next_[:3], last[3:], axis=0))
    assert difference_of(others, index)[0] == -0.75


@pytest.mark.parametrize("num_sampled", [10, NUM_ITEMS])
def test_losses_of_targets_are_predicted(num_sampled: int) -> None:
    exact = GroundTruth.search(VECTORS, np.arange(NUM_ITEMS), QUERIES, 40).exact.rows
    is_target = np.random.default_rng(0).random(exact.shape) < np.where(np.arange(40) < 20, 0.9, 0.1)
    weights = is_target / (20 * len(QUERIES))
    lists = LabelLists(QUERIES, exact, weights, np.full(len(QUERIES), 20), 20)
    names = ["flat_ip", "ivf_sq", "ivf_pq"]
    config = Auto.Config(
        max_label_loss=0.5,
        num_sampled=num_sampled,
        target_recall=0.8,
        candidates=names,
        max_bytes_per_item=1e6,
    )
    chosen = config.choose_for(VECTORS, QUERIES, lambda: lists)
    known = [set(rows[mask]) for rows, mask in zip(exact, is_target, strict=True)]

    def change(index: Index, search_args: dict[str, int]) -> float:
        index.build(VECTORS, np.arange(NUM_ITEMS))
        index.set_search_args(search_args)
        served = index.search(QUERIES, 20).rows
        hits = sum(len(known[user].intersection(rows)) for user, rows in enumerate(served))
        return hits / (20 * len(QUERIES)) - lists.recall

    assert chosen.choice is not None
    best, *_ = candidates = chosen.choice.candidates
    for each in candidates:
        built = Index.Config.model_validate(each.spec).build()  # in other lists
        assert each.label_difference == pytest.approx(
            change(built, each.search_args), abs=0.04 * lists.recall
        ), each.name
        assert each.label_loss == pytest.approx(-each.label_difference / lists.recall)
        low, high = each.label_difference_interval
        assert low <= each.label_difference <= high
    low, high = best.label_difference_interval
    outcome = change(chosen.build(), best.search_args)
    assert low <= outcome <= high
    if num_sampled == NUM_ITEMS:
        assert best.label_difference == pytest.approx(outcome)
    with pytest.raises(InputError, match=r"index\.max_label_loss: there are no targets of users here"):
        config.choose_for(VECTORS, QUERIES)


def test_an_index_beyond_the_limits_is_rejected() -> None:
    config = Auto.Config(max_bytes_per_item=1, target_recall=0.9, candidates=["flat_ip", "ivf_sq"])
    index, points, choice = tuned_index(config, VECTORS, np.arange(NUM_ITEMS), QUERIES)
    report = check(index, VECTORS, np.arange(NUM_ITEMS), QUERIES, 100, points, choice)
    assert not report.ok
    assert "index.max_bytes_per_item=1, at least" in report.problems[-1]


def test_candidates_that_cannot_be_built_are_left_out() -> None:
    few: Any = VECTORS[:12]  # too few for codes
    config = Auto.Config(exact_below=0, candidates=["ivf_pq_fastscan", "flat_ip"])
    choice = config.choose_for(few, QUERIES).choice
    assert choice is not None
    assert [each.kind for each in choice.candidates] == ["flat_ip"]
    with pytest.raises(InputError, match=r"candidates: none fits 12 vectors of dimension 16 \(.*flat_ip"):
        Auto.Config(exact_below=0, candidates=["ivf_pq_fastscan"]).choose_for(few, QUERIES)


def test_any_dimension_has_codes_of_a_product_quantizer() -> None:
    """37 has no half, quarter or eighth: there is one code per dimension."""
    items = np.random.default_rng(0).standard_normal((300, 37), dtype=np.float32)
    config = Auto.Config(exact_below=0, candidates=["ivf_pq"], target_recall=0.9)
    choice = config.choose_for(items, items[:20]).choice
    assert choice is not None
    assert {each.spec["num_subquantizers"] for each in choice.candidates} == {37}


def test_a_machine_that_becomes_slower_does_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact index is timed first, before the machine slows down: the best two are timed again."""
    timed: list[str] = []

    def time_searches(searches: list[tuple[Index, Any]], *given: Any, **named: Any) -> Any:
        timed.extend(index.kind for index, _ in searches)
        slower = 3 if "hnsw" in timed else 1
        seconds = [{"flat_ip": 2.0, "hnsw": 1.0}[index.kind] * slower for index, _ in searches]
        return np.array([seconds]), None

    monkeypatch.setattr("twotower.index.candidates.time_searches", time_searches)
    config = Auto.Config(exact_below=0, candidates=["flat_ip", "hnsw"], target_recall=0.9)
    choice = config.choose_for(VECTORS, QUERIES).choice
    assert choice is not None
    assert [(each.kind, 1 / each.queries_per_second) for each in choice.candidates] == [
        ("hnsw", pytest.approx(3)),
        ("flat_ip", pytest.approx(6)),
    ]
