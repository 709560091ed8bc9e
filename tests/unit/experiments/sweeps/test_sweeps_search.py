from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import DIM, MONITOR, RATE, VARY, quality, request_of, result_of, run, settings_of

from twotower.config.errors import InputError
from twotower.experiments.runs.folder_name import trial_name
from twotower.experiments.runs.result import Result, write_result
from twotower.experiments.sweeps.search import Search, make_pruning_callback
from twotower.experiments.sweeps.sweep import Job


def plan_of(search: Search.Config, folder: Path, **changes: Any) -> Search:
    plan = search.build(request_of(folder, **changes))
    assert isinstance(plan, Search)
    return plan


def found(plan: Search) -> dict[str, Any]:
    return dict(plan.summary()["search"])


def test_a_search_ends_with_its_number_of_trials_and_the_best_first(tmp_path: Path) -> None:
    plan = plan_of(Search.Config(num_trials=12, num_startup=4), tmp_path)
    jobs = run(plan)
    assert [job.name for job in jobs] == [
        trial_name(number, job.overrides) for number, job in enumerate(jobs)
    ]
    assert len(jobs) == 12
    assert plan.num_jobs == 12
    summary = found(plan)
    best = summary["best"]
    assert best["value"] == max(map(quality, jobs))
    assert best["command"] == f"twotower train {' '.join(best['overrides'])}"
    assert summary["states"] == {"complete": 12}
    again = plan_of(Search.Config(num_trials=12, num_startup=4), tmp_path)
    assert [job.name for job in again.done_before()] == [job.name for job in jobs]
    assert again.next([]) is None


LOWER = "valid/gini_at_20"


def of_gini(texts: Sequence[str]) -> dict[str, Any]:
    settings = settings_of(texts)
    return settings | {
        "metrics": settings["metrics"]
        | {"kinds": {"gini": {"_target_": "twotower.evaluation.metrics.gini.Gini"}}}
    }


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_search_optimizes_the_monitor_in_its_direction(tmp_path: Path, pruner: Any) -> None:
    request = replace(request_of(tmp_path, compose=of_gini), monitor=LOWER)
    plan = Search.Config(num_trials=3, num_startup=2, pruner=pruner).build(request)
    assert isinstance(plan, Search)
    for value in (0.5, 0.25, 0.75):
        job = plan.next([])
        assert job is not None
        pruned = None if job.trial is None else job.trial["direction"]
        assert pruned == (None if pruner == "none" else "minimize")
        plan.ended(job, Result(status="ok", metrics={LOWER: value}))
    summary = found(plan)
    assert (summary["metric"], summary["direction"]) == (LOWER, "minimize")
    assert summary["best"]["value"] == 0.25


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_restarted_search_proposes_the_same_trials(tmp_path: Path, sampler: Any) -> None:
    whole = run(
        plan_of(Search.Config(sampler=sampler, num_trials=9, num_startup=3, seed=7), tmp_path / "a" / "s")
    )
    run(
        plan_of(Search.Config(sampler=sampler, num_trials=9, num_startup=3, seed=7), tmp_path / "b" / "s"),
        num=5,
    )
    rest = run(
        plan_of(Search.Config(sampler=sampler, num_trials=9, num_startup=3, seed=7), tmp_path / "b" / "s")
    )
    assert [job.overrides for job in rest] == [job.overrides for job in whole[5:]]
    other = run(
        plan_of(Search.Config(sampler=sampler, num_trials=9, num_startup=3, seed=8), tmp_path / "c" / "s"),
        num=1,
    )
    assert other[0].overrides != whole[0].overrides


def test_trials_of_a_killed_process_are_run_again(tmp_path: Path) -> None:
    search = Search.Config(num_trials=2)
    first = plan_of(search, tmp_path)
    jobs = [first.next([]), first.next([])]
    plan = plan_of(search, tmp_path)
    assert run(plan) == jobs
    assert found(plan)["states"] == {"complete": 2}


def test_states_of_trials_follow_the_status_of_jobs(tmp_path: Path) -> None:
    plan = plan_of(Search.Config(sampler="random", num_trials=5), tmp_path)
    results = [
        Result(status="ok", metrics={MONITOR: 0.2}),
        Result(status="index_rejected", metrics={MONITOR: 0.9}),
        Result(status="failed", error="ValueError: no"),
        Result(status="ok"),
        None,
    ]
    for result in results:
        job = plan.next([])
        assert job is not None
        plan.ended(job, result)
    summary = found(plan)
    rows = summary["trials"]
    assert [row["state"] for row in rows] == ["complete", "complete", "fail", "fail", "fail"]
    assert [row["error"] for row in rows[2:]] == [
        "ValueError: no",
        f"its result has no number for {MONITOR}",
        "died without a result",
    ]
    assert summary["best"]["job"].startswith("0000_")  # a trial with a rejected index is not the best


