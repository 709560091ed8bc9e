"""Jobs on the towers of a run that has ended, in a folder of their own: another index, other measures."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.config.problems import raise_problems
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.pipeline.quality import (
    evaluate_baselines,
    evaluate_on_test,
    measure_cold_start,
    quality_of,
    through_index,
)
from twotower.pipeline.run_config import problems_of
from twotower.pipeline.stages import finalize, finish, index_model, open_run, save_bundle
from twotower.runs import sections
from twotower.runs.result import Result, describe_status, read_result
from twotower.runs.run import Run, run_folder

BEGINS_ANEW = "the same command again begins anew, and {} may be deleted"


def reindex(
    source: Path, changes: Mapping[str, Any], overrides: Sequence[str] = (), trusted: Collection[str] = ()
) -> int:
    """Build another index over a run's trained towers, into a new folder beside it; returns the exit status.

    Args:
        source: folder of the run that trained the towers.
        changes: the new `index`.
        overrides: what was typed.
        trusted: packages whose classes the run's files may name.
    """
    before, run, bundle = derive_run(source, changes, overrides, trusted)
    temperature = before.training.temperature
    assert temperature is not None  # `derive_run` refuses a run without one
    model = bundle.model
    with open_run(run, before, BEGINS_ANEW) as job:
        indexed = index_model(job, model)
        known = quality_of(job, source, before)
        exact = known
        if exact is None:
            exact = evaluate_on_test(job, model, None, temperature)
            exact = exact._replace(record=sections.with_validation_figures(before, exact.record))
        result = before.plain(*sections.OF_TOWERS) | through_index(job, model, indexed.index, exact)
        result |= {"training_reused_from": str(source)} | measure_cold_start(job, model)
        save_bundle(job, model, indexed)
        result |= {} if known else evaluate_baselines(job, model)
        return finish(job, indexed, result)


def reevaluate(
    source: Path, changes: Mapping[str, Any], overrides: Sequence[str] = (), trusted: Collection[str] = ()
) -> int:
    """Evaluate a run's towers again into a new folder beside it, without a bundle; returns the exit status.

    Args:
        source: folder of the run that trained the towers.
        changes: other `metrics` or `baselines`.
        overrides: what was typed.
        trusted: packages whose classes the run's files may name.
    """
    before, run, bundle = derive_run(source, changes, overrides, trusted)
    temperature = before.training.temperature
    assert temperature is not None  # `derive_run` refuses a run without one
    model = bundle.model
    with open_run(run, before, BEGINS_ANEW) as job:
        # After a refit these towers have seen the validation split; its figures are then the first phase's.
        seen = before.training.refit
        dataset = job.dataset
        valid = (
            None if seen else evaluate_towers(model, dataset.valid, job.evaluator, dataset.train, temperature)
        )
        exact = evaluate_on_test(job, model, valid, temperature)
        quality = through_index(job, model, bundle.index, exact) | evaluate_baselines(job, model)
        result = before.plain(*sections.OF_TOWERS, "index") | sections.with_validation_figures(
            before, quality
        )
        result |= {"training_reused_from": str(source)}
        return finalize(job, result | measure_cold_start(job, model))


def derive_run(
    source: Path, changes: Mapping[str, Any], overrides: Sequence[str], trusted: Collection[str] = ()
) -> tuple[Result, Run, Bundle]:
    """Return a run's result, a new run beside it with changed settings, and its bundle.

    Raises:
        InputError: the run has not ended or has no bundle, or the changed settings do not go together.
    """
    run = Run.open(source, trusted)
    result = read_result(source)
    if result is None or not result.finished:
        pruned = result is not None and result.status == "pruned"
        remedy = "" if pruned else f"; finish it with twotower train resume={source}"
        raise InputError(f"run={source}: this run {describe_status(result)}{remedy}")
    if result.training.temperature is None:
        raise InputError(f"run={source}: this run is of another version of twotower; train it again")
    settings = run.settings | dict(changes)
    # Nothing is trained, so other metrics need not hold the one that the training monitored.
    problems = [problem for problem in problems_of(settings) if problem.key != "trainer.monitor"]
    raise_problems(problems, "the run's settings with these changes")
    bundle = read_bundle(source / "bundle", trusted)
    shown = [text for text in overrides if not text.startswith("run=")]
    folder = run_folder(source.parent, shown)
    typed = [*run.overrides, *shown]
    return result, Run.create(folder, settings, typed, keep_after_input_error=False), bundle
