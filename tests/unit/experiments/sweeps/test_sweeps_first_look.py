"""A first look: which recipes on whom, in which order, what is best; stopped when its time is over."""

import dataclasses
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_search import MONITOR, request_of, settings_of

from twotower.config.errors import InputError
from twotower.config.problems import Mistakes, Problem
from twotower.experiments.console.console import Console
from twotower.experiments.console.console_tables import recipes_table
from twotower.experiments.console.sweep_summary import SweepSummary
from twotower.experiments.launchers.launcher import JobError, Launcher, Payload
from twotower.experiments.runs.result import Result, Status, write_result
from twotower.experiments.runs.result_parts import Training
from twotower.experiments.sweeps import first_look
from twotower.experiments.sweeps.first_look import FirstLook, share_for
from twotower.experiments.sweeps.schedule import run_jobs
from twotower.experiments.sweeps.search import make_pruning_callback
from twotower.experiments.sweeps.sweep import Job

ROLLING = {"_target_": "twotower.data.splits.rolling.Rolling", "num_windows": 3}
RECIPES = {"default": "", "wide": "embedding_dim=128", "flat": "loss=bpr x=1", "same": "embedding_dim=128"}


def data_of(asked: int, interactions: int) -> Any:
    return SimpleNamespace(
        users=range(9), valid=SimpleNamespace(users=range(asked)), audit={"interactions": interactions}
    )


def look_of(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: int = 20_000,
    monitor: str = MONITOR,
    events: Any = None,
    num_workers: int = 1,
    **config: Any,
) -> FirstLook:
    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        if "bad=1" in overrides:
            raise InputError("data:\n  there are no times")
        if "history=sasrec" in overrides and "~history.power" not in overrides:
            raise Mistakes("", [Problem("history.power", "unknown key; none are valid here")])
        settings = settings_of([text for text in overrides if "=" in text]) | {"split": ROLLING}
        return {"data": {"events": events}} | settings

    monkeypatch.setattr(first_look, "build_job_dataset", lambda settings: data_of(asked, 10_000_000))
    made = FirstLook.Config(recipes=RECIPES | config.pop("recipes", {}), **config)
    context = request_of(folder, {}, compose)
    found = made.build(dataclasses.replace(context, monitor=monitor, num_workers=lambda: num_workers))
    assert isinstance(found, FirstLook)
    return found


def result_of(value: float, status: Status = "ok") -> Result:
    metrics = {} if status == "pruned" else {MONITOR: value}
    curves = {MONITOR: [value / 2, value]} if status == "pruned" else {}
    baselines = {"ease": {MONITOR: 0.25}, "popularity": {MONITOR: 0.1}}
    return Result(
        status=status, metrics=metrics, curves=curves, baselines=baselines, training=Training(monitor=MONITOR)
    )


def sampled(look: FirstLook, **values: Result) -> None:
    for name, result in values.items():
        job = look.next([])
        assert job is not None
        assert job.name == f"sample-{name}"
        job.folder.mkdir()
        write_result(job.folder, result)
        look.ended(job, result)


@pytest.mark.parametrize(
    ("asked", "interactions", "share"),
    [
        (1_000, 10_000_000, 1.0),
        (20_000, 10_000_000, 0.1),
        (6_000, 1_000_000, 0.34),  # two digits, upwards: 2,000 of them are to be asked
        (900_000, 20_000_000, 0.01),  # as many interactions
        (4_000, 390_000, 1.0),  # a sample of more than half saves too little
    ],
)
def test_the_share_is_larger_for_smaller_data(asked: int, interactions: int, share: float) -> None:
    assert share_for(data_of(asked, interactions)) == share