def test_failed_trials_are_retried_once(tmp_path: Path) -> None:
    search = Search.Config(sampler="random", num_trials=3)
    plan = plan_of(search, tmp_path)
    jobs = [job for _ in range(3) if (job := plan.next([])) is not None]
    for job, status in zip(jobs, ["ok", "failed", "ok"], strict=True):
        plan.ended(job, result_of(job, status))
    assert plan_of(search, tmp_path).next([]) is None
    plan = plan_of(search, tmp_path, retry_failed=True)
    assert [job.name[:5] for job in plan.done_before()] == ["0000_", "0002_"]
    assert plan.num_jobs == 3
    again = plan.next([])
    assert again is not None
    assert (again.name, again.overrides) == (jobs[1].name, jobs[1].overrides)
    assert plan.next([again]) is None
    plan.ended(again, result_of(again))
    assert found(plan)["states"] == {"complete": 3}
    assert plan.next([]) is None


def test_a_trial_whose_window_failed_is_retried(tmp_path: Path) -> None:
    search = Search.Config(sampler="random", num_trials=2)
    first, second = run(plan_of(search, tmp_path))
    second.folder.mkdir(parents=True)
    window = {"status": "failed", "folder": "windows/1"}
    write_result(second.folder, result_of(second).update(windows=[window]))
    assert plan_of(search, tmp_path).next([]) is None
    plan = plan_of(search, tmp_path, retry_failed=True)
    assert [job.name for job in plan.done_before()] == [first.name]
    assert [job.name for job in run(plan)] == [second.name]  # once, although its result is the same


def test_a_search_without_varied_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no key varies"):
        plan_of(Search.Config(), tmp_path / "sweep", vary={})


def test_all_invalid_corners_are_reported_at_once(tmp_path: Path) -> None:
    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        settings = settings_of(overrides)
        if settings[DIM] == "128":
            raise InputError("embedding_dim: too wide")
        if float(settings[RATE]) > 0.5:
            raise InputError("optimizer.learning_rate: too high")
        return settings

    with pytest.raises(
        InputError, match=r"3 mistakes in the corners of this search; nothing was run"
    ) as error:
        plan_of(Search.Config(), tmp_path / "sweep", compose=compose)
    assert "too wide" in str(error.value)
    assert "too high" in str(error.value)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("search", "changes", "words"),
    [
        (
            Search.Config(),
            {"vary": VARY | {DIM: "16,32"}},
            r"sweep\.vary\.embedding_dim was '16,32,64,128', is '16,32'",
        ),
        (Search.Config(), {"vary": VARY | {"loss": "a,b"}}, r"sweep\.vary\.loss was 'not set', is 'a,b'"),
        (
            Search.Config(),
            {"compose": lambda texts: settings_of(texts, 5)},
            r"trainer\.max_epochs was 9, is 5",
        ),
    ],
)
def test_a_study_with_other_settings_is_refused(
    tmp_path: Path, search: Search.Config, changes: dict[str, Any], words: str
) -> None:
    run(plan_of(Search.Config(), tmp_path), num=1)
    with pytest.raises(InputError, match=words):
        plan_of(search, tmp_path, **changes)


