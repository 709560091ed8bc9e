"""The gate by hand: the paired test over the same users, what it lets pass and what it refuses."""

import os
import signal
from types import SimpleNamespace

import pandas as pd
import pytest
from forks import Fork

from twotower.config.errors import InputError
from twotower.experiments.runs.result import Result, write_result
from twotower.files.part_files import new_folder
from twotower.files.plain_values import yaml_text
from twotower.serving.nightly.publish_night import evaluate_gate, merged, nightly

WAYS = {"coverage": True, "recall": True, "rank": False, "novelty": None}


def run(folder, values, users=None, status="ok", data="the data", metric="recall_at_20", of_all=None):
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml_text({"trainer": {"monitor": "valid/recall_at_20"}}))
    users = list(range(len(values))) if users is None else users
    pd.DataFrame({"user_id": users, metric: [float(value) for value in values]}).to_parquet(
        folder / "per_user.parquet"
    )
    metrics = {f"test/{key}": sum(values) / len(values) for key in (metric, of_all) if key}
    known = Result(status="failed").update(
        status=status, data={"fingerprint": data}, metrics=metrics, higher_is_better=WAYS
    )
    write_result(folder, known)
    return folder


def test_six_equally_worse_users_are_the_smallest_significant_number(tmp_path):
    """Of 2^6 sign vectors two reach a sum of -6 d: p = 2 / 64 = .03125; of 2^5 two: p = .0625."""
    old = run(tmp_path / "old", [1.0] * 6 + [0.5])
    worse = run(tmp_path / "worse", [0.5] * 6 + [0.5])
    result = evaluate_gate(old, worse)
    assert result.p_value == pytest.approx(2 / 64)
    assert (result.passed, result.num_users, result.num_differing) == (False, 7, 6)
    assert (result.old, result.new) == (pytest.approx(6.5 / 7), 0.5)
    assert result.message().startswith("recall_at_20 0.9286 -> 0.5000, difference -0.4286 [")
    assert result.message().endswith("p 0.0312, 7 users of whom 6 differ: significantly worse")
    assert evaluate_gate(old, worse, alpha=0.03).passed
    almost = run(tmp_path / "almost", [0.5] * 5 + [1.0, 0.5])
    result = evaluate_gate(old, almost)
    assert (result.p_value, result.passed) == (pytest.approx(2 / 32), True)


def test_a_loss_that_is_accepted_passes_and_a_larger_one_of_few_users_does_not(tmp_path):
    old = run(tmp_path / "old", [1.0] * 10)
    worse = run(tmp_path / "worse", [0.9] * 10)  # significant
    few = run(tmp_path / "few", [1.0] * 9 + [0.0])  # not significant
    for new, max_loss, passes in [
        (worse, None, False),
        (worse, 0.11, True),
        (worse, 0.09, False),
        (few, None, True),
        (few, 0.11, True),
        (few, 0.0, False),
    ]:
        assert evaluate_gate(old, new, max_loss=max_loss).passed == passes
    assert evaluate_gate(few, old, max_loss=0.0).passed
    assert evaluate_gate(old, few, max_loss=0.05).message().endswith("worse by more than max_loss=0.05")
    assert evaluate_gate(old, few, max_loss=0.2).message().endswith("worse by at most max_loss=0.2")
    old, new = (run(tmp_path / f"rank {rank}", [rank] * 9, metric="rank_at_20") for rank in (3, 5))
    assert not evaluate_gate(old, new, "rank_at_20", max_loss=1.0).passed  # lower is better
    assert evaluate_gate(new, old, "rank_at_20", max_loss=1.0).passed


def test_better_and_equal_towers_pass(tmp_path):
    old, new = run(tmp_path / "old", [0.0] * 9), run(tmp_path / "new", [1.0] * 9)
    assert evaluate_gate(old, new).passed
    assert evaluate_gate(old, new).p_value < 0.05
    same = evaluate_gate(old, old)
    assert (same.passed, same.p_value, same.low, same.high) == (True, 1.0, 0.0, 0.0)


def test_the_direction_of_the_metric_is_respected(tmp_path):
    old = run(tmp_path / "old", [3.0] * 9, metric="rank_at_20")
    new = run(tmp_path / "new", [5.0] * 9, metric="rank_at_20")
    assert not evaluate_gate(old, new, "rank_at_20").passed
    assert evaluate_gate(new, old, "rank_at_20").passed


def test_users_are_paired_by_id(tmp_path):
    old = run(tmp_path / "old", range(9))
    new = run(tmp_path / "new", range(9)[::-1], users=range(9)[::-1])
    assert evaluate_gate(old, new).num_differing == 0


def test_incomparable_runs_are_refused(tmp_path):
    old = run(tmp_path / "old", [1.0, 2.0])
    for name, other, metric, message in [
        ("data", {"data": "other data"}, None, "evaluated on different data"),
        ("users", {"users": [0, 7]}, None, "users: other users .also 2, but not the same. than .*old"),
        ("failed", {"status": "failed"}, None, "failed: this run failed; finish it with"),
        (
            "metric",
            {},
            "ndcg_at_20",
            "ndcg_at_20: .* no metric of this name with a preferred direction; did you mean 'recall_at_20'",
        ),
        ("way", {}, "novelty_at_20", "metric=novelty_at_20: .*way has no metric of this name"),
        (
            "column",
            {"of_all": "coverage_at_20"},
            "coverage_at_20",
            "has no column coverage_at_20; a figure of",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            evaluate_gate(old, run(tmp_path / name, [1.0, 2.0], **other), metric)


def test_changes_of_another_class_replace_its_keys():
    before = {"_target_": "a.Pq", "codes": 8, "nlist": 4}
    assert merged(before, {"codes": 9}) == {"_target_": "a.Pq", "codes": 9, "nlist": 4}
    assert merged({"index": before}, {"index": {"_target_": "a.Flat"}}) == {"index": {"_target_": "a.Flat"}}
    assert merged(None, {"_target_": "a.Flat"}) == {"_target_": "a.Flat"}


def settings_in(nights):
    return {"nights": str(nights), "changes": {}, "metric": None, "trusted_packages": []}


def test_a_hidden_test_split_has_no_gate_unless_the_new_window_is_read(tmp_path):
    folder = run(tmp_path / "old", [1.0])
    (folder / "config.yaml").write_text(yaml_text({"test": "hidden"}))
    with pytest.raises(InputError, match="test=read evaluates them there"):
        nightly(settings_in(tmp_path), SimpleNamespace(run=lambda: folder))


def test_a_night_deletes_what_a_killed_night_has_exported(tmp_path):
    def export():
        with new_folder(tmp_path / "nights" / "2026-05-30"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert Fork(export, tmp_path / "said").wait() == -signal.SIGKILL
    assert len(list((tmp_path / "nights").iterdir())) == 2
    with pytest.raises(InputError, match="not a run"):
        nightly(settings_in(tmp_path / "nights"), SimpleNamespace(run=lambda: tmp_path))
    assert [path.name for path in (tmp_path / "nights").iterdir()] == [".night.lock"]
