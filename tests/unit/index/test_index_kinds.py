"""Settings of kinds of indexes, and texts of `index_factory`."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Index
from twotower.index.kinds.factory import Factory
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.hnsw import HNSW
from twotower.index.kinds.hnsw_sq import HNSWSQ
from twotower.index.kinds.ivf_opq import IVFOPQ
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_pq_fastscan import IVFPQFastScan
from twotower.index.kinds.ivf_rabitq import IVFRaBitQ
from twotower.index.rehearsal import rehearse

DIM, NUM_VECTORS = 16, 1000


def vectors(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, DIM), dtype=np.float32)


def recall(config: Index.Config, items: np.ndarray, queries: np.ndarray) -> float:
    """recall@10 of the most thorough search."""
    index, rows = config.build(), np.arange(len(items))
    index.training_iterations = 4
    index.build(items, rows)
    for name in index.search_args:
        index.set_search_args({name: index.largest_search_arg})
    return GroundTruth.search(items, rows, queries, 10).recall(index.search(queries, 10).rows)


@pytest.mark.parametrize(
    ("config", "factory"),
    [
        (HNSW.Config(links=8), "IDMap,HNSW8"),
        (HNSWSQ.Config(links=8), "IDMap,HNSW8,SQfp16"),
        (IVFRaBitQ.Config(nlist=4), "IDMap,IVF4,RaBitQ4,Refine(SQfp16)"),
        (IVFPQFastScan.Config(nlist=4), "IDMap,IVF4,PQ16x4fsr,Refine(SQfp16)"),
        (Factory.Config(factory="IVF4,PQ16x4fs"), "IDMap,IVF4,PQ16x4fs"),
        (Factory.Config(factory="IVF4,SQ8,Refine(PQ16x4fs)"), "IDMap,IVF4,SQ8,Refine(PQ16x4fs)"),
        (Factory.Config(factory="IVF4_HNSW8,SQ8"), "IVF4_HNSW8,SQ8"),
        (Factory.Config(factory="IVF4,SQ8,Refine(Flat)"), "IDMap,IVF4,SQ8,Refine(Flat)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_has_the_parts_that_its_text_names(config: Index.Config, factory: str) -> None:
    index = config.build()
    index.build(vectors(200), np.arange(200))
    assert (index.factory, index.metric) == (factory, "inner_product")


def test_more_candidates_find_more() -> None:
    items, queries = vectors(NUM_VECTORS), vectors(50, seed=1)
    found = [
        recall(IVFPQFastScan.Config(nlist=4, num_subquantizers=4, num_candidates=number), items, queries)
        for number in (1, 4, 32)
    ]
    assert found[0] + 0.2 < found[1]
    assert found[1] + 0.05 < found[2]


def test_codes_are_of_the_difference_from_the_centroid() -> None:
    """Items lie close to distant points: codes of whole vectors have a recall of .65 here."""
    points = 30 * vectors(25, seed=2)
    items, queries = points[np.arange(NUM_VECTORS) % 25] + vectors(NUM_VECTORS), vectors(50, seed=1)
    assert recall(IVFPQFastScan.Config(nlist=25, num_candidates=2), items, queries) >= 0.8


def test_a_rotation_helps_where_a_few_dimensions_vary_together() -> None:
    """Two of eight subvectors have all of the variance, and a rotation spreads it over all of them."""
    scales = np.array([8] * 4 + [0.1] * 12, dtype=np.float32)
    items, queries = vectors(NUM_VECTORS) * scales, vectors(50, seed=1)
    sizes = {"nlist": 4, "num_subquantizers": 8, "num_bits": 4}
    assert recall(IVFPQ.Config(**sizes), items, queries) + 0.05 < recall(
        IVFOPQ.Config(**sizes), items, queries
    )


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nonsense", "could not parse"),
        ("LSH", "not an index of inner products of dimension 16"),
        ("PCA8,Flat", "PCAMatrix changes dot products"),
        ("L2norm,IVF4,Flat", "NormalizationTransform changes dot products"),
        ("IDMap,Flat", "leave out IDMap"),
        ("IVF2000,Flat", "needs 2000 vectors to train on, of 1000"),
        ("NSG8", "items cannot be added to it and removed .NSG does not support incremental addition"),
    ],
)
def test_texts_that_break_a_promise_are_refused_before_training(factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rehearse(Factory.Config(factory=factory), DIM, NUM_VECTORS)


def test_candidates_without_a_refinement_are_refused() -> None:
    with pytest.raises(InputError, match=r"index\.factory: SQ8: has no Refine, so index.num_candidates"):
        Factory.Config(factory="SQ8", num_candidates=4).check_sizes(DIM, NUM_VECTORS)


def test_few_bits_need_many_dimensions() -> None:
    with pytest.raises(InputError, match=r"index\.num_bits: 1 bits per dimension are too few for 64"):
        IVFRaBitQ.Config(num_bits=1).check_sizes(64, NUM_VECTORS)
    IVFRaBitQ.Config(num_bits=1).check_sizes(256, NUM_VECTORS)


def test_subvectors_divide_the_dimension() -> None:
    with pytest.raises(InputError, match="5 does not divide the embedding dimension 16: choose 2 or 4"):
        IVFPQFastScan.Config(num_subquantizers=5).check_sizes(DIM, NUM_VECTORS)


def test_a_file_of_another_text_is_refused(tmp_path: Path) -> None:
    index = Factory.Config(factory="IVF4,SQ8").build()
    index.build(vectors(100), np.arange(100))
    index.save(tmp_path / "index")
    with pytest.raises(InputError, match="not an index of kind factory"):
        Factory.Config(factory="HNSW8").build().load(tmp_path / "index")
    again = Factory.Config(factory="IVF4,SQ8").build()
    again.load(tmp_path / "index")
    np.testing.assert_array_equal(again.search(vectors(5), 3).rows, index.search(vectors(5), 3).rows)


@pytest.mark.parametrize("num_subquantizers", [4, 5])  # 5 does not divide the dimension
def test_a_file_of_codes_of_another_size_is_refused(num_subquantizers: int, tmp_path: Path) -> None:
    sizes = {"nlist": 4, "num_bits": 4}
    index = IVFPQ.Config(num_subquantizers=8, **sizes).build()
    index.build(vectors(100), np.arange(100))
    index.save(tmp_path / "index")
    with pytest.raises(InputError, match="not an index of kind ivf_pq with these settings"):
        IVFPQ.Config(num_subquantizers=num_subquantizers, **sizes).build().load(tmp_path / "index")


@pytest.mark.parametrize("config", [FlatIP.Config(), HNSW.Config(), Factory.Config(factory="Flat")])
def test_a_file_without_rows_is_refused(config: Index.Config, tmp_path: Path) -> None:
    created = config.build().create(DIM, 10)
    created.add(vectors(10))
    faiss.write_index(created, str(tmp_path / "index"))
    with pytest.raises(InputError, match=r"index: is not a complete index file .*needs an IndexIDMap"):
        config.build().load(tmp_path / "index")


@pytest.mark.parametrize("factory", ["IVF4,PQ16x4fs", "PQ16x4fs", "RR16,IVF4,PQ16x4fsr", "IVF4,RaBitQfs"])
def test_codes_of_removed_items_do_not_spoil_those_of_new_ones(factory: str, tmp_path: Path) -> None:
    items = vectors(2 * NUM_VECTORS)
    index, fresh = (Factory.Config(factory=factory).build() for _ in range(2))
    index.build(items[:NUM_VECTORS], np.arange(NUM_VECTORS))
    fresh.build(items[:NUM_VECTORS], np.arange(NUM_VECTORS))
    removed, new = np.arange(0, NUM_VECTORS, 3), np.arange(NUM_VECTORS, NUM_VECTORS + 60)
    assert index.remove(removed) == len(removed)
    for each in (index, fresh):
        each.add(items[new], new)
        for name in each.search_args:
            each.set_search_args({name: each.largest_search_arg})
    index.save(tmp_path / "index")
    index = Factory.Config(factory=factory).build()
    index.load(tmp_path / "index")
    expected = fresh.search(items[new], 1)
    kept = ~np.isin(expected.rows, removed)[:, 0]
    found = index.search(items[new], 1)
    np.testing.assert_array_equal(found.rows[kept], expected.rows[kept])
    np.testing.assert_allclose(found.scores[kept], expected.scores[kept], rtol=1e-5)
    assert not np.isin(found.rows, removed).any()


@pytest.mark.parametrize(
    "factory",
    [
        "RR16,Flat",  # the selector of a part inside another one has the ids of the part
        "IVF4,SQ8,Refine(Flat)",
        "OPQ4,IVF4,Flat,Refine(SQfp16)",
        "IVF4_HNSW8,SQ8",
        "SQ8",
        "HNSW8_SQ8",
        "PQ16x4fs",  # and its results are filtered: its class takes no selector
    ],
)
def test_a_text_is_searched_for_allowed_rows_only(factory: str) -> None:
    index, items, rows = Factory.Config(factory=factory).build(), vectors(NUM_VECTORS), np.arange(NUM_VECTORS)
    index.build(items, rows * 3)
    for name in index.search_args:
        index.set_search_args({name: index.largest_search_arg})
    queries, allowed = vectors(20, seed=1), rows[::9] * 3
    found = index.search(queries, 10, allowed).rows
    assert np.isin(found, allowed).all()
    assert GroundTruth.search(items[::9], allowed, queries, 10).recall(found) >= 0.7
    everything = index.search(queries, 150, allowed).rows
    np.testing.assert_array_equal(np.sort(everything[:, : len(allowed)], axis=1), np.tile(allowed, (20, 1)))


def test_rows_far_apart_are_allowed_by_a_set() -> None:
    index, items, rows = HNSW.Config().build(), vectors(200), 10**12 + np.arange(200) * 10**9
    index.build(items, rows)
    found = index.search(items[:10], 3, rows[::2][::-1]).rows
    assert np.isin(found, rows[::2]).all()
    assert found[::2, 0].tolist() == rows[:10:2].tolist()
