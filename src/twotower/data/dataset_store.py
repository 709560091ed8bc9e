"""The cache: a built data set as .npy files and Parquet tables in one folder, memory-mapped on reading."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from twotower.config.errors import InputError
from twotower.data.blocks import blocks, mapped
from twotower.data.dataset import Audit, Holdout, Labelled, RetrievalDataset
from twotower.data.interactions import COLUMNS, Interactions
from twotower.data.split_interactions import SplitInteractions
from twotower.data.tables import ITEM_ID, USER_ID, Tables
from twotower.data.vocabulary import Vocabulary
from twotower.files.plain_values import fingerprint_of, read_json

META, OWN_SUM = "meta.json", "sha256"
ARRAY, FIRST_BYTES = ".npy", 10
HISTORY_ARRAYS = ("offsets", *COLUMNS)
TARGET_ARRAYS = ("users", "target_offsets", "target_items", "request_times", "context")
LABELLED_ARRAYS = ("users", "items", "labels", "times", "weights", "context")
"""What is kept of each; an array that is None has no file."""
WHOLE = "history_whole"  # told apart by its parts: the fingerprint does without it
IMPRESSIONS, LABELLED = "impressions", "labelled"  # subfolders


def write_dataset(
    folder: Path, tables: Tables, cut: SplitInteractions, audit: Audit, context: pd.DataFrame | None = None
) -> str:
    """Write into an empty folder, equal histories once; returns the fingerprint: equal for equal values.

    An InputError says which feature column mixes kinds of values.
    """
    holdouts = {"valid": cut.valid, "test": cut.test}
    histories = {"train": cut.train, "train_and_valid": cut.train_and_valid}
    histories |= {name: holdout.history for name, holdout in holdouts.items()}
    sums = _save_history(folder, WHOLE, cut.whole)
    names: dict[str, str] = {}
    content: dict[str, Any] = {"histories": names, "item_label": tables.item_label}
    for name, history in histories.items():
        twin = next((other for other in names if _same(histories[other], history)), name)
        names[name] = twin
        if twin == name:
            content |= _save_history(folder, f"history_{name}", history)
        else:
            shutil.rmtree(folder / f"history_{name}", ignore_errors=True)
    for name, holdout in holdouts.items():
        content |= _save(folder, name, holdout, TARGET_ARRAYS)
        if holdout.labelled is not None:
            content |= _save(folder, f"{name}/{LABELLED}", holdout.labelled, LABELLED_ARRAYS)
    sums |= content
    for name, frame in {"users": tables.users, "items": tables.items}.items():
        content[name] = _save_table(frame, folder / f"{name}.parquet", tables.source_path(name))
    content |= {} if tables.has_times else {"has_times": False}
    if context is not None:
        content["context"] = _save_table(
            context, folder / "context.parquet", tables.source_path("interactions")
        )
    beside = {"events": list(tables.actions.event_types), "repeats": cut.test.repeats}
    content |= {name: value for name, value in beside.items() if value}
    files = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if each.is_file()}
    meta = {
        "fingerprint": fingerprint_of(content),
        "audit": audit,
        "item_label": tables.item_label,
        "source_paths": {name: tables.source_path(name) for name in ("interactions", "users", "items")},
        "histories": names,
        "has_times": tables.has_times,
        **beside,
        "files": {
            name: _sum(path, sums[name.removesuffix(ARRAY)][-1] if name.endswith(ARRAY) else None)
            for name, path in sorted(files.items())
        },
    }
    meta[OWN_SUM] = fingerprint_of(meta)
    (folder / META).write_text(json.dumps(meta, indent=1))
    return str(meta["fingerprint"])


def open_dataset(folder: Path, is_sound: bool = False) -> RetrievalDataset | None:
    """Open what `write_dataset` wrote, or return None where it is not there, or not as it was written.

    Its files are read once to tell that, unless `is_sound`: this process has just written them.
    """
    stamps = _stamps(folder)
    meta = read_json(folder / META, "build it anew") if is_sound else _whole_meta(folder)
    if meta is None:
        return None
    user_table = pd.read_parquet(folder / "users.parquet")
    item_table = pd.read_parquet(folder / "items.parquet")
    context = folder / "context.parquet"
    names = meta["histories"]
    histories = {
        name: _open_history(folder / f"history_{name}", len(item_table))
        for name in {names[key] for key in ("train", "train_and_valid", "valid")}
    }

    def open_holdout(name: str, history: Interactions) -> Holdout:
        place = folder / name / LABELLED
        labelled = Labelled(**_load(place, LABELLED_ARRAYS)) if place.is_dir() else None
        arrays = _load(folder / name, TARGET_ARRAYS)
        return Holdout(**arrays, history=history, labelled=labelled, repeats=meta["repeats"])

    def open_test() -> Holdout:
        _refuse_changed(folder, meta, stamps)
        return open_holdout("test", _open_history(folder / f"history_{names['test']}", len(item_table)))

    def open_whole() -> Interactions:
        _refuse_changed(folder, meta, stamps)
        return _open_history(folder / WHOLE, len(item_table))

    return RetrievalDataset(
        user_table=user_table,
        item_table=item_table,
        item_label=meta["item_label"],
        users=Vocabulary(_ids(user_table[USER_ID])),
        items=Vocabulary(_ids(item_table[ITEM_ID])),
        train=histories[names["train"]],
        train_and_valid=histories[names["train_and_valid"]],
        valid=open_holdout("valid", histories[names["valid"]]),
        open_test=open_test,
        open_whole=open_whole,
        audit=meta["audit"],
        fingerprint=meta["fingerprint"],
        source_paths=meta["source_paths"],
        has_times=meta["has_times"],
        repeats=meta["repeats"],
        context_table=pd.read_parquet(context) if context.is_file() else None,
        events=tuple(meta["events"]),
    )


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what the file system says of files: they are read again only where it says something new."""
    with contextlib.suppress(OSError):  # it is being replaced
        stats = {str(path): path.stat() for path in folder.rglob("*")}
        return {name: (each.st_ino, each.st_size, each.st_mtime_ns) for name, each in stats.items()}
    return {}


