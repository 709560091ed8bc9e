"""Index files whose numbers do not fit what is in them."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.index.ivf_flat import IVFFlat


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
