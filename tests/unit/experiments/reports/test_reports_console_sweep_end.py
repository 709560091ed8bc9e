"""What the end of a sweep says: of a search, of seeds, of reused towers, and on a narrow screen."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as Screen

from twotower.experiments.console.rich import Rich, make_console
from twotower.experiments.console.sweep_summary import SeedSummary, SweepSummary
from twotower.experiments.runs.outcome import Outcome

METRIC = "valid/recall_at_20"
SWEEP = Path("outputs/default/tpe")
OVERRIDES = {
    "trial_0000": ["optimizer.learning_rate=0.0161234", "loss.temperature=0.535111"],
    "trial_0001": ["optimizer.learning_rate=0.2", "loss.temperature=1.25"],
    "trial_0002": ["optimizer.learning_rate=0.3", "loss.temperature=4.98765"],
}
FIGURES = {"trial_0000": 0.25, "trial_0001": 0.5, "trial_0002": 0.125}


def outcome(name: str, valid: float | None, status: str = "ok", **more: Any) -> Outcome:
    figures = {} if valid is None else {"best_valid/recall_at_20": valid}
    values: dict[str, Any] = {"seconds": 2.0, "reused_from": None, "error": None, "skipped": False} | more
    return Outcome(name=name, status=status, figures=figures, folder=SWEEP / name, **values)


TRIALS = [outcome(name, valid) for name, valid in FIGURES.items()]


def search(best: str | None) -> dict[str, Any]:
    """What `sweep.json` says of the trials above."""
    rows = {job: {"job": job, "value": FIGURES[job], "overrides": OVERRIDES[job]} for job in FIGURES}
    found = best and rows[best] | {"command": f"twotower train {' '.join(OVERRIDES[best])}"}
    return {"metric": METRIC, "direction": "maximize", "best": found, "trials": list(rows.values())}


ONE = search("trial_0001")


def ended(mode: str, outcomes: list[Outcome], **findings: Any) -> None:
    with make_console(mode) as console:
        console.sweep_started(SWEEP, len(outcomes), METRIC)
        console.sweep_ended(SweepSummary(SWEEP, METRIC, outcomes, 3.0, **findings))


def test_a_search_ends_with_trials_and_the_command_of_the_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = [*TRIALS[:2], outcome("trial_0002", None, "failed", error="no")]
    ended("brief", failed, search=ONE)
    lines = [re.sub(" {2,}", "  ", line) for line in capsys.readouterr().out.splitlines()]
    assert "trial_0001  lr.2 temp1.25  ok  0.5000  2.0" in lines
    assert "trial_0000  lr.0161 temp.535  ok  0.2500  2.0" in lines
    assert f"FAILED  trial_0002  lr.3 temp4.99: no; see {SWEEP}/trial_0002/train.log" in lines
    assert "best  trial_0001  valid recall@20 0.5000  lr.2 temp1.25" in lines
    assert f"command  {ONE['best']['command']}" in lines
    assert f"compare  twotower compare {SWEEP}" in lines


def test_a_search_over_the_initial_embeddings_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the varied keys are, only those that act in training are named."""
    kept = dict(zip(FIGURES, (0, 3, 0), strict=True))
    jobs = [
        replace(
            each,
            overrides=(*OVERRIDES[each.name], f"history.dropout=0.{number}"),
            figures={**each.figures, "training/epochs_kept": kept[each.name]},
        )
        for number, each in enumerate(TRIALS, start=1)
    ]
    ended("brief", jobs, search=ONE)
    lines = [re.sub(" {2,}", "  ", line) for line in capsys.readouterr().out.splitlines()]
    assert "trial_0001  lr.2 temp1.25  ok  0.5000  3  2.0" in lines
    assert "trial_0000  lr.0161 temp.535  ok  0.2500  0  2.0" in lines
    note = next(line for line in lines if line.startswith("initial  "))
    assert note == (
        "initial  2 of 3 runs kept the initial embeddings (0 epochs); optimizer.learning_rate, "
        "history.dropout acted on nothing that was kept; "
        "initialization=random has other ones, trainer.initial_share=0 keeps the best epoch"
    )
    ended("quiet", TRIALS, search=ONE)  # runs that do not record their epochs
    assert "initial" not in capsys.readouterr().out


def grid_of(**more: Any) -> list[Outcome]:
    """Four jobs of two keys over the same seed."""
    values = {"a.x=1": 0.25, "a.x=2": 0.5}
    jobs = [
        outcome(f"x{text[-1]},{loss}", value, overrides=("name=t", text, f"loss={loss}", "seed=3"), **more)
        for text, value in values.items()
        for loss in ("bce", "bpr")
    ]
    return [replace(job, figures={**job.figures, "test/recall_at_20": 0.5}) for job in jobs]


