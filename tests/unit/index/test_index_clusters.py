"""Which list an item lies in, and which a query visits."""

from pathlib import Path

import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index.ground_truth import GroundTruth, split_queries
from twotower.index.index import Chosen, Index
from twotower.index.kinds.factory import Factory
from twotower.index.kinds.hnsw import HNSW
from twotower.index.kinds.ivf import IVF
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_opq import IVFOPQ
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_rabitq import IVFRaBitQ
from twotower.index.kinds.ivf_sq import IVFSQ

LONG_AND_SHORT = np.array([[1, 0], [1.1, 0.1], [0.9, -0.1], [10, 0], [10.5, 1], [9.5, -1]], dtype=np.float32)
ALONG = np.array([[1, 0]], dtype=np.float32)


def built(index: IVF, vectors: np.ndarray) -> IVF:
    index.build(vectors, np.arange(1, len(vectors) + 1))
    return index


def test_items_lie_by_distance_and_queries_visit_by_dot_product() -> None:
    index = built(IVFFlat.Config(nlist=2, nprobe=1).build(), LONG_AND_SHORT)
    assert index.metric == "inner_product"
    assert index.search(ALONG, 3).rows.tolist() == [[5, 4, 6]]  # the list of the long ones
    assert index.search(-ALONG, 3).rows.tolist() == [[3, 1, 2]]  # of the short ones, whose scores are higher


def test_a_new_item_lies_by_distance_too() -> None:
    index = built(IVFFlat.Config(nlist=2, nprobe=1).build(), LONG_AND_SHORT)
    index.add(np.array([[2, 0], [9, 0]], dtype=np.float32), np.array([7, 8]))
    assert index.metric == "inner_product"
    with pytest.raises(InputError, match="already"):  # and queries visit as before
        index.add(ALONG, np.array([1]))
    assert index.search(ALONG, 4).rows.tolist() == [[5, 4, 6, 8]]
    assert index.search(-ALONG, 4).rows.tolist() == [[3, 1, 2, 7]]


