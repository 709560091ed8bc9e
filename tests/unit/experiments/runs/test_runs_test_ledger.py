"""The ledger of looks at test splits: what counts, what survives a kill, and the optimism of the best."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forks import Fork

from twotower.experiments.compare.run_frame import read_runs
from twotower.experiments.runs.result import Data, Result, Training, write_result
from twotower.experiments.runs.run import Run
from twotower.experiments.runs.run_files import PER_USER, PER_USER_BASELINES
from twotower.experiments.runs.test_ledger import (
    LEDGER,
    add_look,
    count_looks,
    expected_maximum,
    look_notes,
    read_looks,
    standard_error,
)

RECALL = "recall_at_20"
SETTINGS = {"data": {"_target_": "a.Source"}, "split": {"_target_": "a.Temporal"}}


def write_values(folder: Path, towers: Any, **baselines: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    users = range(len(towers))
    pd.DataFrame({"user_id": users, RECALL: towers}).to_parquet(folder / PER_USER)
    frames = [
        pd.DataFrame({"user_id": users, RECALL: values, "baseline": name})
        for name, values in baselines.items()
    ]
    none = pd.DataFrame({"user_id": [], RECALL: [], "baseline": []})
    pd.concat(frames or [none]).to_parquet(folder / PER_USER_BASELINES)
    return folder


def result_of(seed: int = 1, data: str = "split 1") -> Result:
    return Result(
        status="ok",
        seed=seed,
        data=Data(fingerprint=data),
        training=Training(monitor=f"valid/{RECALL}"),
        metrics={f"test/{RECALL}": 0.5, "test/recall_at_10": 0.4, f"valid/{RECALL}": 0.6},
        higher_is_better={"recall": True},
    )


def look(root: Path, name: str, looked: bool = True, loss: str = "a", ks: int = 20, **values: Any) -> Any:
    """Let a run with settings end in `root`; return what it says of its test split."""
    folder = root / "default" / name
    if not folder.exists():
        write_values(folder, [0.0, 1.0, 1.0, 0.0], popularity=[0.0, 1.0, 0.0, 0.0])
    run = Run(folder, {**SETTINGS, "loss": loss, "metrics": {"ks": [ks]}})
    run.looked_at_test = looked
    return add_look(root, run, result_of(**values))


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (2, 0.5642), (3, 0.8463), (40, 2.1608)])
def test_the_expected_maximum_of_normal_variables(count: int, expected: float) -> None:
    assert expected_maximum(count) == pytest.approx(expected, abs=5e-5)


def test_looks_are_configurations_with_their_seeds_on_one_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "twotower")
    first = look(tmp_path, "first")
    assert (first.configurations, first.looks, first.optimism) == (1, 1, 0)
    assert caplog.messages == []
    look(tmp_path, "resumed", looked=False)  # it reused the quality of an equal run
    look(tmp_path, "first")  # killed after its look, and resumed
    assert len(read_looks(tmp_path / LEDGER)) == 1
    look(tmp_path, "rerun")
    look(tmp_path, "evaluate", ks=10)  # other metrics of the same configuration
    look(tmp_path, "other seed", seed=2)
    look(tmp_path, "elsewhere", data="split 2", loss="c")
    found = look(tmp_path, "other", loss="b")
    # Differences from popularity: 0, 0, 1, 0, of variance 1/4; the standard error of one side is sqrt(1/32).
    assert (found.configurations, found.looks) == (2, 3)
    assert found.optimism == pytest.approx(0.5642 / 32**0.5, abs=1e-5)
    assert caplog.messages[-1] == (
        "test split: 1 configuration looked at it before; the best of 2 is expected to be 0.0997 too good in "
        "recall@20"
    )
    entry = read_looks(tmp_path / LEDGER)[0]
    assert (entry.run, entry.source, entry.split) == ("default/first", "Source", "Temporal")
    assert entry.figures == {f"test/{RECALL}": 0.5}
    (note,) = look_notes([str(tmp_path / "default" / "first")] * 2, [result_of(), result_of(seed=2)])
    assert note == (
        "test split split 1 (Source, Temporal): 2 configurations looked at it (3 looks); the best of 2 is "
        "expected to be 0.0997 too good in recall@20"
    )


def test_towers_that_are_measured_again_are_one_configuration_and_towers_of_another_filter_are_two(
    tmp_path: Path,
) -> None:
    def end(name: str, filter_seen: bool, warm_start: Any = None, **origin: str) -> Any:
        settings = SETTINGS | {"metrics": {"filter_seen": filter_seen}}
        run = Run.create(tmp_path / name, settings | ({"warm_start": warm_start} if warm_start else {}))
        write_values(run.folder, [0.0, 1.0], popularity=[0.0, 1.0])
        run.looked_at_test = True
        result = result_of().update(**origin)
        found = add_look(tmp_path, run, result)
        assert found is not None
        write_result(run.folder, result)
        return found.configurations

    filtered, epochs = str(tmp_path / "filtered"), {"run": "x", "epochs": 2}
    assert end("filtered", True) == 1
    assert end("evaluated", False, training_reused_from=filtered) == 1
    assert end("rebuilt", True, {"run": filtered, "epochs": 0}, bundle_rebuilt_from=filtered) == 1
    assert end("unfiltered", False) == 2
    assert end("continued", True, epochs) == 3
    continued = str(tmp_path / "continued")
    assert end("rebuilt again", True, {"run": continued, "epochs": 0}, bundle_rebuilt_from=continued) == 3
    twice = str(tmp_path / "rebuilt again")
    assert end("rebuilt twice", False, {"run": twice, "epochs": 0}, bundle_rebuilt_from=twice) == 3
    moved = "of another working folder/rebuilt again"
    assert end("rebuilt elsewhere", True, {"run": moved, "epochs": 0}, bundle_rebuilt_from=moved) == 3

    rows = read_runs([tmp_path / name for name in ("filtered", "rebuilt", "evaluated", "unfiltered")])
    same, *others = rows["configuration"]
    assert [each == same for each in others] == [True, False, False]  # of other metrics, and of other towers
    assert others[1] != others[2]


def test_a_torn_line_costs_no_other_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    look(tmp_path, "first")
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert look(tmp_path, "other", loss="b").configurations == 2
    assert path.read_bytes().startswith(whole + whole[:40] + b"\n")
    assert [each.run for each in read_looks(path)] == ["default/first", "default/other"]
    assert f"{path}: line 2 is damaged and is not counted; delete the line" in caplog.messages


@pytest.mark.parametrize("damage", [lambda path: path.mkdir(), lambda path: (path.parent / ".cache").touch()])
def test_an_unusable_ledger_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    damage(tmp_path / LEDGER)
    assert look(tmp_path, "first") is None
    assert str(tmp_path / LEDGER) in caplog.text
    assert f"twotower evaluate run={tmp_path}/default/first adds this look" in caplog.text


def test_processes_append_at_the_same_time(tmp_path: Path) -> None:
    def work(name: str) -> None:
        for number in range(15):
            look(tmp_path, name, loss=f"{name}{number}")

    forks = [Fork(lambda name=name: work(name), tmp_path / f"{name}.txt") for name in "ab"]
    assert [fork.wait() for fork in forks] == [0, 0], (tmp_path / "a.txt").read_text()
    looks = read_looks(tmp_path / LEDGER)
    assert count_looks(looks, "split 1", f"test/{RECALL}").configurations == len(looks) == 30


def test_standard_errors_by_hand(tmp_path: Path) -> None:
    towers, good, bad = [1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]
    folder = write_values(tmp_path, towers, good=good, bad=bad)
    assert standard_error(folder, RECALL, True) == pytest.approx((0.25 / 4 / 2) ** 0.5)
    assert standard_error(folder, RECALL, False) == pytest.approx((1 / 3 / 4 / 2) ** 0.5)
    assert standard_error(folder, "auc", True) is None
    assert standard_error(write_values(tmp_path, towers), RECALL, True) == pytest.approx(12**-0.5)


def test_the_best_of_forty_equal_configurations_is_as_optimistic_as_stated(tmp_path: Path) -> None:
    """Each user has a level of their own; towers and baseline add errors of the same size to it."""
    generator = np.random.default_rng(0)
    num_users, repetitions = 200, 400
    level = generator.normal(0.3, 0.2, num_users)

    def values(*shape: int) -> Any:
        return level + generator.normal(0, 0.1, (*shape, num_users))

    test, fresh = (values(repetitions, 40).mean(axis=-1) for _ in range(2))
    best = test.argmax(axis=1)[:, None]
    excess = float((np.take_along_axis(test, best, 1) - np.take_along_axis(fresh, best, 1)).mean())
    errors = [
        standard_error(write_values(tmp_path, values(), ease=values()), RECALL, True) for _ in range(20)
    ]
    assert expected_maximum(40) * float(np.median(errors)) == pytest.approx(excess, rel=0.05)
