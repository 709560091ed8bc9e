"""New runs over the trained towers of a finished run: another index, or other metrics."""

import contextlib
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.experiments.runs import sections
from twotower.experiments.runs.fingerprint import DATA_KEYS, IRRELEVANT_KEYS, changed_keys, metric_settings
from twotower.experiments.runs.provenance import evaluation_fingerprint
from twotower.experiments.runs.result import Result, read_finished_result
from twotower.experiments.runs.run import Run, run_folder
from twotower.experiments.runs.run_files import CONFIG
from twotower.jobs.build_bundle import index_model, save_bundle
from twotower.jobs.open_run import load_data, open_run
from twotower.jobs.parent_towers import check_test_window
from twotower.jobs.quality import (
    evaluate_baselines,
    evaluate_on_test,
    measure_cold_start,
    read_quality,
    through_index,
)
from twotower.jobs.report_run import finalize, report_run
from twotower.jobs.run_config import checked_run
from twotower.jobs.run_context import RunContext

LOG = logging.getLogger("twotower")
RESTART_HINT = "run the same command again to start over; {} may be deleted"


def reindex(
    source: Path, changes: Mapping[str, Any], overrides: Sequence[str] = (), trusted: Collection[str] = ()
) -> int:
    """Build another index over the towers of a run, in a new folder next to it; returns the exit status."""
    with _open_derived_run(source, changes, overrides, trusted) as (job, before, bundle, temperature):
        model = bundle.model
        indexed = index_model(job, model)
        exact = job.reused_quality = read_quality(job, source, before)
        if exact is None:
            exact = evaluate_on_test(job, model, None, temperature)
            exact = exact._replace(record=sections.with_validation_figures(before, exact.record))
        result = before.plain(*sections.TOWER_SECTIONS) | through_index(job, model, indexed.index, exact)
        result |= {"training_reused_from": str(source)} | measure_cold_start(job, model)
        save_bundle(job, model, indexed)
        result |= evaluate_baselines(job, model.items)
        return report_run(job, indexed, result)


def reevaluate(
    source: Path, changes: Mapping[str, Any], overrides: Sequence[str] = (), trusted: Collection[str] = ()
) -> int:
    """Evaluate the towers of a run again, in a new folder without a bundle; see `reindex`.

    `changes` has other `metrics` or `baselines`, and `test: read` to reveal a hidden test split.
    """
    with _open_derived_run(source, changes, overrides, trusted) as (job, before, bundle, temperature):
        if before.is_test_hidden and not job.config.is_test_hidden:
            check_test_window(job, source)
        elif "test" in changes:
            LOG.warning("test=reveal: no effect, because %s does not hide its test split", source)
        # A refit trains on the validation split, so its metrics come from the first phase.
        model, valid, dataset = bundle.model, None, job.dataset
        if not before.training.refit:
            valid = evaluate_towers(model, dataset.valid, job.evaluator, dataset.train, temperature)
        exact = evaluate_on_test(job, model, valid, temperature)
        quality = through_index(job, model, bundle.index, exact)
        quality |= evaluate_baselines(job, model.items)
        result, is_comparable = _copied_sections(job, before)
        result |= sections.with_validation_figures(before, quality) if is_comparable else quality
        result |= {"training_reused_from": str(source)}
        return finalize(job, result | measure_cold_start(job, model))


def _copied_sections(job: RunContext, before: Result) -> tuple[dict[str, Any], bool]:
    """Return the sections of a run that a new evaluation does not contradict; the log names the rest.

    The second value is whether validation metrics of the run are comparable with the new evaluation.
    """
    copied, names = before.plain(*sections.TOWER_SECTIONS, "index"), []
    settings = job.run.settings | {"test": before.settings.get("test")}
    is_revealed = before.is_test_hidden and not job.config.is_test_hidden
    is_same = evaluation_fingerprint(settings) == before.evaluation_fingerprint and not is_revealed
    if before.windows and not is_same:
        copied = {key: value for key, value in copied.items() if key not in ("windows", "windows_summary")}
        names.append("the figures of older windows")
    old, new = (metric_settings(each) for each in (before.settings, job.run.settings))
    filters = [each.audit.get("seen_filter") for each in (before.data, job.run.partial_result.data)]
    is_comparable = filters[0] == filters[1] and all(old[name] == new[name] for name in old.keys() & new)
    if not is_comparable:
        copied = sections.without_validation(copied)
        names.append("learning curves of validation metrics, feature importance, the curve of new items")
        names += ["validation metrics"] if before.training.refit else []  # of towers that are not served
    if names:
        LOG.warning("left out, because the run was evaluated in another way: %s", ", ".join(names))
    return copied, is_comparable


@contextlib.contextmanager
def _open_derived_run(
    source: Path, changes: Mapping[str, Any], overrides: Sequence[str], trusted: Collection[str]
) -> Iterator[tuple[RunContext, Result, Bundle, float]]:
    """Open a new run next to a finished one; yields also the result, bundle and temperature of that.

    Raises:
        InputError: the run is not finished or has no bundle, or the changed settings are invalid.
    """
    run = Run.open(source, trusted)
    before = read_finished_result(source, "run")
    settings = run.settings | dict(changes)
    new = [text for text in overrides if not text.startswith("run=")]
    what = "the run's settings with these changes"
    # Nothing is trained, so the metrics need not contain the monitored one.
    config = checked_run(settings, [*run.overrides, *new], what, unused=["trainer.monitor"])
    bundle = read_bundle(source / "bundle", trusted)
    kept = [
        {key: value for key, value in each.items() if key not in IRRELEVANT_KEYS | DATA_KEYS}
        for each in (bundle.settings, run.settings)
    ]
    if edited := changed_keys(*kept):
        raise InputError(f"{source / CONFIG}: {edited} changed after the run; restore the file of its bundle")
    folder = run_folder(source.parent, new)
    derived = Run.create(folder, settings, config.overrides, keep_after_input_error=False)
    temperature = before.training.temperature
    assert temperature is not None  # every finished run has one
    if before.windows:  # their figures and folders stay in the source run
        places = [os.path.relpath(source / each["folder"], folder) for each in before.windows]
        entries = zip(before.windows, places, strict=True)
        before = before.model_copy(update={"windows": [each | {"folder": place} for each, place in entries]})
    with open_run(derived, config, RESTART_HINT) as opened:
        yield load_data(opened, before), before, bundle, temperature
