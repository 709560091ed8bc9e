"""From a source and a split to a stored data set: .npy files and Parquet tables, memory-mapped on reading."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector
from twotower.data.audit import WARNING, audit
from twotower.data.blocks import blocks, map_array
from twotower.data.dataset import Audit, Holdout, Labelled, RetrievalDataset
from twotower.data.interactions import COLUMNS, Interactions
from twotower.data.load_source import ALL_INTERACTIONS, cut_source, load_source
from twotower.data.sources.source import Source
from twotower.data.split_interactions import SplitInteractions, split_interactions
from twotower.data.splits.split import Split
from twotower.data.tables import ITEM_ID, USER_ID, Needs, Tables
from twotower.data.vocabulary import Vocabulary
from twotower.files.atomic import file_sha256, publish_folder, replace_folder, temporary_folder
from twotower.files.code import code_fingerprint
from twotower.files.lock import lock_folder
from twotower.files.plain_values import fingerprint_values

LOG = logging.getLogger("twotower")
META = "meta.json"
ARRAY = ".npy"
PATIENCE_SECONDS = 600.0
HISTORY_ARRAYS = ("offsets", *COLUMNS)
TARGET_ARRAYS = ("users", "target_offsets", "target_items", "request_times", "context")
LABELLED_ARRAYS = ("users", "items", "labels", "times", "weights", "context")
"""Stored arrays of each type; an array that is None has no file."""
IMPRESSIONS, LABELLED = "impressions", "labelled"  # subfolders


def build_dataset(
    source: Source,
    split: Split,
    cache_root: Path,
    rebuild: bool = False,
    needs: Needs | None = None,
    content: str | None = None,
) -> RetrievalDataset:
    """Load, check, split and store a data set, or open it if it is stored already.

    Several processes may build the same data set at once. `rebuild` builds a data set that is stored already.
    `content` is the source's fingerprint if it is known.

    Raises:
        InputError: mistakes in the data, or the split leaves train, valid or test empty.
    """
    ErrorCollector("the data", (message for _, message in source.config.problems())).raise_if_any()
    content = content or source.fingerprint()
    final = cache_root / cache_key(source, split, content)
    stored = None if rebuild else _open_dataset(final, source)
    if stored is not None:
        errors, paths = ErrorCollector("the data"), stored.source_paths
        frames = {"users": stored.user_table, "items": stored.item_table, "context": stored.context_table}
        for table, frame in frames.items():
            if frame is not None and needs is not None:
                errors.messages += needs(table, frame, paths.get(table, paths["interactions"]))
        errors.raise_if_any()
        return stored
    replaces = final.exists()
    if replaces and not rebuild:
        LOG.warning("%s: this stored data set is damaged, and is built again", final)
    with temporary_folder(final) as temporary:
        loaded = load_source(source, needs, temporary)
        split = split.resolve(loaded.interactions.positives)
        loaded = loaded if split.end is None else cut_source(loaded, split.end)
        cut = split_interactions(loaded.interactions, split, source.config.repeats == "keep", loaded.folder)
        figures = audit(loaded, cut, split)
        if source.fingerprint() != content:
            raise InputError(
                f"{loaded.tables.source_path('interactions')}: a file of the data changed while it "
                "was read; run again once it is complete"
            )
        _write_dataset(temporary, loaded.tables, cut, figures, loaded.contexts)
        if replaces:
            with lock_folder(cache_root, "cache", PATIENCE_SECONDS):  # another process may replace it, too
                replace_folder(temporary, final)
                dataset = _open_dataset(final, source)
        else:
            publish_folder(temporary, final)
            dataset = _open_dataset(final, source)
    assert dataset is not None
    return dataset


def cache_key(source: Source, split: Split, content: str | None = None) -> str:
    """Return a SHA-256 of the settings and content of a source, the split, and the code.

    `content` is the source's fingerprint if it is known.
    """
    code = code_fingerprint([type(source).__module__, type(split).__module__, __name__])
    return fingerprint_values([content or source.fingerprint(), split.config.spec(), code])


def _write_dataset(
    folder: Path, tables: Tables, cut: SplitInteractions, audit: Audit, contexts: pd.DataFrame | None
) -> None:
    """Write a data set into a folder; a history that is one object with another is written once.

    Arrays that a streamed source has written are not written again. Data sets of equal values have equal
    fingerprints. Raises InputError if a feature column mixes kinds of values.
    """
    holdouts = {"valid": cut.valid, "test": cut.test}
    histories = {"train": cut.train, "train_and_valid": cut.train_and_valid}
    histories |= {name: holdout.history for name, holdout in holdouts.items()}
    _write_history(folder, ALL_INTERACTIONS, cut.all_interactions)  # its parts are in the fingerprint
    names: dict[str, str] = {}
    content: dict[str, Any] = {"histories": names, "item_label": tables.item_label}
    for name, history in histories.items():
        names[name] = next((other for other in names if histories[other] is history), name)
        if names[name] == name:
            content |= _write_history(folder, f"history_{name}", history)
    for name, holdout in holdouts.items():
        content |= _write_arrays(folder, name, holdout, TARGET_ARRAYS)
        if holdout.labelled is not None:
            content |= _write_arrays(folder, f"{name}/{LABELLED}", holdout.labelled, LABELLED_ARRAYS)
    for name, frame in {"users": tables.users, "items": tables.items}.items():
        content[name] = _write_table(frame, folder / f"{name}.parquet", tables.source_path(name))
    content |= {} if tables.has_times else {"has_times": False}
    if contexts is not None:
        path = folder / "context.parquet"
        content["context"] = _write_table(contexts, path, tables.source_path("interactions"))
    optional = {"events": list(tables.actions.event_types), "repeats": cut.test.repeats}
    content |= {name: value for name, value in optional.items() if value}
    fields = {
        "fingerprint": fingerprint_values(content),
        "audit": audit,
        "item_label": tables.item_label,
        "source_paths": {name: tables.source_path(name) for name in ("interactions", "users", "items")},
        "has_times": tables.has_times,
        **optional,
    }
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    meta = {"fields": fields, "histories": names, "files": digests}
    (folder / META).write_text(json.dumps(meta, indent=1))


def _open_dataset(folder: Path, source: Source) -> RetrievalDataset | None:
    """Open a stored data set; None if a file is missing or damaged.

    It gets the paths of `source`, because equal files in another folder are the same data set.
    """
    meta = _read_meta(folder)
    try:
        if meta is None or any(file_sha256(folder / name) != each for name, each in meta["files"].items()):
            return None
    except OSError:
        return None
    user_table = pd.read_parquet(folder / "users.parquet")
    item_table = pd.read_parquet(folder / "items.parquet")
    contexts = folder / "context.parquet"
    names, fields = meta["histories"], dict(meta["fields"])
    if paths := source.source_paths():
        log, before = paths["interactions"], fields["source_paths"]
        fields["source_paths"] = {key: paths.get(key, log) for key in before}
        if warning := fields["audit"].get(WARNING):  # it begins with the path of the log
            fields["audit"] |= {WARNING: log + warning.removeprefix(before["interactions"])}
    histories = {
        name: _open_history(folder / f"history_{name}", len(item_table))
        for name in {names[key] for key in ("train", "train_and_valid", "valid")}
    }

    def open_holdout(name: str, history: Interactions) -> Holdout:
        path = folder / name / LABELLED
        labelled = Labelled(**_open_arrays(path, LABELLED_ARRAYS)) if path.is_dir() else None
        arrays = _open_arrays(folder / name, TARGET_ARRAYS)
        return Holdout(**arrays, history=history, labelled=labelled, repeats=fields["repeats"])

    def open_later(name: str) -> Interactions:
        if _read_meta(folder) != meta:
            raise InputError(f"{folder}: this stored data set was changed while a run used it; run again")
        return _open_history(folder / name, len(item_table))

    return RetrievalDataset(
        **fields,
        user_table=user_table,
        item_table=item_table,
        users=Vocabulary(user_table[USER_ID].to_numpy()),
        items=Vocabulary(item_table[ITEM_ID].to_numpy()),
        train=histories[names["train"]],
        train_and_valid=histories[names["train_and_valid"]],
        valid=open_holdout("valid", histories[names["valid"]]),
        open_test=lambda: open_holdout("test", open_later(f"history_{names['test']}")),
        open_interactions=lambda: open_later(ALL_INTERACTIONS),
        context_table=pd.read_parquet(contexts) if contexts.is_file() else None,
    )


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """Return the metadata of a stored data set; None if it is missing or damaged."""
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text())
    except (OSError, ValueError):
        return None
    return meta


def _write_history(folder: Path, name: str, history: Interactions) -> dict[str, Any]:
    content = _write_arrays(folder, name, history, HISTORY_ARRAYS)
    if history.impressions is not None:
        content |= _write_history(folder, f"{name}/{IMPRESSIONS}", history.impressions)
    return content


def _open_history(folder: Path, num_items: int) -> Interactions:
    impressions = _open_history(folder / IMPRESSIONS, num_items) if (folder / IMPRESSIONS).is_dir() else None
    arrays = _open_arrays(folder, HISTORY_ARRAYS)
    return Interactions(**arrays, num_items=num_items, impressions=impressions)


def _write_arrays(folder: Path, group: str, holder: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Write the arrays without a file; return `group/name` -> [type, shape, SHA-256 of the values]."""
    (folder / group).mkdir(exist_ok=True)
    content: dict[str, Any] = {}
    for name in names:
        if getattr(holder, name) is None:
            continue
        array = np.ascontiguousarray(getattr(holder, name))
        path = folder / group / f"{name}{ARRAY}"
        if not path.exists():
            np.save(path, array, allow_pickle=False)
        digest = hashlib.sha256()
        for rows in blocks(len(array), array, what=f"data: computing the SHA-256 of {group}/{name}"):
            digest.update(array[rows].data)
        content[f"{group}/{name}"] = [str(array.dtype), list(array.shape), digest.hexdigest()]
    return content


def _open_arrays(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Memory-map the stored arrays of a folder."""
    paths = {name: folder / f"{name}{ARRAY}" for name in names}
    return {name: map_array(path) for name, path in paths.items() if path.is_file()}


def _write_table(table: pd.DataFrame, path: Path, source_path: str) -> str:
    """Write a table; return a SHA-256 of its values that does not depend on the Parquet writer."""
    try:
        table.to_parquet(path, index=False)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{source_path}: {'; '.join(str(part) for part in error.args)}: a column must hold values of one "
            "kind; make them all numbers (of 64 bits), all text, or all lists"
        ) from error
    columns = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    # `take` writes zeros under missing values, where the reader of a file has left other bytes.
    columns = columns.take(np.arange(len(columns))).combine_chunks()
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, columns.schema) as writer:
        writer.write_table(columns)
    return hashlib.sha256(stream.getvalue()).hexdigest()
