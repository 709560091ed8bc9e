"""A grid: which jobs, in which order, and which wait for the towers of another."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_search import request_of, settings_of
from hypothesis import given
from hypothesis import strategies as st

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.config.problems import Mistakes, Problem
from twotower.experiments.runs.result import Result, Status, write_result
from twotower.experiments.runs.run import Run
from twotower.experiments.sweeps.grid import Grid
from twotower.experiments.sweeps.sweep import Axis, Job, SweepContext

DIM, INDEX = "embedding_dim", "index"  # the first shapes the towers, the second does not
Compose = Callable[[Sequence[str]], dict[str, Any]]
OK, REJECTED, FAILED = (Result(status=status) for status in ("ok", "index_rejected", "failed"))


def without_reuse(overrides: Sequence[str]) -> dict[str, Any]:
    return settings_of(overrides) | {"reuse": False}


def plan_of(
    folder: Path, cases: list[str] | None = None, compose: Compose = settings_of, **vary: str
) -> Grid:
    return plan_again(folder, False, cases, compose, **vary)


def plan_again(
    folder: Path,
    retry_failed: bool,
    cases: list[str] | None = None,
    compose: Compose = settings_of,
    **vary: str,
) -> Grid:
    plan = Grid.Config(cases=cases).build(request_of(folder, vary, compose, retry_failed))
    assert isinstance(plan, Grid)
    return plan


def names(jobs: Collection[Job]) -> list[str]:
    return [job.name for job in jobs]


def next_of(plan: Grid, running: Sequence[Job] = ()) -> Job:
    job = plan.next(running)
    assert job is not None
    return job


def leave(job: Job, status: Status | None) -> None:
    """Leave in a job's folder what an earlier process would have; None for one that was interrupted."""
    run = Run.create(job.folder, job.settings, job.overrides)
    if status is not None:
        write_result(run.folder, Result(status=status))


def test_the_last_key_varies_fastest(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, embedding_dim="32,16", index="flat_ip,auto")
    assert names(plan.jobs) == [
        "dim32,flat_ip",
        "dim32,auto",
        "dim16,flat_ip",
        "dim16,auto",
    ]
    assert [job.folder for job in plan.jobs] == [tmp_path / job.name for job in plan.jobs]
    assert plan.num_jobs == 4


@pytest.mark.parametrize("case", ["name=../elsewhere", "embedding_dim=8 output_root=/elsewhere", "++name=/x"])
def test_a_case_cannot_set_where_runs_are_stored(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputError, match="sets where runs are stored, so no case may set it"):
        plan_of(tmp_path, cases=[case])
    assert list(tmp_path.iterdir()) == []


def test_a_case_cannot_set_a_varied_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedding_dim: the cases of this sweep set it; leave it out"):
        plan_of(tmp_path, ["embedding_dim=64 loss.temperature=0.1"], embedding_dim="16,32")


def test_cases_come_first_and_are_several_overrides_each(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["index=ivf_flat nprobe=3", "index=flat_ip"], embedding_dim="16,32")
    assert [job.overrides for job in plan.jobs] == [
        ("index=ivf_flat", "nprobe=3", "embedding_dim=16"),
        ("index=ivf_flat", "nprobe=3", "embedding_dim=32"),
        ("index=flat_ip", "embedding_dim=16"),
        ("index=flat_ip", "embedding_dim=32"),
    ]
    assert names(plan_of(tmp_path, ["a=1", "b=1 c=2"]).jobs) == ["a1", "b1,c2"]


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_combination_is_one_job(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[int]]
) -> None:
    vary = {f"key{place}": ",".join(map(str, each)) for place, each in enumerate(values)}
    jobs = plan_of(tmp_path_factory.getbasetemp() / "grid", **vary).jobs
    expected = 1
    for each in values:
        expected *= len(set(each))
    assert len(jobs) == len({job.overrides for job in jobs}) == len({job.folder for job in jobs}) == expected
    for job in jobs:
        typed = [text.split("=") for text in job.overrides]
        assert [key for key, _ in typed] == list(vary)
        assert all(int(value) in each for (_, value), each in zip(typed, values, strict=True))


def test_a_grid_without_varied_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no key varies; give a key several values, as in embedding_dim=32"):
        plan_of(tmp_path)


def test_a_grid_refuses_intervals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^rate: a grid takes no interval; .* sweep=tpe"):
        plan_of(tmp_path, embedding_dim="16,32", rate="interval(0.1, 0.2)")


def test_a_mistake_of_several_jobs_is_reported_once_before_any_runs(tmp_path: Path) -> None:
    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        problems = [Problem("seed", "no seed")]
        if f"{DIM}=16" in overrides:
            problems.append(Problem(DIM, "too narrow"))
        raise Mistakes("", problems)

    with pytest.raises(InputError) as refused:
        plan_of(tmp_path / "sweep", compose=compose, embedding_dim="16,32", index="a,b")
    assert str(refused.value).split("\n") == [
        "2 mistakes in the jobs of this sweep; nothing was run",
        "  seed: no seed",
        "  embedding_dim: too narrow",
    ]
    assert not (tmp_path / "sweep").exists()