DAMAGES = {
    "no journal": lambda lines: [b"this is no study\n", b"at all\n"],
    "not JSON": lambda lines: [*lines[:3], b"{\n", *lines[3:]],
    "another key": lambda lines: [line.replace(b'"overrides"', b'"overhides"') for line in lines],
    "cut": lambda lines: [*lines[:-1], lines[-1][:-20]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_named(tmp_path: Path, damage: str) -> None:
    search = Search.Config(sampler="random", num_trials=4)
    run(plan_of(search, tmp_path), num=2)
    journal = tmp_path / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(DAMAGES[damage](lines)))
    with pytest.raises(InputError, match=r"study\.journal: damaged"):
        plan_of(search, tmp_path)
    if damage == "cut":
        journal.write_bytes(b"".join(lines[:-1]))  # as the message says
        plan = plan_of(search, tmp_path)
        assert [trial.state.name for trial in plan.study.trials()] == ["COMPLETE", "RUNNING"]
        assert len(run(plan)) == 3


SIX = {RATE: "0.1,0.01", DIM: "16,32,64"}


def never_32(overrides: Sequence[str]) -> dict[str, Any]:
    """The corners are valid; 32 lies between them."""
    settings = settings_of(overrides)
    if settings[DIM] == "32":
        raise InputError("embedding_dim: 32 is not valid")
    return settings


def test_a_search_ends_with_the_existing_trials_and_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Search.Config(sampler="random", num_trials=40).build(request_of(tmp_path, SIX, never_32))
    jobs = run(plan)
    assert plan.next([]) is None
    assert len({job.overrides for job in jobs}) == 4
    assert plan.num_jobs == 4
    assert len(plan.summary()["search"]["trials"]) == 4
    message = capsys.readouterr().err
    assert message.count("warning:") == 1
    assert message.startswith("warning: the search ends with 4 of 6 trials: ")
    assert "embedding_dim: 32 is not valid" in message


@pytest.mark.parametrize("vary", [SIX, VARY])
def test_a_search_without_any_trial_is_an_input_error(vary: dict[str, str], tmp_path: Path) -> None:
    is_open = True

    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        if not is_open:
            raise InputError("closed")
        return settings_of(overrides)

    plan = Search.Config(sampler="random", num_trials=6).build(request_of(tmp_path, vary, compose))
    is_open = False
    with pytest.raises(InputError, match=r"none of 100 proposals in a row(.|\n)*closed"):
        plan.next([])


def train(plan: Search, job: Job, values: list[float], begin: int = 0) -> int:
    """Report values as a training does, end the job; return the epochs trained."""
    assert job.trial is not None
    is_hopeless = make_pruning_callback(job.trial)
    for epoch, value in enumerate(values[begin:], start=begin):
        if is_hopeless(epoch, value):
            plan.ended(job, Result(status="pruned"))
            return epoch + 1
    plan.ended(job, result_of(job))
    return len(values)


def test_the_pruner_knows_the_epochs_of_each_trial(tmp_path: Path) -> None:
    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        return settings_of(overrides, max_epochs=int(overrides[0].partition("=")[2]))

    plan = Search.Config(sampler="random", num_trials=8, pruner="median").build(
        request_of(tmp_path, {"trainer.max_epochs": "2,20,40"}, compose)
    )
    jobs = [next_of(plan) for _ in range(3)]
    assert [f"trainer.max_epochs={(job.trial or {})['max_epochs']}" for job in jobs] == [
        job.overrides[0] for job in jobs
    ]


def plan_with(folder: Path, pruner: Any, num_trials: int = 4) -> Search:
    return plan_of(
        Search.Config(sampler="random", num_trials=num_trials, pruner=pruner, num_startup=2), folder
    )


def next_of(plan: Search) -> Job:
    job = plan.next([])
    assert job is not None
    return job


def test_the_median_pruner_stops_trials_below_the_median(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "median")
    assert train(plan, next_of(plan), [0.1, 0.2, 0.3]) == 3
    assert train(plan, next_of(plan), [0.2, 0.3, 0.4]) == 3
    assert train(plan, next_of(plan), [0.1, 0.1, 0.1]) == 2  # the first epoch is never judged
    assert train(plan, next_of(plan), [0.1, 0.3, 0.4]) == 3
    summary = plan.summary()["search"]
    assert [row["state"] for row in summary["trials"]] == ["complete", "complete", "pruned", "complete"]
    assert all(row["value"] is None for row in summary["trials"] if row["state"] == "pruned")


def test_a_trial_is_not_pruned_after_its_last_epoch(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "median")
    others = [next_of(plan), next_of(plan)]
    assert others[0].trial is not None
    last = others[0].trial["max_epochs"]
    for job in others:
        assert train(plan, job, [0.1] * (last - 1) + [0.9]) == last
    assert train(plan, next_of(plan), [0.2] * last) == last  # below the median of the last epoch alone
    assert plan.summary()["search"]["states"] == {"complete": 3}


def test_without_a_pruner_no_trial_is_stopped(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "none")
    jobs = [next_of(plan) for _ in range(4)]
    assert [job.trial for job in jobs] == [None] * 4  # the trainings get no callback


def test_an_epoch_may_be_reported_twice(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, "median")
    train(plan, next_of(plan), [0.1, 0.2, 0.3])
    train(plan, next_of(plan), [0.2, 0.3, 0.4])
    job = next_of(plan)
    assert job.trial is not None
    before = make_pruning_callback(job.trial)
    assert [before(epoch, 0.35) for epoch in range(2)] == [False, False]
    assert train(plan, job, [0.35, 0.35, 0.35], begin=1) == 3  # resumed within the second epoch
    assert plan.summary()["search"]["states"] == {"complete": 3}
