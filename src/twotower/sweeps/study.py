"""A study of Optuna's that several processes share, without Optuna's own words on the console."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from twotower.config.errors import InputError
from twotower.sweeps.journal import Journal
from twotower.sweeps.objectives import Direction

SQLITE = "sqlite:///"
PATIENCE_SECONDS = 60
"""How long to wait for another process that writes to the same SQLite file."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines and its warnings of what is experimental from the user."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        logger.setLevel(before)


def storage_name(storage: str | None, folder: Path) -> str:
    """Return a storage as any process on this disk can open it.

    Args:
        storage: path of a journal file, or a URL as SQLAlchemy takes it; None for a journal in `folder`.
        folder: the sweep's.

    Raises:
        InputError: it cannot be shared.
    """
    if storage is None:
        return str(folder.absolute() / "study.journal")
    if "://" not in storage:
        return str(Path(storage).absolute())
    if not storage.startswith("sqlite:"):
        return storage
    path = storage.removeprefix(SQLITE)
    if not storage.startswith(SQLITE) or path in ("", ":memory:"):
        raise InputError(
            f"sweep.storage: {storage!r} lives in one process only; name a file, as in sqlite:///outputs/study.db"
        )
    return f"{SQLITE}{Path(path).absolute()}"


def open_storage(name: str) -> BaseStorage:
    """Open what `storage_name` named, made if it is not there.

    Raises:
        InputError: it is damaged, or cannot be reached.
    """
    is_url = "://" in name
    path = Path(name.removeprefix(SQLITE))
    try:
        if not is_url or name.startswith(SQLITE):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not is_url:
            return JournalStorage(Journal(path))
        timeout = {"connect_args": {"timeout": PATIENCE_SECONDS}} if name.startswith(SQLITE) else {}
        return RDBStorage(name, engine_kwargs={"poolclass": NullPool, **timeout})
    except InputError:
        raise
    except (
        AssertionError,
        AttributeError,
        OSError,
        TypeError,
        ValueError,
        KeyError,
        ImportError,
        SQLAlchemyError,
        StorageInternalError,
        RuntimeError,
    ) as error:
        raise InputError(
            f"sweep.storage: {name} cannot be opened ({_first_line(error)}); name another"
        ) from error


def open_study(
    storage: BaseStorage, name: str, directions: Sequence[Direction], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Open a study, made if it is not there.

    Raises:
        InputError: the study there has other objectives.
    """
    sampler = sampler or RandomSampler()
    with contextlib.suppress(DuplicatedStudyError):
        optuna.create_study(storage=storage, study_name=name, directions=list(directions), sampler=sampler)
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


def trial_id(storage: BaseStorage, study_name: str, number: int) -> int:
    """Return the storage's own id of a trial."""
    study_id = storage.get_study_id_from_name(study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def same_or_refuse(study: optuna.Study, facts: dict[str, Any]) -> None:
    """Remember what a study is about; one that is gone on with must be about the same.

    Args:
        study: new or not.
        facts: name of a group -> key -> plain value.

    Raises:
        InputError: names what differs.
    """
    there = study.user_attrs.get("about")
    if there is None:
        study.set_user_attr("about", facts)
        return
    differing = [
        f"{key} ({group}) was {_shown(before.get(key))}, is {_shown(values.get(key))}"
        for group, values in facts.items()
        for before in [there.get(group, {})]
        for key in sorted(before.keys() | values.keys())
        if before.get(key) != values.get(key)
    ]
    if differing:
        raise InputError(
            f"study {study.study_name!r} was made with other settings: {'; '.join(differing[:5])}; "
            "put them back to go on with it, or give this search another name="
        )


def _shown(value: Any) -> str:
    return "not there" if value is None else repr(value)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
