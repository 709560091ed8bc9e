import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index.check import IndexReport, check
from twotower.index.choice import Measurement
from twotower.index.ground_truth import GroundTruth, SearchResult, split_queries
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.hnsw import HNSW
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.rehearsal import rehearse
from twotower.index.tune import choose_point, search_grid, tune

ROWS = np.arange(1, 401)
VECTORS = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)

TRUTH = GroundTruth.search(VECTORS, ROWS, QUERIES, 20)


def built(**arguments: Any) -> IVFFlat:
    index = IVFFlat.Config(**arguments).build()
    index.build(VECTORS, ROWS)
    return index


def points(*recalls: float) -> list[Measurement]:
    return [Measurement({"nprobe": 2**step}, recall, 1.0, 1.0) for step, recall in enumerate(recalls)]


def test_the_fastest_point_that_reaches_the_target_is_chosen() -> None:
    assert choose_point(points(0.5, 0.9, 0.96, 1.0), 0.95).search_args == {"nprobe": 4}
    assert choose_point(points(0.5, 0.9, 0.96, 1.0), 0.4).search_args == {"nprobe": 1}


def test_short_of_the_target_the_fastest_near_the_best_is_chosen() -> None:
    assert choose_point(points(0.5, 0.8, 0.8495, 0.85), 0.95).search_args == {"nprobe": 4}
    # The target lies within the slack of the best, but is not reached there.
    assert choose_point(points(0.5, 0.9492, 0.9499, 0.9498), 0.95).search_args == {"nprobe": 2}


def test_tuning_sets_the_smallest_nprobe_that_reaches_the_target() -> None:
    index = built(nlist=10, target_recall=0.9, min_recall=0.8)
    curve = tune(index, TRUTH)
    reached = [point.search_args["nprobe"] for point in curve if point.recall >= 0.9]
    assert index.search_args == {"nprobe": reached[0]}
    assert 1 < reached[0] < 10
    assert [point.recall for point in curve] == sorted(point.recall for point in curve)
    fixed = built(nlist=10, nprobe=2)
    tune(fixed, TRUTH)
    assert fixed.search_args == {"nprobe": 2}
    flat = FlatIP.Config().build()
    flat.build(VECTORS, ROWS)
    (point,) = tune(flat, TRUTH)
    assert (point.search_args, point.recall) == ({}, 1.0)


USERS = np.random.default_rng(2).standard_normal((40, 8)).astype(np.float32)
TARGETS = (0.85, 0.9, 0.95, 0.97, 0.99)


def reindexed(nlist: int, target_recall: float, few: slice) -> tuple[IVFFlat, IndexReport]:
    index = built(nlist=nlist, target_recall=target_recall, min_recall=min(0.95, target_recall))
    points = tune(index, GroundTruth.search(VECTORS, ROWS, USERS[few], 20))
    return index, check(index, VECTORS, ROWS, QUERIES, 20, points)


@pytest.mark.parametrize("nlist", [10, 20, 40])
@pytest.mark.parametrize("few", [slice(3), slice(3, 9), slice(9, 40)], ids=lambda few: f"{few.start}")
def test_a_higher_target_is_never_faster_and_a_cluster_index_never_rejected(nlist: int, few: slice) -> None:
    nprobes = []
    for target in TARGETS:
        index, report = reindexed(nlist, target, few)
        assert report.ok, (target, report.problems)
        assert report.recall_at_100 >= report.min_recall
        assert report.search_args == index.search_args
        nprobes.append(report.search_args["nprobe"])
    assert nprobes == sorted(nprobes)


def test_a_target_of_the_least_recall_is_tuned_between_the_steps_of_the_grid_and_with_a_margin() -> None:
    index = built(nlist=100, target_recall=0.9, min_recall=0.9)
    curve = tune(index, TRUTH)
    (nprobe,) = index.search_args.values()
    tried = [point.search_args["nprobe"] for point in curve]
    assert {nprobe} not in [set(args.values()) for args in search_grid(index)]
    recalls = TRUTH.recalls(index.search(QUERIES, 20).rows)
    assert recalls.mean() - 1.645 * recalls.std() / len(QUERIES) ** 0.5 >= 0.9
    index.set_search_args({"nprobe": tried[tried.index(nprobe) - 1]})
    recalls = TRUTH.recalls(index.search(QUERIES, 20).rows)
    assert recalls.mean() - 1.645 * recalls.std() / len(QUERIES) ** 0.5 < 0.9


