"""What is read off a job's result."""

import math
from pathlib import Path

from twotower.experiments.console.console_tables import sweep_table
from twotower.experiments.console.sweep_summary import SweepSummary
from twotower.experiments.runs.outcome import Outcome, best_outcome, make_outcome, rank_outcomes
from twotower.experiments.runs.result import Result, Status
from twotower.experiments.runs.result_parts import Training

METRIC = "valid/recall_at_20"
RESULT = Result(
    **{
        "status": "ok",
        "training": {"monitor": METRIC},
        "training_reused_from": "outputs/default/s/a",
        "metrics": {
            "valid/recall_at_10": 0.1,
            "valid/recall_at_20": 0.2,
            "valid/ndcg_at_20": 0.15,
            "test/recall_at_10": 0.3,
            "test/recall_at_20": 0.4,
            "test/ndcg_at_20": 0.5,
            "test_exact/recall_at_20": 0.41,
            "test_exact/ndcg_at_20": 0.51,
        },
        "index": {
            "recall_at_100": 0.9,
            "latency_ms_p50": 0.1,
            "bytes_per_item": 64.0,
            "dim": 64,
            "num_vectors": 1000,
            "min_recall": 0.8,
            "ok": True,
            "label_difference": {"recall_at_10": 0.0, "recall_at_20": -0.01},
            "problems": [],
        },
        "timing": {"total_seconds": 4},
    }
)


def test_final_figures_have_the_k_of_the_monitor() -> None:
    assert RESULT.final_figures() == {
        "best_valid/recall_at_20": 0.2,
        "test/recall_at_20": 0.4,
        "test/ndcg_at_20": 0.5,
        "test_exact/recall_at_20": 0.41,
        "index/recall_at_100": 0.9,
        "index/latency_ms_p50": 0.1,
        "index/bytes_per_item": 64.0,
        "index/difference_recall_at_20": -0.01,
        "timing/total_seconds": 4.0,
    }


LOWER = "valid/first_place_at_20"
SAID: dict[str, bool | None] = {"first_place": False}


def test_a_pruned_job_has_its_best_epoch_and_a_failed_one_nothing() -> None:
    curves = {METRIC: [0.1, 0.3, 0.2], "valid/ndcg_at_20": [0.5], "train/loss": [6.0]}
    pruned = Result(status="pruned", curves=curves, training=Training(monitor=METRIC))
    assert pruned.final_figures() == {"best_valid/recall_at_20": 0.3}
    assert Result(status="failed", error="no").final_figures() == {}
    training, curves = Training(monitor=LOWER), {LOWER: [9.0, 7.0, 8.0]}
    pruned = Result(status="pruned", curves=curves, training=training, higher_is_better=SAID)
    assert pruned.final_figures() == {"best_valid/first_place_at_20": 7.0}


def test_the_lowest_is_the_best_if_lower_is_better() -> None:
    def job(name: str, valid: float, status: Status = "ok") -> Outcome:
        said = SAID if name != "old" else {}
        training = Training(monitor=LOWER)
        result = Result(status=status, metrics={LOWER: valid}, training=training, higher_is_better=said)
        return make_outcome(name, Path(name), result, 1.0, False)

    jobs = [job("a", 9.0), job("old", 8.0), job("b", 7.0), job("c", 1.0, "failed")]
    assert [each.name for each in rank_outcomes(jobs, LOWER)] == ["b", "old", "a", "c"]
    best = best_outcome(jobs, LOWER)
    assert best is not None
    assert best.name == "b"
    assert (
        sweep_table(SweepSummary(Path(), LOWER, jobs)).title == "3 jobs by valid first_place@20, lowest first"
    )


def test_outcomes_of_results() -> None:
    done = make_outcome("b", Path("s/b"), RESULT, 2.0, True)
    assert (done.status, done.reused_from, done.error, done.skipped) == (
        "ok",
        "outputs/default/s/a",
        None,
        True,
    )
    assert done.figure(METRIC) == done.figure("best_valid/recall_at_20") == 0.2
    assert done.figure("test/mrr_at_20") is None
    assert done.served(METRIC) == 0.2 - 0.01
    assert done.served("test/recall_at_20") == 0.4  # which is through the index already
    rejected = RESULT.update(status="index_rejected", index={"problems": ["recall is low", "and slow"]})
    assert make_outcome("c", Path("s/c"), rejected, 2.0, False).error == "recall is low; and slow"
    lost = make_outcome("d", Path("s/d"), None, 2.0, False)
    assert (lost.status, lost.finished, lost.figures) == ("interrupted", False, {})


def test_the_best_is_chosen_by_validation_among_jobs_with_status_ok() -> None:
    def job(name: str, valid: float, status: Status = "ok") -> Outcome:
        figures = {"best_valid/recall_at_20": valid, "test/recall_at_20": 1 - valid}
        return Outcome(name, status, 1.0, figures, None, Path(name), None, False)

    jobs = [job("a", 0.1), job("b", 0.3), job("c", 0.9, "pruned"), job("d", 0.8, "index_rejected")]
    jobs.append(job("e", math.nan))
    assert [each.name for each in rank_outcomes(jobs, METRIC)] == ["d", "b", "a", "e", "c"]
    best = best_outcome(jobs, METRIC)
    assert best is not None
    assert best.name == "b"
    assert best_outcome(jobs[2:], METRIC) is None
