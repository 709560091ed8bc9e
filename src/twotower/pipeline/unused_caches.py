"""Files of `<output_root>/.cache` that no run uses."""

from collections.abc import Collection, Iterator
from pathlib import Path

from twotower.files.atomic import TEMPORARY
from twotower.files.plain_values import load_json
from twotower.runs.result import Result
from twotower.runs.trainings import CHECKPOINTS, recorded_trainings

CACHE, BASELINES, META = ".cache", "baselines", "meta.json"


def unused_caches(root: Path, data: Collection[str], without: Collection[Path]) -> Iterator[Path]:
    """Yield half-written files, data sets, lists of baselines, and records of trained towers.

    Args:
        root: `output_root`.
        data: fingerprints of the data of the runs.
        without: real folders of runs whose checkpoints are to be deleted.
    """
    cache = root / CACHE
    for path in sorted(cache.glob("*")):
        is_half_written = TEMPORARY.fullmatch(path.name) is not None
        if is_half_written or ((path / META).is_file() and _fingerprint(path / META) not in data):
            yield path
    yield from (path for path in sorted((cache / BASELINES).glob("*")) if path.name not in data)
    for path, run in recorded_trainings(root):
        if run.resolve() in without or not (run / CHECKPOINTS).is_dir():
            yield path


def data_of(folder: Path, result: Result | None) -> str:
    """Return the fingerprint of the data of a run; empty if unknown."""
    if result is not None and result.data.fingerprint is not None:
        return result.data.fingerprint
    note = folder / CHECKPOINTS / "data_fingerprint"
    return note.read_text(encoding="utf-8") if note.is_file() else ""


def _fingerprint(meta: Path) -> str | None:
    try:
        content = load_json(meta)
    except ValueError:
        return None
    return content.get("fingerprint") if isinstance(content, dict) else None
