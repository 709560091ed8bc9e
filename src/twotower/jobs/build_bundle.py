"""Build the index of a run and write its bundle."""

import shutil

from twotower.bundle.write import write_bundle
from twotower.config.run_keys import WarmStartKey
from twotower.evaluation.baselines.baseline_runner import request_time
from twotower.evaluation.indexing import Indexed, index_catalogue
from twotower.evaluation.ranking import item_popularity
from twotower.jobs.run_context import RunContext
from twotower.model.towers.two_tower import TwoTower


def index_model(job: RunContext, model: TwoTower) -> Indexed:
    """Build, tune and check the index with the validation users as queries."""
    popularity = item_popularity(job.dataset.train, len(job.dataset.items))
    config = job.config
    truncations = config.loss.scoring().truncations(config.embedding_dim)
    return index_catalogue(model, config.index, job.dataset.valid, job.evaluator, popularity, truncations)


def save_bundle(job: RunContext, model: TwoTower, indexed: Indexed) -> None:
    """Write the bundle with the histories of users and the time of its requests.

    A first training stores the histories of the test metrics. The bundle of a warm start or of
    `rebuild_bundle` is for immediate use, so its histories contain the test window too.
    """
    bundle, dataset = job.run.folder / "bundle", job.dataset
    if bundle.exists():  # written by a process that was killed before it wrote the result
        shutil.rmtree(bundle)
    interactions = None if dataset.open_interactions is None else dataset.open_interactions()
    if isinstance(job.config, WarmStartKey) and interactions is not None:
        history, now, held_out = interactions, int(interactions.times.max()) + 1, 0
    else:
        history, now = dataset.test.history, request_time(dataset.test, dataset.train_and_valid)
        if interactions is None:
            held_out = len(dataset.test.target_items)
        else:  # a hidden test split does not tell its targets
            held_out = len(interactions) - len(history)
    write_bundle(bundle, job.run.settings, model, indexed, dataset, history, now, held_out)