def test_advice_of_low_recall_names_a_search_argument_only_where_a_larger_one_is_possible() -> None:
    (problem,) = check(built(nlist=10, nprobe=1), VECTORS, ROWS, QUERIES).problems
    assert problem.endswith(
        "index.min_recall 0.95: raise index.nprobe, use finer codes, or lower index.min_recall"
    )
    for nprobe in (None, 10):
        index = IVFPQ.Config(
            nlist=10, nprobe=nprobe, num_subquantizers=2, num_bits=4, min_recall=0.95
        ).build()
        index.build(VECTORS, ROWS)
        tune(index, TRUTH)
        tuned = index.search_args
        (problem,) = check(index, VECTORS, ROWS, QUERIES).problems
        assert problem.endswith("below index.min_recall 0.95: use finer codes, or lower index.min_recall")
        assert index.search_args == tuned


def test_report_of_a_sound_index() -> None:
    index = built(nlist=10, nprobe=10)
    report = check(index, VECTORS, ROWS, QUERIES)
    assert report.ok
    assert (report.recall_k, report.recall_at_100, report.missing_rate) == (100, 1.0, 0.0)
    assert report.bytes_per_item == report.index_bytes / 400
    merged = dataclasses.replace(report, label_difference={"recall_at_20": -0.01})
    assert json.loads(json.dumps(merged.to_dict()))["label_difference"] == {"recall_at_20": -0.01}
    assert merged.to_dict()["ok"] is True


def test_report_of_low_recall_says_so() -> None:
    report = check(built(nlist=10, nprobe=1), VECTORS, ROWS, QUERIES)
    assert not report.ok
    assert report.missing_rate > 0
    (problem,) = report.problems
    assert problem.startswith("recall@100 against exact search is 0.")
    assert "below index.min_recall 0.95" in problem


def test_report_of_missing_and_foreign_items_says_so() -> None:
    index = built(nlist=10, nprobe=10)
    index.remove(np.array([1]))
    report = check(index, VECTORS, ROWS, QUERIES)
    assert report.problems == ["the index has 399 items, or other rows than the 400 items of the catalogue"]


class Forgetful(FlatIP):
    """Does not load what it saved."""

    def load(self, path: Path) -> None:
        self.build(VECTORS[:10], ROWS[:10])


def test_an_index_that_does_not_load_what_it_saved_is_rejected() -> None:
    index = Forgetful.Config().build()
    index.build(VECTORS, ROWS)
    assert check(index, VECTORS, ROWS, QUERIES).problems == [
        "after saving and loading, the index has other rows"
    ]
    with pytest.raises(InputError, match="correct Forgetful, or choose another index"):
        rehearse(index.config, 8, 400)


class Unfiltered(HNSW):
    """Ignores the rows that a search allows, as graphs of Faiss do in searches with an unbounded queue."""

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> SearchResult:
        return super().search(queries, k)


def test_an_index_that_ignores_a_filter_is_rejected() -> None:
    index = Unfiltered.Config(min_recall=0.5).build()
    index.build(VECTORS, ROWS)
    (problem,) = check(index, VECTORS, ROWS, QUERIES).problems
    assert problem.startswith("a search for some items finds another one (row ")
    with pytest.raises(InputError, match=r"\): it ignores `allowed`; correct Unfiltered, or choose another"):
        rehearse(index.config, 8, 400)


def test_recall_k_is_the_catalogue_where_that_is_smaller() -> None:
    index = FlatIP.Config().build()
    index.build(VECTORS[:30], ROWS[:30])
    report = check(index, VECTORS[:30], ROWS[:30], QUERIES)
    assert (report.recall_k, report.recall_at_100) == (30, 1.0)


def test_rehearsal_raises_problems_before_it_builds() -> None:
    with pytest.raises(InputError, match=r"index\.nlist: 500 lists are more than the 400 vectors"):
        rehearse(IVFFlat.Config(nlist=500), 8, 400)
    with pytest.raises(InputError, match="the catalogue has no items"):
        rehearse(FlatIP.Config(), 8, 0)


def test_rehearsal_has_the_clusters_of_the_real_size() -> None:
    rehearsed = rehearse(IVFFlat.Config(nprobe=300), 4, 100_000)
    assert rehearsed.build_args == {"nlist": 316}
    assert rehearsed.search_args == {"nprobe": 300}
    assert rehearsed.num_vectors == 20_000


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 3), (8, 3)])
def test_halves_have_different_users(shape: tuple[int, ...]) -> None:
    users = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    one, other = ({tuple(query) for query in half.tolist()} for half in split_queries(users))
    assert one | other == {tuple(query) for query in users.reshape(-1, 3).tolist()}
    assert (one == other) if len(users) == 1 else not one & other
