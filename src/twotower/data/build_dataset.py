"""From a source and a split to a data set, which is stored and opened by later calls."""

import logging
from pathlib import Path

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.problems import Gathered
from twotower.data.audit import audit
from twotower.data.blocks import MEMORY, Folder, Room
from twotower.data.dataset import Audit, RetrievalDataset
from twotower.data.dataset_store import open_dataset, write_dataset
from twotower.data.loaded_source import load_source
from twotower.data.sources.source import Source
from twotower.data.split_interactions import SplitInteractions, split_interactions
from twotower.data.splits.split import Split
from twotower.data.streamed_source import stream_source
from twotower.data.tables import Needs, Tables, no_needs
from twotower.files.atomic import publish_folder, replace_folder, temporary_folder
from twotower.files.code import code_fingerprint
from twotower.files.plain_values import fingerprint_of

LOG = logging.getLogger("twotower")


def build_dataset(
    source: Source, split: Split, cache_root: Path, anew: bool = False, needs: Needs = no_needs
) -> RetrievalDataset:
    """Load, check, split and store a data set, or open it where that was done before.

    Two processes may build the same one at once. An InputError says what is wrong with the data or the split.
    """
    Gathered("the data", (message for _, message in source.config.problems())).raise_if_any()
    content = source.fingerprint()
    final = cache_root / cache_key(source, split, content)
    found = None if anew else open_dataset(final)
    if found is not None:
        told = Gathered("the data")
        frames = {"users": found.user_table, "items": found.item_table, "context": found.context_table}
        for table, frame in frames.items():
            if frame is not None:
                told.messages += needs(
                    table, frame, found.source_paths.get(table, found.source_paths["interactions"])
                )
        told.raise_if_any()
        return found
    if final.exists() and not anew:
        LOG.warning("%s: this stored data set is damaged, and is built again", final)
    with temporary_folder(final) as temporary:
        built = _built(source, split, needs, temporary)
        if source.fingerprint() != content:
            raise InputError(
                f"{built[0].source_path('interactions')}: a file of the data changed while it "
                "was read; run again once it is complete"
            )
        fingerprint = write_dataset(temporary, *built)
        ours = publish_folder(temporary, final)
        found = open_dataset(final, is_sound=ours)
        if found is None or (anew and found.fingerprint != fingerprint):  # what was there is broken or old
            temporary.mkdir()
            write_dataset(temporary, *built)
            replace_folder(temporary, final)
            found = open_dataset(final)
    assert found is not None
    return found


def cache_key(source: Source, split: Split, content: str | None = None) -> str:
    """Return the SHA-256 of what makes a data set: the source and its content, the split, and the code.

    `content` is the source's fingerprint, where it is known already.
    """
    code = code_fingerprint([type(source).__module__, type(split).__module__, __name__])
    return fingerprint_of([content or source.fingerprint(), split.config.spec(), code])


def _built(
    source: Source, split: Split, needs: Needs, folder: Path
) -> tuple[Tables, SplitInteractions, Audit, pd.DataFrame | None]:
    """Return the arguments of `write_dataset`; of long files the arrays are already in the folder."""
    files = source.interaction_files()
    if files is None:
        room: Room = MEMORY
        loaded = load_source(source, needs)
    else:
        room = Folder(folder)
        with temporary_folder(folder.with_name("log")) as scratch:
            loaded = stream_source(source, files, needs, room, scratch)
    cut = split_interactions(loaded.interactions, split, source.config.repeats == "keep", room)
    return loaded.tables, cut, audit(loaded, cut, split), loaded.contexts