@pytest.mark.parametrize("index", [IVFFlat.Config().build(), IVFSQ.Config().build(), IVFPQ.Config().build()])
def test_few_clusters_have_the_best_where_lengths_tell_items_apart(index: IVF) -> None:
    rng = np.random.default_rng(0)
    tastes = rng.standard_normal((4000, 4)) @ rng.standard_normal((4, 31)) / 4
    vectors = np.hstack([np.full((4000, 1), 4.0), tastes]) * rng.lognormal(sigma=0.4, size=(4000, 1))
    queries = np.hstack([np.ones((100, 1)), tastes[:100] / 4]).astype(np.float32)
    vectors = vectors.astype(np.float32)
    built(index, vectors)
    every = index.build_args["nlist"]
    truth = GroundTruth.search(vectors, np.arange(1, 4001), queries, 100)
    index.set_search_args({"nprobe": every})
    most = truth.recall(index.search(queries, 100).rows)
    index.set_search_args({"nprobe": every // 4})
    assert truth.recall(index.search(queries, 100).rows) > 0.95 * most


def scored_for_recall(chosen: Chosen, vectors: np.ndarray, queries: np.ndarray, recall: float) -> float:
    """Return the mean number of vectors that a search scores with the fewest lists that reach a recall."""
    index = chosen.build()
    rows = np.arange(len(vectors))
    index.build(vectors, rows)
    truth = GroundTruth.search(vectors, rows, queries, 100)
    for nprobe in range(1, index.largest_search_arg + 1):
        index.set_search_args({"nprobe": nprobe})
        found = index.search(queries, len(vectors)).rows  # all that are in the visited lists
        if truth.recall(found) >= recall:
            break
    return float((found >= 0).sum(axis=1).mean())


@pytest.mark.parametrize(
    "config",
    [IVFFlat.Config(nlist=64), IVFOPQ.Config(nlist=64, num_subquantizers=16)],
    ids=lambda config: config.owner.kind,
)
def test_clusters_that_fit_queries_are_small_where_these_look(config: Index.Config) -> None:
    random = np.random.default_rng(0)
    lengths = random.lognormal(sigma=0.6, size=(8000, 1))  # queries find long vectors
    vectors = (np.hstack([np.full((8000, 1), 3.0), random.standard_normal((8000, 31))]) * lengths).astype(
        np.float32
    )
    queries = np.hstack([np.ones((200, 1)), 0.2 * random.standard_normal((200, 31))]).astype(np.float32)
    fitted, others = split_queries(queries)
    scored = scored_for_recall(config.choose_for(vectors, fitted), vectors, others, 0.9)
    assert scored < 0.75 * scored_for_recall(Chosen(config), vectors, others, 0.9)


def test_balanced_clusters_take_in_new_items_and_leave_out_others() -> None:
    vectors = np.random.default_rng(4).standard_normal((700, 8), dtype=np.float32)
    vectors[300:] = 3 + 0.1 * vectors[300:]  # a crowd
    index = IVFFlat.Config(nlist=8, nprobe=8).build()
    index.build(vectors[:350], np.arange(350))
    balanced = index.balanced(vectors[100:], np.arange(100, 700))
    np.testing.assert_array_equal(balanced.rows, np.arange(100, 700))
    np.testing.assert_array_equal(index.rows, np.arange(350))
    truth = GroundTruth.search(vectors[100:], np.arange(100, 700), vectors[::20], 20)
    assert balanced.is_exact
    np.testing.assert_array_equal(balanced.search(vectors[::20], 20).rows, truth.exact.rows)
    assert len(balanced.list_sizes) > 8
    assert balanced.list_sizes.max() < 200  # of the crowd of 400
    with pytest.raises(InputError, match="there are none, so there is nothing to index"):
        index.balanced(vectors[:0], np.arange(0))


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_catalogue_that_grows_gets_more_clusters_of_the_size_that_it_had(
    tmp_path: Path, is_loaded: bool
) -> None:
    vectors = np.random.default_rng(4).standard_normal((8000, 8), dtype=np.float32)
    config = IVFFlat.Config().choose_for(vectors[:1000], vectors[:50])
    index = built(config.build(), vectors[:1000])
    if is_loaded:
        index.save(tmp_path / "index")
        index = config.build()
        index.load(tmp_path / "index")
    assert isinstance(index, IVF)
    usual = 1000 / index.largest_search_arg
    for number in (4000, 8000):
        index = index.balanced(vectors[:number], np.arange(1, number + 1))
        assert usual / 2 < number / index.largest_search_arg < 3 * usual


def test_the_number_of_visited_clusters_keeps_its_share() -> None:
    vectors = np.random.default_rng(4).standard_normal((800, 8), dtype=np.float32)
    index = built(IVFFlat.Config(nlist=8, nprobe=4).build(), vectors)
    vectors = np.concatenate([vectors, 3 + 0.1 * vectors])
    balanced = index.balanced(vectors, np.arange(1, 1601))
    share = balanced.search_args["nprobe"] / balanced.largest_search_arg
    assert share == pytest.approx(0.5, abs=0.5 / balanced.largest_search_arg)
    assert balanced.largest_search_arg > 8


@pytest.mark.parametrize(
    "config",
    [
        IVFFlat.Config(nlist=20, nprobe=2),
        IVFRaBitQ.Config(nlist=20, nprobe=2),
        Factory.Config(factory="IVF20_HNSW8,Flat"),
        HNSW.Config(),
    ],
    ids=lambda config: config.owner.kind,
)
def test_allowed_items_far_from_a_query_are_found(config: Index.Config) -> None:
    random = np.random.default_rng(0)
    centers = 5 * random.standard_normal((20, 16))
    items = (centers.repeat(30, axis=0) + random.standard_normal((600, 16))).astype(np.float32)
    rows = np.arange(1, 601)
    index = config.build()
    index.build(items, rows)
    index.set_search_args(dict.fromkeys(index.search_args, 2))
    worst = np.argsort(centers @ items[0])[:2]  # of 20 lists
    allowed = rows[(worst[:, None] * 30 + np.arange(30)).ravel()]
    for step in (1, 3):  # whole lists, and a third of them
        found = index.search(items[:1], 10, np.sort(allowed[::step])).rows[0]
        best = allowed[::step][np.argsort(-(items[allowed[::step] - 1] @ items[0]))[:10]]
        assert len(set(found.tolist()) & set(best.tolist())) >= 9
    index.remove(allowed[:5])
    assert index.search(items[:1], 1, allowed[:5]).rows.tolist() == [[-1]]
    index.add(items[allowed[0] - 1][None], np.array([900]))
    assert index.search(items[:1], 1, np.array([allowed[0], 900])).rows.tolist() == [[900]]