def _refuse_changed(folder: Path, meta: dict[str, Any], stamps: dict[str, tuple[int, int, int]]) -> None:
    if (not stamps or _stamps(folder) != stamps) and _whole_meta(folder) != meta:
        raise InputError(f"{folder}: this stored data set was changed while a run used it; run again")


def _whole_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text())
        own_sum = fingerprint_of({key: value for key, value in meta.items() if key != OWN_SUM})
        whole = meta[OWN_SUM] == own_sum and all(
            _sum(folder / name) == digest for name, digest in meta["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return meta if whole else None


def _ids(column: pd.Series) -> np.ndarray:
    array: np.ndarray = column.to_numpy()
    return array.astype(np.str_) if array.dtype.kind not in "iu" else array


def _same(one: Interactions, other: Interactions) -> bool:
    def equal(left: np.ndarray | None, right: np.ndarray | None) -> bool:
        if left is None or right is None or len(left) != len(right):
            return left is right
        return left is right or all(
            np.array_equal(left[rows], right[rows]) for rows in blocks(len(left), left, right)
        )

    arrays = all(equal(getattr(one, name), getattr(other, name)) for name in HISTORY_ARRAYS)
    if not arrays or one.impressions is None or other.impressions is None:
        return arrays and one.impressions is other.impressions
    return _same(one.impressions, other.impressions)


def _save_history(folder: Path, name: str, history: Interactions) -> dict[str, Any]:
    content = _save(folder, name, history, HISTORY_ARRAYS)
    return (
        content
        if history.impressions is None
        else content | _save_history(folder, f"{name}/{IMPRESSIONS}", history.impressions)
    )


def _open_history(folder: Path, num_items: int) -> Interactions:
    impressions = _open_history(folder / IMPRESSIONS, num_items) if (folder / IMPRESSIONS).is_dir() else None
    return Interactions(**_load(folder, HISTORY_ARRAYS), num_items=num_items, impressions=impressions)


def _save(folder: Path, place: str, holder: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Write the arrays that are not written yet; returns name -> what tells their values apart."""
    (folder / place).mkdir(exist_ok=True)
    content: dict[str, Any] = {}
    for name in names:
        if getattr(holder, name) is None:
            continue
        array = np.ascontiguousarray(getattr(holder, name))
        path = folder / place / f"{name}{ARRAY}"
        if not path.exists():
            np.save(path, array, allow_pickle=False)
        digest = hashlib.sha256()
        for rows in blocks(len(array), array, what=f"data: reading {place}/{name} once more"):
            digest.update(array[rows].data)
        content[f"{place}/{name}"] = [str(array.dtype), list(array.shape), digest.hexdigest()]
    return content


def _sum(path: Path, of_values: str | None = None) -> str:
    """Return the SHA-256 of a file; of an array that of its head and that of its values, if not known."""
    with path.open("rb") as file:
        if path.suffix != ARRAY:
            return hashlib.file_digest(file, "sha256").hexdigest()
        head = file.read(
            FIRST_BYTES
        )  # of NumPy's format: the last two are the length of what comes before values
        head += file.read(int.from_bytes(head[-2:], "little"))
        values = of_values or hashlib.file_digest(file, "sha256").hexdigest()
        return f"{hashlib.sha256(head).hexdigest()} {values}"


def _load(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Map the arrays that there are into memory."""
    paths = {name: folder / f"{name}{ARRAY}" for name in names}
    return {name: mapped(path) for name, path in paths.items() if path.is_file()}


def _save_table(table: pd.DataFrame, path: Path, source_path: str) -> str:
    try:
        table.to_parquet(path, index=False)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{source_path}: {'; '.join(str(part) for part in error.args)}: a column must hold values of one "
            "kind; make them all numbers (of 64 bits), all text, or all lists"
        ) from error
    columns = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None).combine_chunks()
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, columns.schema) as writer:
        writer.write_table(columns)
    return hashlib.sha256(stream.getvalue()).hexdigest()