def test_recipes_run_on_the_sample_and_the_best_on_all_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = look_of(tmp_path, monkeypatch, num_whole=2, recipes={"odd": "bad=1"})
    assert look.left_out == {"same": "equals wide", "odd": "data: there are no times"}
    assert (
        look.notes()[0]
        == "first look: 3 recipes on 0.1 of users, then the best on all users (9 users, 20 minutes)"
    )
    assert look.num_jobs == 5
    first = look.next([])
    assert first is not None
    assert first.overrides == ("split.user_share=0.1", "trainer.refit=false")
    assert first.trial is not None
    assert first.trial["seconds"] == pytest.approx(20 * 60 / 2 / 3, rel=0.01)
    look.ended(first, result_of(0.1))
    second = look.next([])
    assert second is not None
    look.ended(second, result_of(0.3, "pruned"))
    third = look.next([])
    assert third is not None
    assert look.next([third]) is None  # the best recipes are not known yet
    look.ended(third, result_of(0.2))
    wide, flat = look.next([]), look.next([])
    assert wide is not None
    assert flat is not None
    assert (wide.name, wide.overrides, wide.trial) == ("wide", ("embedding_dim=128",), None)
    assert (flat.name, flat.overrides) == ("flat", ("loss=bpr", "x=1"))
    assert look.next([wide, flat]) is None


def test_the_best_recipe_of_the_sample_is_replaced_only_on_all_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = look_of(tmp_path, monkeypatch)
    assert look.best() is None
    sampled(look, default=result_of(0.1), wide=result_of(0.3), flat=result_of(0.2))
    by_name = {recipe.name: recipe for recipe in look.recipes}
    look.ended(by_name["flat"].jobs["whole"], result_of(0.25))
    look.ended(by_name["wide"].jobs["whole"], None)  # stopped: what the sample said of it stands
    assert look.best() == (by_name["wide"], "sample")
    look.ended(by_name["wide"].jobs["whole"], result_of(0.22))
    assert look.best() == (by_name["flat"], "whole")
    look.ended(by_name["flat"].jobs["whole"], result_of(0.25, "index_rejected"))
    assert look.best() == (by_name["wide"], "whole")


def test_the_summary_has_the_figures_the_baseline_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = look_of(tmp_path, monkeypatch)
    sampled(look, default=result_of(0.1), wide=result_of(0.3), flat=result_of(0.0, "failed"))
    found = look.summary()["first_look"]
    assert [row["recipe"] for row in found["recipes"]] == ["wide", "default", "flat"]
    assert [row["sample"] for row in found["recipes"]] == [0.3, 0.1, 0.0]
    assert found["baselines"] == {"ease": {"sample": 0.25, "whole": None}}
    assert found["best"]["command"] == "twotower train embedding_dim=128"
    assert (found["best"]["on"], found["best"]["behind_baseline"]) == ("sample", False)
    lines = "\n".join(SweepSummary(tmp_path, found["metric"], [], first_look=found).lines())
    assert all(
        text in lines for text in ("wide  valid recall@20 0.3000", "on the sample", found["best"]["command"])
    )
    assert recipes_table(found).row_count == 4


def test_the_best_recipes_run_on_all_windows_and_their_mean_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = "mean_valid/recall_at_20"
    look = look_of(tmp_path, monkeypatch, monitor=mean, num_whole=2)
    newest = ("split.window=3", f"trainer.monitor={MONITOR}")
    sampled(look, default=result_of(0.1), wide=result_of(0.3), flat=result_of(0.2))
    for name, value in (("wide", 0.3), ("flat", 0.25)):
        job = look.next([])
        assert job is not None
        assert (job.name, job.overrides[-2:]) == (name, newest)
        look.ended(job, result_of(value))
    for name, value in (("wide", 0.1), ("flat", 0.2)):
        job = look.next([])
        assert job is not None
        assert (job.name, newest[0] in job.overrides) == (f"windows-{name}", False)
        result = result_of(value)
        summary = {"metrics": {MONITOR: {"mean": value, "sd": 0.1}}}
        windows = [
            {"metrics": {MONITOR: value}, "baselines": {"ease": {MONITOR: each}, "popularity": {}}}
            for each in (0.25, 0.125, 0.375)
        ]
        before = look.summary()["first_look"]
        assert before["recipes"][1]["note"] == "on the newest window only"
        job.folder.mkdir()
        result = result.update(windows_summary=summary, windows=windows)
        write_result(job.folder, result)
        look.ended(job, result)
    assert look.next([]) is None
    found = look.summary()["first_look"]
    assert found["stages"] == {"sample": "0.1 of users", "whole": "all users", "windows": "3 windows"}
    assert [(row["recipe"], row["windows"]) for row in found["recipes"]] == [
        *[("flat", 0.2), ("wide", 0.1), ("default", None)]
    ]
    assert (found["best"]["recipe"], found["best"]["on"], found["metric"]) == ("flat", "windows", mean)
    assert found["baselines"] == {"ease": {"sample": 0.25, "whole": None, "windows": 0.25}}
    assert found["best"]["behind_baseline"]
    assert recipes_table(found).row_count == 4


