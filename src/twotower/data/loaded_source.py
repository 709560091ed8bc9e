"""A source as checked tables and interactions of integer rows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.actions import distinct_contexts
from twotower.data.check_tables import check_tables
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Needs, Tables
from twotower.data.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class LoadedSource:
    """The content of a source.

    Args:
        given: the tables as the source returns them, without interactions.
        tables: the checked tables, without interactions; vocabulary row r is at position r - 1.
        interactions: all interactions.
        contexts: see `RetrievalDataset.context_table`.
    """

    given: Tables
    tables: Tables
    interactions: Interactions
    contexts: pd.DataFrame | None = None


def load_source(source: Source, needs: Needs | None) -> LoadedSource:
    """Load and check a source in memory; raises InputError with all mistakes."""
    given, config = source.load(), source.config
    tables = check_tables(given, needs, config.action_settings(), config.may_lack())
    users, items = vocabularies(tables)
    contexts, context_rows = distinct_contexts(tables.interactions, list(tables.context)) or (None, None)
    interactions = build_interactions(tables, users, items, context_rows)
    given = replace(given, interactions=pd.DataFrame())  # the largest part of the memory
    return LoadedSource(given, in_row_order(tables, users, items), interactions, contexts)


def vocabularies(tables: Tables) -> tuple[Vocabulary, Vocabulary]:
    """Return the vocabularies of users and of items of checked tables."""
    return Vocabulary.fit(tables.users[USER_ID]), Vocabulary.fit(tables.items[ITEM_ID])


def in_row_order(tables: Tables, users: Vocabulary, items: Vocabulary) -> Tables:
    """Return tables with users and items in the order of their rows, without interactions."""
    user_table, item_table = (
        table.iloc[np.argsort(vocabulary.rows(table[key]))].reset_index(drop=True)
        for table, key, vocabulary in ((tables.users, USER_ID, users), (tables.items, ITEM_ID, items))
    )
    return replace(tables, interactions=pd.DataFrame(), users=user_table, items=item_table)


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
        names = frame[SPLIT].to_numpy(dtype=object)
        given = np.select([names == name for name in SPLIT_NAMES], range(len(SPLIT_NAMES))).astype(np.int8)
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
