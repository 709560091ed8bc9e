"""From a source and a split to a stored data set."""

import logging
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector
from twotower.data.audit import audit
from twotower.data.dataset import RetrievalDataset
from twotower.data.dataset_store import open_dataset, write_dataset
from twotower.data.load_source import load_source
from twotower.data.sources.source import Source
from twotower.data.split_interactions import split_interactions
from twotower.data.splits.split import Split
from twotower.data.tables import Needs
from twotower.files.atomic import publish_folder, replace_folder, temporary_folder
from twotower.files.code import code_fingerprint
from twotower.files.plain_values import fingerprint_values

LOG = logging.getLogger("twotower")


def build_dataset(
    source: Source, split: Split, cache_root: Path, rebuild: bool = False, needs: Needs | None = None
) -> RetrievalDataset:
    """Load, check, split and store a data set, or open it if it is stored already.

    Several processes may build the same data set at once. `rebuild` builds a data set that is stored already.

    Raises:
        InputError: mistakes in the data, or the split leaves train, valid or test empty.
    """
    ErrorCollector("the data", (message for _, message in source.config.problems())).raise_if_any()
    content = source.fingerprint()
    final = cache_root / cache_key(source, split, content)
    stored = None if rebuild else open_dataset(final)
    if stored is not None:
        _check_needs(stored, needs)
        return stored
    replaces = final.exists()
    if replaces and not rebuild:
        LOG.warning("%s: this stored data set is damaged, and is built again", final)
    with temporary_folder(final) as temporary:
        loaded = load_source(source, needs, temporary)
        cut = split_interactions(loaded.interactions, split, source.config.repeats == "keep", loaded.folder)
        figures = audit(loaded, cut, split)
        if source.fingerprint() != content:
            raise InputError(
                f"{loaded.tables.source_path('interactions')}: a file of the data changed while it "
                "was read; run again once it is complete"
            )
        write_dataset(temporary, loaded.tables, cut, figures, loaded.contexts)
        if replaces:
            replace_folder(temporary, final)
        else:
            publish_folder(temporary, final)
    dataset = open_dataset(final)
    assert dataset is not None
    return dataset


def _check_needs(dataset: RetrievalDataset, needs: Needs | None) -> None:
    """Raise InputError if a stored data set lacks columns or has wrong values for the features."""
    errors, paths = ErrorCollector("the data"), dataset.source_paths
    frames = {"users": dataset.user_table, "items": dataset.item_table, "context": dataset.context_table}
    for table, frame in frames.items():
        if frame is not None and needs is not None:
            errors.messages += needs(table, frame, paths.get(table, paths["interactions"]))
    errors.raise_if_any()


def cache_key(source: Source, split: Split, content: str | None = None) -> str:
    """Return a SHA-256 of the settings and content of a source, the split, and the code.

    `content` is the source's fingerprint if it is known.
    """
    code = code_fingerprint([type(source).__module__, type(split).__module__, __name__])
    return fingerprint_values([content or source.fingerprint(), split.config.spec(), code])