def test_keys_of_another_choice_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = look_of(
        tmp_path, monkeypatch, recipes={"order": "history=sasrec", "odd": "history=sasrec history.power=2"}
    )
    assert look.recipes[-1].texts == ("history=sasrec", "~history.power")
    assert look.left_out["odd"] == "history.power: unknown key; none are valid here"  # its own mistake


@pytest.mark.parametrize(("num_workers", "turns"), [(1, 4), (2, 2), (3, 2), (8, 1)])
def test_recipes_that_run_at_once_share_the_time_equally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int, turns: int
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    recipes = {"tall": "embedding_dim=256"}
    look = look_of(tmp_path, monkeypatch, num_workers=num_workers, minutes=20, recipes=recipes)
    assert len(look.recipes) == 4
    running: list[Job] = []
    for _ in range(min(num_workers, 4)):
        job = look.next(running)
        assert job is not None
        running.append(job)
    assert (running[0].trial or {})["seconds"] == 600 / turns


def test_events_of_histories_become_examples_in_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "view", "2", "add to cart"
    events = {"buy": {"role": "positive"}, **{name: {"role": "history"} for name in names}}
    overrides = (
        "data.events.view.role=train",
        "data.events.view.weight=0.2",
        "data.events.2.role=train",
        "data.events.2.weight=0.2",
        "data.events={add to cart: {role: train, weight: 0.2}}",
    )
    recipes = look_of(tmp_path, monkeypatch, events=events).recipes
    assert recipes[-1].name == "events"
    assert recipes[-1].texts == overrides
    mine = look_of(tmp_path, monkeypatch, events=events, recipes={"events": "embedding_dim=8"}).recipes
    assert [each.texts for each in mine if each.name == "events"] == [("embedding_dim=8",)]
    others = look_of(tmp_path, monkeypatch, events={"view": {"role": "train"}}).recipes
    assert "events" not in [each.name for each in others]


def test_a_first_look_refuses_varied_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot vary embedding_dim"):
        FirstLook.Config(recipes=RECIPES).build(request_of(tmp_path, {"embedding_dim": "16,32"}))


def test_a_recipe_cannot_set_where_runs_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"sweep.recipes.odd: name sets where runs are stored"):
        look_of(tmp_path, monkeypatch, recipes={"odd": "name=x"})


def test_a_job_stops_after_its_share_of_the_time() -> None:
    assert make_pruning_callback({"seconds": -1.0})(0, None)
    assert not make_pruning_callback({"seconds": 1e6})(3, 0.5)


class Endless(Launcher):
    """Its jobs go on until it is stopped."""

    num_workers = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(self.Config(), "", folder)
        self.stopped = threading.Event()

    def run(self, payload: Payload) -> int:
        self.stopped.wait()
        raise JobError("stopped")

    def stop(self) -> None:
        self.stopped.set()


def test_running_jobs_are_stopped_at_the_time_limit_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = look_of(tmp_path, monkeypatch)
    monkeypatch.setattr(look, "is_over", lambda: bool(running))
    running: list[Job] = []
    ask = look.next

    def next_of(others: Collection[Job]) -> Job | None:
        found = ask(others) if not running else None
        running.extend([found] if found else [])
        return found

    monkeypatch.setattr(look, "next", next_of)
    with Endless(tmp_path) as launcher:
        (outcome,) = run_jobs(look, launcher, Console())
    assert (outcome.name, outcome.status) == ("sample-default", "interrupted")
    assert not (tmp_path / "sample-default" / "result.json").exists()
