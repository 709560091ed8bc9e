"""Which row the others are set against."""

from collections.abc import Sequence
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.reports.compare.entries import Entry, direction_of
from twotower.reports.compare.metric import label, validation_key
from twotower.reports.compare.record import RunRecord


def best_by_validation(entries: Sequence[Entry], metric: str) -> tuple[Entry | None, str]:
    """Return the best row by the validation split, and how it was chosen in words.

    Never by the test split: the best of many on it is partly the luckiest on it, and every other run would
    be measured against that luck.

    Args:
        entries: comparable rows with figures.
        metric: the figure compared; of a test metric the one on the validation split decides.
    """
    key = validation_key(metric)
    judged = [entry for entry in entries if key in entry.figures]
    higher = direction_of(key, judged)
    if judged and higher is not None:
        best = (max if higher else min)(judged, key=lambda entry: entry.figures[key])
        return best, f"the best by {label(key)}" + (", not by the test split" if key != metric else "")
    if entries:
        why = f"{label(key)} has no better direction" if judged else f"no run has {label(key)} to choose by"
        return entries[0], f"the first; {why}, and --baseline names another"
    return None, ""


def named_baseline(asked: str, entries: Sequence[Entry], built_in: Sequence[Entry]) -> Entry:
    """Return the row that `--baseline` names: a folder, a built-in baseline, or a part of one run's name.

    Raises:
        InputError: nothing or several rows have this name, or the run has no figures.
    """
    found = _in_folder(asked, entries) or [entry for entry in built_in if entry.name == asked]
    found = found or [entry for entry in entries if entry.name == asked]
    found = found or [entry for entry in entries if asked in entry.name]
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found[:5]) + (", ..." if len(found) > 5 else "")
        raise InputError(f"--baseline {asked}: {len(found)} runs have this in their name ({names}); name one")
    if not found:
        names_known = [entry.name for entry in [*built_in, *entries]]
        raise InputError(f"--baseline {asked}: no such run or baseline here; {nearest(asked, names_known)}")
    if not found[0].figures:
        raise InputError(
            f"--baseline {asked}: this run has no metrics ({found[0].run.problem}); name another"
        )
    return found[0]


def _in_folder(asked: str, entries: Sequence[Entry]) -> list[Entry]:
    path = Path(asked)
    if not path.is_dir():
        return []
    folder = path.resolve()
    return [entry for entry in entries if folder in map(_resolved, entry.runs)]


def _resolved(run: RunRecord) -> Path:
    return run.folder.resolve()