def test_the_last_lines_say_what_is_best_whether_it_is_real_and_what_to_type(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = {"no difference shown": 1, "worse (one seed)": 2}
    ended("brief", grid_of(), verdicts=verdicts)
    lines = capsys.readouterr().out.splitlines()[-8:]
    begins = [line.split()[0] for line in lines]  # a job with a bundle has one line more: serve
    assert begins == ["effect", "effect", "sweep", "best", "tests", "next", "compare", "curves"]
    assert lines[0].endswith("a.x=2  +0.2500 against 1 (2 of 2 pairs agree)")
    assert lines[1].endswith("loss=bce  equal to bpr in all 2 pairs")
    assert lines[4] == "tests       against the best by validation: 1 no difference shown, 2 worse (one seed)"
    assert lines[5] == "next        twotower train name=t a.x=2 loss=bce seeds=3"
    ended("quiet", grid_of(configuration="c"), seeds=MEANS)
    assert f"next        twotower compare {SWEEP} by=configuration" in capsys.readouterr().out
    ended("jsonl", grid_of(), verdicts=verdicts)
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["verdicts"], event["next"][-7:], len(event["effects"])) == (verdicts, "seeds=3", 2)


def test_programs_get_exact_settings_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    ended("quiet", TRIALS, search=ONE)
    text = capsys.readouterr().out
    assert ONE["best"]["command"] in text
    assert "trial_0001  valid recall@20 0.5000  lr.2 temp1.25" in text
    ended("jsonl", TRIALS, search=ONE)
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["best"], event["metric"], event["value"]) == ("trial_0001", METRIC, 0.5)
    assert event["search"] == ONE


def test_a_search_without_a_finished_trial(capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ("brief", "quiet", "jsonl"):
        ended(mode, [outcome("trial_0000", None, "failed", error="no")], search=search(None))
        text = capsys.readouterr().out
        assert "failed" in text
        assert "best  " not in text


MEANS = [
    SeedSummary("", f"best_{METRIC}", 0.25, 0.01, (0.2, 0.3), 3),
    SeedSummary("", "test/recall_at_20", 0.24, 0.01, (0.2, 0.28), 3),
]
SEEDS = [outcome(f"seed={seed}", valid) for seed, valid in ((9, 0.25), (11, 0.125), (10, 0.375))]


def test_a_sweep_over_seeds_has_no_best_job(capsys: pytest.CaptureFixture[str]) -> None:
    with make_console("brief") as console:
        console.sweep_started(SWEEP, 3, METRIC)
        for each in SEEDS:
            console.job_ended(each)
        console.sweep_ended(SweepSummary(SWEEP, METRIC, SEEDS, 3.0, MEANS))
    text = capsys.readouterr().out
    assert "best " not in text
    assert "3 seeds     best_valid recall@20 0.2500 [0.2000, 0.3000]" in text
    ended("quiet", SEEDS, seeds=MEANS)
    assert "3 seeds     recall@20 0.2400 [0.2000, 0.2800]" in capsys.readouterr().out
    ended("jsonl", SEEDS, seeds=MEANS)
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    jobs = [outcome(f"loss={loss},seed={seed}", 0.5) for loss in "ab" for seed in (1, 2)]
    ended("brief", jobs, seeds=MEANS)
    text = capsys.readouterr().out
    assert 0 < text.index("3 seeds     ") < text.index("best        loss=a,seed=1")
    assert event["best"] is None
    assert event["seeds"][1]["mean"] == 0.24


def drawn(width: int, outcomes: list[Outcome], **findings: Any) -> list[str]:
    console, file = Rich(), io.StringIO()
    console.screen = Screen(file=file, width=width, highlight=False, markup=False)
    console.sweep_started(SWEEP, 2, METRIC)
    file.truncate(file.seek(0))
    console.sweep_ended(SweepSummary(SWEEP, METRIC, outcomes, 3.0, **findings))
    return file.getvalue().splitlines()


def test_on_a_narrow_screen_names_and_settings_are_folded_and_figures_whole() -> None:
    name = "user_tower.widths=[256,128],loss=in_batch_softmax,optimizer.learning_rate=0.02,history=mean"
    lines = drawn(80, [outcome(name, 0.5)])
    assert name in "".join(line.split("  ")[0] for line in lines[1:])
    assert sum("0.5000" in line for line in lines) == 2
    lines = drawn(60, TRIALS, search=ONE)
    assert any(line.startswith("trial_0001") and "0.5000" in line for line in lines)
