"""The names of a run's files; in a module of their own, so that a reader of them need not load pandas."""

from pathlib import Path

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError

CONFIG, OVERRIDES, RESULT, TRAIN_LOG = "config.yaml", "overrides.yaml", "result.json", "train.log"
PER_USER, PER_USER_BASELINES = "per_user.parquet", "per_user_baselines.parquet"


def refuse_no_run(folder: Path) -> None:
    """Refuse a folder that holds no run, but a bundle, say, which has a config.yaml too.

    Raises:
        InputError: says what is there.
    """
    if (folder / MANIFEST).is_file():
        raise InputError(f"{folder}: a bundle, not a run; name the folder that it is in, {folder.parent}")
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: no run is here (it has no {CONFIG}); name a folder of outputs/")
