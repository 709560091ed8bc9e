"""Train two towers, index the catalogue, evaluate on the test split, write a bundle; one run or a sweep.

  twotower train                             the bundled data set, about a minute
  twotower train loss=bce negatives=uniform user_tower.widths=[256,128]    or experiment=movielens_1m
  twotower train size=large                  wider and deeper; size=small is narrow and fast
  twotower train -m embedding_dim=32,64 index=flat_ip,ivf_pq     a sweep; also sweep=NAME or seeds=5
  twotower train resume=RUN_FOLDER           go on with a run that was stopped; rerun= repeats one
  twotower train warm_start=RUN_FOLDER data.interactions_path=LOG    train further; rebuild_bundle= does not
  twotower train --info choices              every group and choice, a line each
Runs go to outputs/<name>/<typed>_<time>/, a sweep's to outputs/<name>/<sweep>-sweep/<job>/."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twotower.jobs.run_config import RunConfig


def task(config: "RunConfig", overrides: Sequence[str]) -> int:
    """Train a new run."""
    from twotower.jobs.train_run import train_in_new_folder

    return train_in_new_folder(config)[1]
