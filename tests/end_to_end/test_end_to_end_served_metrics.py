"""A run's test metrics are computed on the lists that its bundle serves."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import run_script
from quick import QUICK
from tiny_runs import result_in

from twotower.data.build_dataset import build_dataset
from twotower.experiments.runs.run import Run
from twotower.jobs.run_config import RunConfig
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

TINY = [
    "data=synthetic",
    "data.num_users=400",
    "data.num_items=900",
    "data.num_interactions=9000",
    "objective.epoch_requests=2048",
    "trainer=smoke",
    "metrics.num_bootstrap=200",
    "metrics.ks=[5,20]",
    *QUICK,
    "console=quiet",
    "name=t",
]
EXACT = ("index=flat_ip",)
CODES = ("index=ivf_pq", "index.num_subquantizers=1", "index.num_bits=4", "index.min_recall=0.01")
"""So coarse that many users get other lists."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of an exact index, and of codes over its towers."""
    root = tmp_path_factory.mktemp("outputs")
    for job in (EXACT, CODES):
        done = run_script("train", *TINY, f"output_root={root}", *job)
        assert done.returncode == 0, done.stdout + done.stderr
    return root


def run_of(root: Path, index: str) -> Path:
    (found,) = [path.parent for path in root.glob("t/*/result.json") if kind_of(path.parent) == index]
    return found


def kind_of(run: Path) -> str:
    return str(result_in(run)["index"]["type"])


def test_figures_of_exact_search_stand_next_to_those_of_the_index(root: Path) -> None:
    exact, codes = (result_in(run_of(root, name)) for name in ("flat_ip", "ivf_pq"))
    by_exact_search = {key: value for key, value in exact["metrics"].items() if key[:5] == "test/"}
    for result in (exact, codes):
        found = {key: value for key, value in result["metrics"].items() if key.startswith("test_exact/")}
        assert found == {key.replace("test/", "test_exact/"): each for key, each in by_exact_search.items()}
    assert codes["metrics"]["test/recall_at_20"] != codes["metrics"]["test_exact/recall_at_20"]
    assert "test_exact" not in exact["slices"]
    assert codes["slices"]["test_exact"] == exact["slices"]["test"]
    table = pd.read_parquet(run_of(root, "ivf_pq") / "per_user.parquet")
    for prefix, split in (("", "test"), ("test_exact/", "test_exact")):
        mean = table[f"{prefix}recall_at_20"].mean()
        assert mean == pytest.approx(codes["metrics"][f"{split}/recall_at_20"], abs=1e-12)


def test_the_difference_on_validation_users_is_served_less_exact_with_its_interval(root: Path) -> None:
    exact, codes = (result_in(run_of(root, name))["index"] for name in ("flat_ip", "ivf_pq"))
    assert set(exact["label_difference"].values()) == {0.0}
    assert codes["label_difference"]["recall_at_20"] != 0  # of few users; its sign is chance
    low, high = codes["label_difference_interval"]["recall_at_20"]
    assert low < codes["label_difference"]["recall_at_20"] < high


@pytest.mark.parametrize("index", ["flat_ip", "ivf_pq"])
def test_a_service_returns_the_lists_that_were_measured(root: Path, index: str) -> None:
    folder = run_of(root, index)
    config = RunConfig.from_settings(Run.open(folder, None).settings)
    needs = config.features.column_problems
    dataset = build_dataset(config.data.build(), config.split.build(), root / "cache", needs=needs)
    retriever, test = Retriever.open(folder / "bundle"), dataset.test
    ids = dataset.users.ids(test.users)
    requests = [
        Request(user, k=5, request_time=int(time)) for user, time in zip(ids, test.request_times, strict=True)
    ]
    served = retriever.answer(requests)
    recalls = []
    for place, items in enumerate(served):
        targets = test.target_items[test.target_offsets[place] : test.target_offsets[place + 1]]
        relevant = set(dataset.items.ids(np.unique(targets)))
        hits = len(relevant & {each.item_id for each in items})  # type: ignore[union-attr]
        recalls.append(hits / min(5, len(relevant)))
    values = pd.read_parquet(folder / "per_user.parquet").set_index("user_id")["recall_at_5"]
    np.testing.assert_allclose(recalls, values.loc[list(ids)].to_numpy(), atol=1e-12)


def test_compare_tests_what_is_served_and_has_a_column_of_exact_figures(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, out = root / "t", tmp_path / "compared.json"
    monkeypatch.setenv("COLUMNS", "200")
    done = run_script("compare", runs, f"json={out}")
    assert done.returncode == 0, done.stderr
    assert "exact" in done.stdout.splitlines()[0].split()  # above recall@20
    found = json.loads(out.read_text())
    assert {"test_exact/recall_at_20", "index/recall_at_100"} <= set(found["columns"])
    baseline, other = found["rows"]
    figures = [row["figures"]["test/recall_at_20"] for row in (other, baseline)]
    assert kind_of(Path(baseline["folder"])) == "flat_ip"  # of equal towers the one with the best index
    assert (baseline["verdict"], other["difference"]) == ("the baseline", figures[0] - figures[1])
    assert other["verdict"] != "the same in every user"
