"""Twelve indexes over one model: one training, twelve bundles, twelve sessions in TensorBoard itself."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import run_script
from quick import QUICK

from twotower.bundle.read import read_bundle
from twotower.commands.conf import CONF
from twotower.experiments.compare.comparison import compare

TRAIN = [sys.executable, str(CONF.parent / "scripts" / "train.py")]
OVERRIDES = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=400",
    "data.num_interactions=6000",
    "trainer=smoke",
    "trainer.refit=false",
    *QUICK,
    "metrics.num_bootstrap=0",
    "console=quiet",
    "name=t",
]
INDEX_METRICS = (" index/recall_at_100", " index/latency_ms_p50", " index/bytes_per_item")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    done = run_script("train", *OVERRIDES, f"output_root={root}", "sweep=indexes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^best ", done.stdout, re.MULTILINE)
    assert re.search(r"^pareto  .*recall@20.*\n(?s:.*)12 ok", done.stdout, re.MULTILINE)
    return root


def results(root: Path) -> dict[Path, dict[str, Any]]:
    return {path.parent: json.loads(path.read_text()) for path in sorted(root.glob("t/*/*/result.json"))}


@pytest.mark.slow
def test_one_training_serves_twelve_bundles(root: Path) -> None:
    found = results(root)
    assert len(found) == 12
    trained = [folder for folder, result in found.items() if "training_reused_from" not in result]
    assert [folder.name for folder in trained] == ["flat_ip"]
    assert [folder.parent for folder in root.glob("t/*/*/checkpoints")] == trained
    for folder, result in found.items():
        assert read_bundle(folder / "bundle").index.factory == result["index"]["factory"]


@pytest.mark.slow
def test_no_index_is_called_the_same_as_one_that_serves_other_lists(root: Path) -> None:
    lists = {}
    for folder, result in results(root).items():
        table = pd.read_parquet(folder / "per_user.parquet")
        assert table["recall_at_20"].mean() == pytest.approx(result["metrics"]["test/recall_at_20"])
        lists[str(folder)] = table["list_hash"].tolist()
    for baseline in lists:
        rows = compare(list(results(root)), baseline=baseline).rows
        for folder, verdict in zip(rows["folder"], rows["verdict"], strict=True):
            if folder != baseline:
                assert (verdict == "the same in every user") == (lists[folder] == lists[baseline])


@pytest.fixture(scope="module")
def tensorboard(root: Path) -> Iterator[str]:
    """The address of a TensorBoard over the sweep."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--port", "0"]
    with (root / "tensorboard.log").open("w") as log:
        process = subprocess.Popen([*command, "--load_fast=false"], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 900
        while not (found := re.search(r"http://\S+?:\d+/", (root / "tensorboard.log").read_text())):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield found.group()
    finally:
        process.kill()
        process.wait()


def ask(address: str, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{address}data/plugin/hparams/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_tensorboard_shows_twelve_sessions_with_the_index_s_figures(root: Path, tensorboard: str) -> None:
    everything = {
        "startIndex": 0,
        "sliceSize": 100,
        "allowedStatuses": ["STATUS_SUCCESS"],
        "includeMetrics": True,
    }
    until, groups = time.monotonic() + 600, []
    while len(groups) < 12 and time.monotonic() < until:
        columns = [{"hparam": "index"}, *({"metric": {"group": "", "tag": tag}} for tag in INDEX_METRICS)]
        groups = ask(tensorboard, "session_groups", {**everything, "colParams": columns})["sessionGroups"]
        time.sleep(0.2)
    shown = {
        group["sessions"][0]["name"]: {
            metric["name"]["tag"]: metric["value"] for metric in group["sessions"][0]["metricValues"]
        }
        for group in groups
    }
    expected = {
        str(folder.relative_to(root)): {
            tag: result["index"][tag.removeprefix(" index/")] for tag in INDEX_METRICS
        }
        for folder, result in results(root).items()
    }
    assert len(shown) == 12
    assert {name: {tag: values[tag] for tag in INDEX_METRICS} for name, values in shown.items()} == {
        name: pytest.approx(values, rel=1e-6) for name, values in expected.items()
    }
    named = ask(tensorboard, "experiment", {})["metricInfos"]
    assert set(INDEX_METRICS) <= {metric["name"]["tag"] for metric in named}
