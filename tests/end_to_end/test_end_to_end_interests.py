"""Several interests of a user, and ensembles, from the training to the recommendations of a service."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from in_process import run_command, run_script
from quick import POPULARITY_ONLY

from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

TINY = [
    "data=synthetic",
    "data.num_users=120",
    "data.num_items=300",
    "data.num_interactions=2400",
    "objective.epoch_requests=512",
    "history.length=20",
    "trainer=smoke",
    "trainer.refit=false",
    "initialization=random",
    "metrics.num_bootstrap=0",
    "metrics.ks=[5,20]",
    *POPULARITY_ONLY,
    "console=quiet",
]
TWO = ("user_tower=multi_interest", "user_tower.interests=2")
JOBS = {
    "mlp": ("index=flat_ip",),
    "one": ("index=flat_ip", "user_tower=multi_interest", "user_tower.interests=1"),
    "exact": ("index=flat_ip", *TWO),
    "lists": ("index=ivf_flat", "index.nlist=8", "index.nprobe=8", *TWO),
    "ensemble": ("index=flat_ip", "history=sasrec", "history.members=3"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of `JOBS`; the last one has the towers of the one before."""
    root, found = tmp_path_factory.mktemp("outputs"), {}
    for name, job in JOBS.items():
        done = run_script("train", *TINY, f"output_root={root}", f"name={name}", *job)
        assert done.returncode == 0, done.stdout + done.stderr
        (result,) = (root / name).rglob("result.json")
        found[name] = result.parent
    return found


def result_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "result.json").read_text()))


def test_one_interest_trains_to_the_metrics_and_weights_of_mlp_bit_by_bit(runs: dict[str, Path]) -> None:
    mlp, one = (result_of(runs[name]) for name in ("mlp", "one"))
    assert mlp["metrics"] == one["metrics"]
    towers = [(runs[name] / "bundle" / "towers.safetensors").read_bytes() for name in ("mlp", "one")]
    assert towers[0] == towers[1]


@pytest.mark.parametrize("name", ["exact", "lists", "ensemble"])
def test_they_are_indexed_and_served_as_exact_search_ranks_them(
    runs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    run, result = runs[name], result_of(runs[name])
    assert result["index"]["ok"]
    assert result["index"]["recall_at_100"] == 1.0  # all lists are visited
    metrics = result["metrics"]
    exact = {key: value for key, value in metrics.items() if key.startswith("test_exact/")}
    assert {"test_exact/recall_at_20", "test_exact/ndcg_at_5"} <= exact.keys()
    assert all(metrics[key.replace("test_exact/", "test/")] == value for key, value in exact.items())
    vectors = {}
    for side in ("users", "items"):
        out = tmp_path / f"{side}.parquet"
        done = run_command("embed", f"run={run}", f"side={side}", f"out={out}")
        assert done.returncode == 0, done.stderr
        vectors[side] = pq.read_table(out)
    of_users = "vector" if name == "ensemble" else "vectors"
    users, items = (
        np.array(vectors[side][column].to_pylist(), dtype=np.float32)
        for side, column in (("users", of_users), ("items", "vector"))
    )
    users = users[:, None] if users.ndim == 2 else users
    scores = np.einsum("uid,nd->uin", users, items).max(axis=1)
    retriever, item_ids = Retriever.open(run / "bundle"), vectors["items"]["item_id"].to_pylist()
    requests = [Request(user, k=7, exclude_seen=False) for user in retriever.user_ids]
    for row, served in zip(scores, retriever.answer(requests), strict=True):
        assert not isinstance(served, Exception)
        best = np.sort(row)[::-1][:7]
        np.testing.assert_allclose([each.score for each in served], best, rtol=1e-4, atol=1e-5)
        of_items = [row[item_ids.index(each.item_id)] for each in served]
        np.testing.assert_allclose(of_items, best, rtol=1e-4, atol=1e-5)
    out = tmp_path / "top.parquet"
    done = run_command("recommend", f"run={run}", f"out={out}", "k=7", "exclude_seen=false")
    assert done.returncode == 0, done.stderr
    written = pq.read_table(out)["score"].to_numpy().reshape(-1, 7)
    np.testing.assert_allclose(written, -np.sort(-scores, axis=1)[:, :7], rtol=1e-4, atol=1e-5)


def test_metrics_of_the_index_are_those_of_exact_search(runs: dict[str, Path]) -> None:
    values = [pd.read_parquet(runs[name] / "per_user.parquet")["recall_at_20"] for name in ("exact", "lists")]
    assert values[0].equals(values[1])