def test_a_mistake_of_one_job_names_the_job(tmp_path: Path) -> None:
    def compose(overrides: Sequence[str]) -> dict[str, Any]:
        if f"{DIM}=16" in overrides:
            raise InputError("not together")
        return settings_of(overrides)

    with pytest.raises(InputError, match=r"1 mistake in .*\n  embedding_dim=16 index=a: not together$"):
        plan_of(tmp_path, compose=compose, embedding_dim="16,32", index="a")


def test_jobs_with_the_same_towers_wait_while_one_trains_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, embedding_dim="16,32", index="a,b")
    a16 = next_of(plan)
    a32 = next_of(plan, [a16])
    assert names([a16, a32]) == ["dim16,a", "dim32,a"]
    assert plan.next([a16, a32]) is None
    plan.ended(a32, OK)
    b32 = next_of(plan, [a16])
    assert b32.name == "dim32,b"
    assert plan.next([a16, b32]) is None
    plan.ended(a16, OK)
    assert next_of(plan, [b32]).name == "dim16,b"
    assert plan.next([]) is None


@pytest.mark.parametrize(
    ("result", "trained"), [(OK, True), (REJECTED, True), (FAILED, False), (None, False)]
)
def test_towers_are_available_after_a_finished_training(
    tmp_path: Path, result: Result | None, trained: bool
) -> None:
    plan = plan_of(tmp_path, index="a,b,c")
    plan.ended(next_of(plan), result)
    second = next_of(plan)
    assert second.name == "b"
    third = plan.next([second])
    assert (third is not None) == trained  # without towers the second trains them, and the third waits


def test_without_reuse_no_job_waits(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, compose=without_reuse, index="a,b")
    assert next_of(plan, [next_of(plan)]).name == "b"


VARY = {INDEX: "a,b,c,d,e,f"}
STATUSES = ["ok", "index_rejected", "failed", "pruned", None]


@pytest.mark.parametrize(
    ("retry_failed", "skipped", "waiting"), [(False, "abcd", "ef"), (True, "abd", "cef")]
)
def test_a_restarted_sweep_runs_unfinished_jobs(
    tmp_path: Path, retry_failed: bool, skipped: str, waiting: str
) -> None:
    for job, status in zip(plan_of(tmp_path, **VARY).jobs, STATUSES, strict=False):  # of f there is nothing
        leave(job, status)
    plan = plan_again(tmp_path, retry_failed, **VARY)
    assert names(plan.done_before()) == list(skipped)
    assert names(plan.waiting) == list(waiting)
    assert plan.num_jobs == 6
    running: list[Job] = []
    for _ in waiting:  # the towers are there: nobody waits
        running.append(next_of(plan, running))
    assert plan.next(running) is None


@pytest.mark.parametrize(("folder", "is_own"), [("windows/1", True), ("../other/windows/1", False)])
def test_a_job_whose_own_window_failed_is_retried(tmp_path: Path, folder: str, is_own: bool) -> None:
    first, second = plan_of(tmp_path, index="a,b").jobs
    leave(first, "ok")
    leave(second, "ok")
    write_result(second.folder, Result(status="ok", windows=[{"status": "failed", "folder": folder}]))
    assert names(plan_again(tmp_path, False, index="a,b").waiting) == []
    assert names(plan_again(tmp_path, True, index="a,b").waiting) == ["b"] * is_own


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    (job, *_) = plan_of(tmp_path, embedding_dim="16,32").jobs
    leave(job, "ok")
    plan_of(tmp_path, embedding_dim="16,32")

    def others(overrides: Sequence[str]) -> dict[str, Any]:
        return settings_of(overrides, max_epochs=5) | {"seed": 3}

    with pytest.raises(InputError) as refused:
        plan_of(tmp_path, compose=others, embedding_dim="16,32")
    assert "dim16 has a run with other settings (seed, trainer.max_epochs)" in str(refused.value)

    def only_shown_otherwise(overrides: Sequence[str]) -> dict[str, Any]:
        return settings_of(overrides) | {"console": "jsonl", "output_root": "elsewhere", "reuse": False}

    plan = plan_of(tmp_path, compose=only_shown_otherwise, embedding_dim="16,32")
    assert names(plan.done_before()) == ["dim16"]


def test_a_damaged_result_is_a_failure_of_its_job_alone(tmp_path: Path) -> None:
    (job, *_) = plan_of(tmp_path, **VARY).jobs
    leave(job, "ok")
    (job.folder / "result.json").write_text('{"stat')
    plan = plan_again(tmp_path, False, **VARY)
    assert names(plan.done_before()) == ["a"]
    assert plan.next([next_of(plan)]) is None  # nobody relies on its towers
    assert plan_again(tmp_path, True, **VARY).done_before() == []


def test_a_varied_key_that_a_choice_lacks_is_reported_once_with_its_removal() -> None:
    axes = (Axis("item_bias.half_life_days", ("1", "2")), Axis("embedding_dim", ("16", "32")))
    fixed = ("data=synthetic", "item_bias=none")
    request = SweepContext(
        Path("x"), axes, fixed, lambda texts: load_settings("train", texts), False, "valid/recall_at_20"
    )
    with pytest.raises(InputError) as refused:
        Grid.Config().build(request)
    (line,) = str(refused.value).splitlines()[1:]
    assert line.strip().startswith("item_bias.half_life_days: unknown key")
    assert line.endswith("~sweep.vary.item_bias.half_life_days removes it")
