"""A source as checked tables and interactions of integer rows, in memory or sorted on disk if it is long."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.actions import distinct_contexts
from twotower.data.check_tables import check_tables
from twotower.data.interactions import Interactions, offsets_from_counts, user_offsets
from twotower.data.sources.source import Source
from twotower.data.tables import ENTITIES, ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Needs, Tables
from twotower.data.vocabulary import Vocabulary

ALL_INTERACTIONS = "history_whole"
"""Folder of long interactions that are sorted on disk, below the folder of their data set."""


@dataclass(frozen=True, eq=False)
class LoadedSource:
    """The content of a source."""

    tables: Tables  # checked, without interactions; vocabulary row r is at position r - 1
    added_ids: Mapping[str, "pd.Series[Any]"]  # table -> ids of interactions that its file lacks
    interactions: Interactions
    contexts: pd.DataFrame | None = None  # see `RetrievalDataset.context_table`
    folder: Path | None = None  # where long interactions are sorted and split; None: in memory


def load_source(source: Source, needs: Needs | None, folder: Path) -> LoadedSource:
    """Load and check a source, sort long interactions in `folder`; raises InputError with all mistakes."""
    contexts = None
    if (files := source.interaction_files()) is not None:
        counts, given = files.count_ids(), files.tables
        ids = {table: counts[key].index.to_numpy() for table, key in ENTITIES.items()}
        tables = check_tables(given, needs, source.config, ids)
        users, items = _vocabularies(tables)
        lengths = np.zeros(len(users) + 1, dtype=np.int64)
        lengths[users.rows(ids["users"])] = counts[USER_ID].to_numpy()
        interactions = files.sort(users, items, offsets_from_counts(lengths), folder / ALL_INTERACTIONS)
    else:
        given = source.load()
        tables = check_tables(given, needs, source.config)
        users, items = _vocabularies(tables)
        contexts, context_rows = distinct_contexts(tables.interactions, list(tables.context)) or (None, None)
        interactions = build_interactions(tables, users, items, context_rows)
    added_ids = {
        table: getattr(tables, table)[key].iloc[len(frame) :]
        for table, key in ENTITIES.items()
        if len((frame := getattr(given, table)).columns)
    }
    user_table, item_table = (
        table.iloc[np.argsort(vocabulary.rows(table[key]))].reset_index(drop=True)  # in the order of rows
        for table, key, vocabulary in ((tables.users, USER_ID, users), (tables.items, ITEM_ID, items))
    )
    tables = replace(tables, interactions=pd.DataFrame(), users=user_table, items=item_table)
    return LoadedSource(tables, added_ids, interactions, contexts, None if files is None else folder)


def cut_source(loaded: LoadedSource, end: int) -> LoadedSource:
    """Return a source as it was before a second: without later interactions, users and items.

    Users and items without any interaction stay. Long interactions are no longer on disk.
    """
    interactions, tables = loaded.interactions, loaded.tables
    early = interactions.where(np.asarray(interactions.times) < end)
    users = _new_rows(interactions.user_rows(), early.user_rows(), interactions.num_users)
    items = _new_rows(interactions.items, early.items, interactions.num_items)
    kept_users, kept_items = (
        table[rows[1:] > 0].reset_index(drop=True)
        for table, rows in ((tables.users, users), (tables.items, items))
    )
    tables = replace(tables, users=kept_users, items=kept_items)
    offsets = user_offsets(users[early.user_rows()], len(kept_users))
    early = replace(early, offsets=offsets, items=items[early.items], num_items=len(kept_items))
    if loaded.folder is not None:
        shutil.rmtree(loaded.folder / ALL_INTERACTIONS)
    return replace(loaded, tables=tables, interactions=early)


def _new_rows(rows: NDArray[np.int32], early: NDArray[np.int32], number: int) -> NDArray[np.int32]:
    """Return the new row of each row up to a number; 0 for rows that occur, but not early."""
    is_kept = np.ones(number + 1, dtype=np.bool_)
    is_kept[rows] = False
    is_kept[early] = True
    is_kept[0] = False
    return np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)


def _vocabularies(tables: Tables) -> tuple[Vocabulary, Vocabulary]:
    return Vocabulary.fit(tables.users[USER_ID]), Vocabulary.fit(tables.items[ITEM_ID])


def build_interactions(
    tables: Tables, users: Vocabulary, items: Vocabulary, context: NDArray[np.int32] | None = None
) -> Interactions:
    """Return the interactions of checked tables in stable order; `context`: int32 [n], rows of contexts."""
    frame, actions = tables.interactions, tables.actions
    user_rows, item_rows = users.rows(frame[USER_ID]), items.rows(frame[ITEM_ID])
    times = frame[TIMESTAMP].to_numpy(dtype=np.int64)
    order = np.lexsort((times, user_rows))  # lexsort is stable: equal times keep the row order of the source
    given = None
    if SPLIT in frame.columns:
        given = pd.Categorical(frame[SPLIT], categories=list(SPLIT_NAMES)).codes
    columns: dict[str, Any] = {
        "given": given,
        "roles": actions.roles,
        "weights": actions.weights,
        "events": actions.codes,
        "context": context,
    }
    columns = {name: None if column is None else column[order] for name, column in columns.items()}
    return Interactions.from_rows(
        user_rows[order], item_rows[order], times[order], len(users), num_items=len(items), **columns
    )
