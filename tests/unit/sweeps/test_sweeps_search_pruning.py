from pathlib import Path
from typing import Any

from fake_search import request_of, result_of

from twotower.runs.result import Result
from twotower.sweeps.random_search import RandomSearch
from twotower.sweeps.search import make_pruning_callback
from twotower.sweeps.sweep import Job, Sweep


def train(plan: Sweep, job: Job, values: list[float], begin: int = 0) -> int:
    """Report values as a training does, end the job; return the epochs trained."""
    assert job.trial is not None
    is_hopeless = make_pruning_callback(job.trial)
    for epoch, value in enumerate(values[begin:], start=begin):
        if is_hopeless(epoch, value):
            plan.ended(job, Result(status="pruned"))
            return epoch + 1
    plan.ended(job, result_of(job))
    return len(values)


def plan_of(folder: Path, pruner: Any, num_trials: int = 4) -> Sweep:
    search = RandomSearch.Config(num_trials=num_trials, pruner=pruner, num_startup=2)
    return search.build(request_of(folder))


def next_of(plan: Sweep) -> Job:
    job = plan.next([])
    assert job is not None
    return job


def test_the_median_pruner_stops_trials_below_the_median(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "median")
    assert train(plan, next_of(plan), [0.1, 0.2, 0.3]) == 3
    assert train(plan, next_of(plan), [0.2, 0.3, 0.4]) == 3
    assert train(plan, next_of(plan), [0.1, 0.1, 0.1]) == 2  # the first epoch is never judged
    assert train(plan, next_of(plan), [0.1, 0.3, 0.4]) == 3
    summary = plan.summary()["search"]
    assert [row["state"] for row in summary["trials"]] == ["complete", "complete", "pruned", "complete"]
    assert all(row["value"] is None for row in summary["trials"] if row["state"] == "pruned")


def test_a_trial_is_not_pruned_after_its_last_epoch(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "median")
    others = [next_of(plan), next_of(plan)]
    assert others[0].trial is not None
    last = others[0].trial["max_epochs"]
    for job in others:
        assert train(plan, job, [0.1] * (last - 1) + [0.9]) == last
    assert train(plan, next_of(plan), [0.2] * last) == last  # below the median of the last epoch alone
    assert plan.summary()["search"]["states"] == {"complete": 3}


def test_without_a_pruner_no_trial_is_stopped(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "none")
    assert [train(plan, next_of(plan), [value] * 3) for value in (0.9, 0.8, 0.1, 0.0)] == [3, 3, 3, 3]


def test_an_epoch_may_be_reported_twice(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "median")
    train(plan, next_of(plan), [0.1, 0.2, 0.3])
    train(plan, next_of(plan), [0.2, 0.3, 0.4])
    job = next_of(plan)
    assert job.trial is not None
    before = make_pruning_callback(job.trial)
    assert [before(epoch, 0.35) for epoch in range(2)] == [False, False]
    assert train(plan, job, [0.35, 0.35, 0.35], begin=1) == 3  # resumed within the second epoch
    assert plan.summary()["search"]["states"] == {"complete": 3}
