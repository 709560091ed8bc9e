"""Files of `<output_root>/.cache` that no run uses."""

from collections.abc import Collection, Iterator
from pathlib import Path

from twotower.files.atomic import TEMPORARY
from twotower.files.plain_values import load_json
from twotower.runs.result import Result
from twotower.runs.trainings import CHECKPOINTS, recorded_trainings

CACHE = ".cache"


def unused_caches(root: Path, data: Collection[str], without: Collection[Path]) -> Iterator[Path]:
    """Yield unused data sets, lists of baselines, records of trainings, and temporary files.

    Args:
        root: `output_root`.
        data: fingerprints of the data of the runs.
        without: resolved folders of runs whose checkpoints are to be deleted.
    """
    cache = root / CACHE
    for path in sorted(cache.glob("*")):
        if TEMPORARY.fullmatch(path.name) or (
            (path / "meta.json").is_file() and _fingerprint(path / "meta.json") not in data
        ):
            yield path
    yield from (path for path in sorted((cache / "baselines").glob("*")) if path.name not in data)
    for path, run in recorded_trainings(root):
        if run.resolve() in without or not (run / CHECKPOINTS).is_dir():
            yield path


def data_fingerprint(folder: Path, result: Result | None) -> str:
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
