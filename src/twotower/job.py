"""The main job on one page: config -> data -> towers -> loss -> index -> evaluation -> bundle -> report.

`twotower train` composes the YAML files of `conf/` and the overrides to a `RunConfig`, whose choices check
themselves (`config/component.py`), and calls `main_job`. Each line below is one step, in a file of `jobs/`.
Sweeps with pruning, `resume=`, warm starts and rolling windows call it from outside (`jobs/train_run.py`);
several processes wrap the training (`jobs/follow.py`). `twotower reindex` and `evaluate` take the steps after
the training (`jobs/evaluate.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from twotower.config.exits import DONE
from twotower.evaluation.indexing import Indexed
from twotower.experiments.runs.run import Run
from twotower.jobs.build_bundle import index_model, save_bundle
from twotower.jobs.obtain_towers import obtain_towers, tower_sections
from twotower.jobs.open_run import load_data, open_run
from twotower.jobs.quality import evaluate_baselines, measure_cold_start, measure_quality, through_index
from twotower.jobs.report_run import report_run
from twotower.jobs.run_config import RunConfig
from twotower.jobs.run_context import RunContext
from twotower.training.callbacks.curves import EpochCallback

Report = Callable[[RunContext, Indexed, Mapping[str, Any]], int]


def main_job(
    run: Run, config: RunConfig, epoch_callback: EpochCallback | None = None, report: Report = report_run
) -> int:
    """Train two towers, index, evaluate and bundle them, and report the result; returns the exit status.

    Args:
        run: a new or interrupted folder, `outputs/<name>/<overrides and time>/`.
        config: the settings, typed and checked.
        epoch_callback: receives the monitored metric after each epoch, and may stop the run.
        report: writes and prints the result.
    """
    with open_run(run, config) as opened:  # locks the folder; console, TensorBoard, tracker
        # Data. A `Source` reads tables (data/sources), ids become rows (data/vocabulary.py), a `Split` cuts
        # the log into train, validation and test (data/splits). The audit prints what it holds.
        job = load_data(opened)

        # Towers and loss. Features are fitted on train (model/features). Epochs over batches
        # (training/batches.py): the towers give embeddings (model/towers), a sampler gives negatives
        # (model/negatives), the scorer gives logits (model/scoring), the loss a number (model/losses);
        # Lightning takes the step (training/module.py, training/fit.py). The epoch that is best on validation
        # is kept, and trained again on train + validation (training/train_towers.py).
        with obtain_towers(job, epoch_callback) as towers:
            # Index. All item embeddings, in Faiss; the search argument reaches the target recall on
            # validation users, and a bad index is rejected (index/, evaluation/indexing.py).
            indexed = index_model(job, towers.model)

            # Evaluation, by exact search over the whole catalogue (evaluation/, evaluation/metrics).
            exact = measure_quality(job, towers)

        # Again with the lists that the index serves, and on items that were held out of training.
        result = tower_sections(job, towers)
        result |= through_index(job, towers.model, indexed.index, exact)
        result |= measure_cold_start(job, towers.model)

        # Bundle: what a service loads, verified by its hashes (bundle/, serving/).
        save_bundle(job, towers.model, indexed)

        # Baselines: popularity, EASE and others on the same split (evaluation/baselines).
        result |= evaluate_baselines(job, towers.model.items)

        # Report: result.json, TensorBoard, the console (experiments/).
        return report(job, indexed, result)
    return DONE  # pruned: `open_run` has recorded it
