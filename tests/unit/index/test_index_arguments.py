from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index.auto import Auto
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf import automatic_nlist
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.tune import search_grid


def vectors(count: int, dim: int = 16) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)


@pytest.mark.parametrize(
    ("num_vectors", "nlist"), [(1, 1), (77, 1), (78, 2), (1521, 39), (3659, 60), (1_000_000, 1000)]
)
def test_automatic_nlist(num_vectors: int, nlist: int) -> None:
    assert automatic_nlist(num_vectors) == nlist


PROBLEMS: list[tuple[Index.Config, int | None, str, str]] = [
    (
        *(IVFPQ.Config(num_subquantizers=7), None, "num_subquantizers"),
        "7 does not divide the embedding dimension 64: choose 4 or 8",
    ),
    (
        *(IVFFlat.Config(nlist=5000), 3659, "nlist"),
        "5000 lists are more than the 3659 vectors to index: choose at most 3659, or null for about its"
        " square root",
    ),
    (
        *(IVFPQ.Config(num_subquantizers=8, num_bits=8), 200, "num_bits"),
        "2**8 centroids a part are more than the 200 vectors to train on: choose at most 7",
    ),
    (IVFSQ.Config(nprobe=61), 3659, "nprobe", "61 is above the number of lists 60: choose at most that"),
    (
        *(FlatIP.Config(target_recall=0.9, min_recall=0.95), None, "min_recall"),
        "0.95 is above target_recall 0.9: lower it",
    ),
    (
        *(Auto.Config(candidates=["flat_ip", "lsh"]), None, "candidates"),
        "expected some of flat_ip, ivf_sq, ivf_flat, ivf_pq, ivf_pq_fastscan, ivf_rabitq, hnsw, hnsw_sq;"
        " found lsh",
    ),
]


@pytest.mark.parametrize(("config", "num_items", "key", "message"), PROBLEMS)
def test_problems_name_parameter_and_remedy(
    config: Index.Config, num_items: int | None, key: str, message: str
) -> None:
    assert config.size_problems(64, num_items) == [(key, message)]


def test_without_sizes_there_are_no_problems() -> None:
    for config in (IVFFlat.Config(nlist=4096), IVFPQ.Config(num_subquantizers=7), Auto.Config()):
        assert not list(config.problems())


def test_an_automatic_number_of_clusters_is_settled_by_size() -> None:
    assert IVFFlat.Config().for_size(3659).spec()["nlist"] == 60
    assert IVFFlat.Config(nlist=7).for_size(3659) == IVFFlat.Config(nlist=7)


def test_factory_and_arguments_are_what_was_built() -> None:
    index = IVFPQ.Config(num_subquantizers=4, num_bits=4, nlist=3, nprobe=2).build()
    index.build(vectors(50), np.arange(50))
    assert index.factory == "IVF3,PQ4x4np"
    assert index.build_args == {"nlist": 3, "num_subquantizers": 4, "num_bits": 4}
    assert index.search_args == {"nprobe": 2}
    assert index.dim == 16
    assert index.build_seconds > 0


def test_grid_reaches_from_one_cluster_to_all() -> None:
    index = IVFFlat.Config(nlist=13).build()
    index.build(vectors(50), np.arange(50))
    assert [point["nprobe"] for point in search_grid(index)] == [1, 2, 3, 4, 6, 8, 12, 13]


def test_search_arguments_have_a_range() -> None:
    index = IVFFlat.Config(nlist=5).build()
    index.build(vectors(50), np.arange(50))
    assert not index.is_exact
    index.set_search_args({"nprobe": 5})
    assert index.is_exact
    for nprobe in (0, 6):
        with pytest.raises(InputError, match=f"nprobe: {nprobe} is not between 1 and 5"):
            index.set_search_args({"nprobe": nprobe})
    with pytest.raises(InputError, match="ivf_flat has nprobe, got efSearch"):
        index.set_search_args({"efSearch": 5})


def test_half_precision_refuses_values_it_cannot_hold() -> None:
    large = vectors(50)
    large[3, 3] = 70_000
    with pytest.raises(InputError, match="value 70000 is beyond half precision"):
        IVFSQ.Config().build().build(large, np.arange(50))


@pytest.mark.parametrize(
    "config", [IVFFlat.Config(nlist=20), IVFSQ.Config(), IVFPQ.Config(num_subquantizers=4, num_bits=5)]
)
def test_small_catalogues_print_no_warning(config: Index.Config, capfd: pytest.CaptureFixture[str]) -> None:
    index = config.build()
    index.build(vectors(40), np.arange(40))
    index.search(vectors(2), 3)
    assert capfd.readouterr() == ("", "")


class Unchecked(Index):
    """Codes of 256 centroids, without a check of the number of vectors."""

    kind = "unchecked"
    faiss_type = faiss.IndexPQ

    def create(self, dim: int, num_vectors: int) -> Any:
        return faiss.IndexPQ(dim, 4, 8, faiss.METRIC_INNER_PRODUCT)


@pytest.mark.parametrize(("num_vectors", "dim"), [(10, 16), (300, 15)])
def test_an_error_of_faiss_names_the_key(num_vectors: int, dim: int) -> None:
    message = f"index: Faiss cannot build unchecked from {num_vectors} vectors of dimension {dim} "
    with pytest.raises(InputError, match=message):
        Unchecked(Unchecked.Config()).build(vectors(num_vectors, dim), np.arange(1, num_vectors + 1))


@pytest.mark.parametrize("num_vectors", [39, 41, 50_000_000])
def test_a_number_of_vectors_that_is_not_theirs_is_refused(tmp_path: Path, num_vectors: int) -> None:
    path, built = tmp_path / "index.faiss", IVFFlat.Config(nlist=2).build()
    built.build(np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), np.arange(1, 41))
    built.save(path)
    damaged = faiss.read_index(str(path))
    damaged.ntotal = num_vectors  # searches ask for more, the fewer of these are ours
    faiss.write_index(damaged, str(path))
    with pytest.raises(InputError, match=r"index\.faiss: holds a IndexIVFFlat"):
        IVFFlat.Config().build().load(path)
