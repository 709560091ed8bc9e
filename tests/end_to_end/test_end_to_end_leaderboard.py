"""scripts/bench/leaderboard.py on a tiny experiment: what is kept of a run, and the table made of that."""

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import leaderboard
import numpy as np
import pandas as pd
import pytest
import record
import trainings
from in_process import run_script

from twotower.commands import conf
from twotower.commands.compose import compose
from twotower.commands.conf import choices
from twotower.config.exits import USER_INPUT
from twotower.evaluation.user_values import metric_name
from twotower.files.atomic import file_sha256

TINY = (
    "trainer=smoke",
    "initialization=random",
    "embedding_dim=8",
    "metrics.num_bootstrap=0",
    "trainer.probe_steps=0",
    "baselines=all_time",
    "index=flat_ip",
)
BENCHMARK = """# @package _global_
# twotower train benchmark=tiny
defaults: [override /data: table_files, override /split: temporal_share, override /metrics: published]
data: {{interactions_path: {log}}}
benchmark: {{name: tiny, num_items: 100, files: [{digest}]}}
"""


def in_process(words: Sequence[str]) -> None:
    done = run_script("train", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def measured_here(name: str, table: record.Table, row: record.Row, seed: int) -> record.Line:
    return record.measured_line(name, table, row, seed, table.measure(row, seed), 0.0, time.monotonic())


def clear_caches() -> None:
    leaderboard.contract_of.cache_clear()
    trainings.composed.cache_clear()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log and the contract of a benchmark on it."""
    rng, path = np.random.default_rng(0), tmp_path / "log.csv"
    users, items = rng.integers(0, 200, 3_000), rng.permutation(np.arange(3_000) % 100)
    frame = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": np.arange(1, 3_001) * 86_400})
    frame.to_csv(path, index=False)
    (tmp_path / "conf" / "benchmark").mkdir(parents=True)
    text = BENCHMARK.format(log=path, digest=file_sha256(path))
    (tmp_path / "conf" / "benchmark" / "tiny.yaml").write_text(text)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    monkeypatch.setattr(leaderboard, "RECIPES", (("tiny", leaderboard.DEFAULT, " ".join(TINY), 1),))
    monkeypatch.setattr(trainings, "train", in_process)
    monkeypatch.setattr(leaderboard, "OUTPUTS", tmp_path)
    monkeypatch.setattr(record, "MODULES", ("leaderboard",))
    monkeypatch.setattr(record, "measure", measured_here)
    clear_caches()
    return path


def test_missing_seeds_are_trained_under_the_contract_and_three_make_a_row(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results")]
    record.main(["--run", "leaderboard", "--seeds", "42", "43", *results])
    capsys.readouterr()
    record.main(["--plan", "leaderboard", *results])
    assert capsys.readouterr().out.count("leaderboard: tiny default, seed 44: missing, about") == 1
    first, second = record.read("leaderboard", tmp_path / "results")
    (folder,) = tmp_path.glob("leaderboard/seed42/tiny_default/*")
    result = json.loads((folder / "result.json").read_text())
    recall = result["metrics"]["test/recall_at_20"]
    assert first.figures["metrics"]["test/recall_at_20"] == round(recall, 5)
    assert (first.seed, second.seed, first.settings) == (42, 43, second.settings)
    assert (first.figures["run"], first.data) == (result["fingerprint"], result["data"]["fingerprint"])
    assert first.command == " ".join(["twotower train", "benchmark=tiny", *TINY])
    # 100 items and row 0 of 7 columns, and more; what is fitted for new items is not among them
    assert 101 * 7 < first.figures["parameters"] < 101 * 8 + 2_000
    assert first.figures["side_information"] == ["order", "times"]

    assert "| tiny | default | recall@20 / ndcg@20 | - | - | 2 of 3 seeds | 8 |" in leaderboard.show(
        [first, second]
    )
    third = dataclasses.replace(first, seed=44)
    shown = leaderboard.show([first, second, third])
    ours = [line.figures["metrics"]["test/recall_at_20"] for line in (first, second, third)]
    assert f"| - | {leaderboard.interval_of(ours)} / " in shown
    assert "| 3 | 8 |" in shown
    earlier = dataclasses.replace(first, figures=first.figures | {"contract": "of another day"})
    assert not leaderboard.is_accepted(earlier)
    # A line of other settings is stale, and so is one that is too old.
    table, rows = record.tables()["leaderboard"], leaderboard.rows()
    stale = dataclasses.replace(second, settings="others")
    assert [(todo.seed, todo.why) for todo in record.plan(table, rows, [first, stale])] == [
        (43, "stale"),
        (44, "missing"),
    ]
    assert len(record.plan(table, rows, [first, second, third], since="2999-01-01")) == 3

    (tmp_path / "stopped" / "seed44" / "tiny_default").mkdir(parents=True)
    stopped = shutil.copytree(folder, tmp_path / "stopped" / "seed44" / "tiny_default" / "a")
    (stopped / "result.json").unlink()
    told: list[Sequence[str]] = []
    monkeypatch.setattr(trainings, "train", told.append)
    (row,) = rows
    assert trainings.trained(row.name, row.words, 44, tmp_path / "stopped") == stopped
    assert told == [[f"resume={stopped}"]]
    contract = tmp_path / "conf" / "benchmark" / "tiny.yaml"
    contract.write_text(contract.read_text().replace("num_items: 100", "num_items: 99"))
    clear_caches()
    assert not leaderboard.is_accepted(first)


def test_a_changed_byte_of_the_data_is_refused_before_training(tmp_path: Path, log: Path) -> None:
    expected = file_sha256(log)
    log.write_text(log.read_text() + "\n")
    done = run_script("train", "benchmark=tiny", *TINY, f"output_root={tmp_path}")
    assert done.returncode == USER_INPUT
    assert f"its SHA-256 is {file_sha256(log)}, expected {expected}" in done.stderr
    assert not list(tmp_path.glob("default/*"))


def test_the_temporal_benchmark_on_the_bundled_log(tmp_path: Path) -> None:
    words = ("benchmark=online_retail_temporal", *TINY, "baselines=none", "objective.epoch_requests=1000")
    done = run_script("train", *words, "new_items=by_tower", f"output_root={tmp_path}", "console=quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*/*/result.json")
    result = json.loads(path.read_text())
    assert result["benchmark"]["name"] == "online_retail_temporal"
    audit = result["data"]["audit"]
    assert result["data"]["items"] == 3_659
    assert (audit["valid_from"][:10], audit["test_from"][:10]) == ("2011-10-14", "2011-11-11")
    assert 0.02 < result["metrics"]["test/recall_at_20"] < 0.2
    assert result["evaluated"]["test"] == {"users": 1_445, "targets": 31_805}


def test_the_interval_of_a_mean_by_hand() -> None:
    # sd .01, t(.975, 2) = 4.3027, so half the interval is 4.3027 x .01 / 3^1/2 = .0248
    assert leaderboard.interval_of([0.30, 0.31, 0.32]) == "0.3100 [0.2852, 0.3348]"
    assert leaderboard.interval_of([0.30]) == "0.3000"


def test_a_claim_is_read_off_the_head_comment() -> None:
    found = leaderboard.claim_of(
        "# @package _global_\n# A split: a model. Claimed on other: R@20 .1882, N@20\n"
        "# .1584, chosen on test (somebody/BSL, log of 2022: lr 1e-4).\nname: x"
    )
    assert found == leaderboard.Claim(
        {"test/uncapped_recall_at_20": 0.1882, "test/ndcg_at_20": 0.1584},
        "somebody/BSL, log of 2022",
        True,
        "other",
    )
    assert leaderboard.claim_of("# no words of that\n") is None
    of_ours = {path: path.read_text() for path in choices("experiment").values()}
    for path, text in of_ours.items():
        claim = leaderboard.claimed(path.stem)
        assert ("Claimed" in text) == (claim is not None)
        # The recipe measures what is claimed as it is claimed.
        kinds = compose("train", [f"experiment={path.stem}"])["metrics"]["kinds"] if claim else {}
        assert {metric_name(key) for key in (claim.figures if claim else ())} <= set(kinds)
