"""Many vectors: a sample trains the index, and vectors are added in blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index import faiss_index, ground_truth
from twotower.index import index as index_module
from twotower.index.kinds.ivf_flat import IVFFlat

NUM_ITEMS, DIM = 500, 8
RANDOM = np.random.default_rng(3)
ITEMS = RANDOM.standard_normal((NUM_ITEMS, DIM)).astype(np.float32)
USERS = RANDOM.standard_normal((40, DIM)).astype(np.float32)


def test_a_large_number_is_trained_on_a_sample_and_added_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MANY_VECTORS", 100)
    monkeypatch.setattr(index_module, "PER_CENTROID", 20)
    monkeypatch.setattr(ground_truth, "VECTORS_PER_BLOCK", 64)
    config = IVFFlat.Config(nlist=7)
    positions = config.training_positions(NUM_ITEMS)
    assert isinstance(positions, np.ndarray)
    assert len(np.unique(positions)) == 140
    assert (np.diff(positions) > 0).all()
    assert positions[-1] < NUM_ITEMS
    np.testing.assert_array_equal(config.training_positions(NUM_ITEMS), positions)
    assert config.training_positions(140) == slice(None)
    sizes: list[int] = []
    trained: list[np.ndarray] = []
    blocks, train = faiss_index.vector_blocks, IVFFlat.train

    def recorded(*given: Any) -> Any:
        for part, block in blocks(*given):
            sizes.append(len(block))
            yield part, block

    monkeypatch.setattr(faiss_index, "vector_blocks", recorded)
    monkeypatch.setattr(
        IVFFlat, "train", lambda self, *given: trained.append(given[1]) or train(self, *given)
    )
    mapped = np.memmap(tmp_path / "vectors", np.float16, "w+", shape=ITEMS.shape)
    mapped[:] = ITEMS
    index = config.build()
    index.build(mapped, np.arange(NUM_ITEMS))
    assert sizes == [64] * 7 + [52]
    np.testing.assert_array_equal(trained, [mapped[positions].astype(np.float32)])
    index.set_search_args({"nprobe": 7})
    expected = np.argsort(-(USERS @ mapped.astype(np.float32).T), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(index.search(USERS, 5).rows, expected)
    broken = ITEMS.copy()
    broken[130, 1] = np.nan
    with pytest.raises(InputError, match="item vectors: value nan at position 130, column 1"):
        index.build(broken, np.arange(NUM_ITEMS))
