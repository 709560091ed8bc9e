"""From a source and a split to a data set, once: later calls open the cache."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from twotower.config.facts import Facts
from twotower.config.problems import Gathered
from twotower.data.audit import WARNING, audit_of
from twotower.data.dataset import Audit, RetrievalDataset
from twotower.data.history import log_of
from twotower.data.holdouts import Windows, windows_of
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.data.store import open_dataset, write_dataset
from twotower.data.tables import ENTITIES, ITEM_ID, TIMESTAMP, USER_ID, Needs, Tables, checked, no_needs
from twotower.data.times import oddity_of_times
from twotower.data.vocabulary import Vocabulary
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
    Gathered("the data", (message for _, message in source.config.problems(Facts()))).tell()
    final = cache_root / cache_key(source, split)
    found = None if anew else open_dataset(final)
    if found is not None:
        told = Gathered("the data")
        for table, frame in zip(ENTITIES, (found.user_table, found.item_table), strict=True):
            told.messages += needs(table, frame, found.origins.get(table, table))
        told.tell()
        return found
    if final.exists() and not anew:
        LOG.warning("warning: %s: this stored data set is damaged, and is built again", final)
    tables, windows, audit = _built(checked(source.load(), needs), split)
    with temporary_folder(final) as temporary:
        fingerprint = write_dataset(tables, windows, audit, temporary)
        publish_folder(temporary, final)
        found = open_dataset(final)
        if found is None or (anew and found.fingerprint != fingerprint):  # what was there is broken or old
            temporary.mkdir()
            write_dataset(tables, windows, audit, temporary)
            replace_folder(temporary, final)
            found = open_dataset(final)
    assert found is not None
    return found


def cache_key(source: Source, split: Split) -> str:
    """Return the SHA-256 of what makes a data set: the source and its content, the split, and the code."""
    code = code_fingerprint([type(source).__module__, type(split).__module__, __name__])
    return fingerprint_of([source.fingerprint(), split.config.spec(), code])


def _built(tables: Tables, split: Split) -> tuple[Tables, Windows, Audit]:
    users, items = Vocabulary.fit(tables.users[USER_ID]), Vocabulary.fit(tables.items[ITEM_ID])
    log = log_of(tables, users, items)
    windows = windows_of(log, split)
    audit = audit_of(log, windows, split)
    if oddity := oddity_of_times(tables.column("interactions", TIMESTAMP)):
        audit[WARNING] = oddity
    user_table, item_table = (
        table.iloc[np.argsort(vocabulary.rows(table[key]))].reset_index(drop=True)
        for table, key, vocabulary in ((tables.users, USER_ID, users), (tables.items, ITEM_ID, items))
    )
    return replace(tables, users=user_table, items=item_table), windows, audit
