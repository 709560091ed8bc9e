"""A log in rows, in its order: what splits and histories are made of."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from twotower.data.actions import contexts_of
from twotower.data.check_tables import checked
from twotower.data.log import Log, log_of
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, TIMESTAMP, USER_ID, Needs, Tables
from twotower.data.times import oddity_of_times
from twotower.data.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Placed:
    """The log of a source.

    Args:
        given: what the source gave.
        tables: of it, checked; row r of the vocabulary = position r - 1 of users and items.
        log: in rows.
        contexts: see `RetrievalDataset.context_table`.
        oddity: what to warn of.
    """

    given: Tables
    tables: Tables
    log: Log
    contexts: pd.DataFrame | None = None
    oddity: str | None = None


def placed(source: Source, needs: Needs) -> Placed:
    """Load and check everything in memory; an InputError says what is wrong."""
    given, config = source.load(), source.config
    tables = checked(given, needs, config.meaning(), config.may_lack())
    users, items = vocabularies(tables)
    contexts = contexts_of(tables.interactions, list(tables.context))
    log = log_of(tables, users, items, contexts.rows if contexts else None)
    oddity = oddity_of_times(tables.column("interactions", TIMESTAMP)) if tables.has_times else None
    given = replace(given, interactions=pd.DataFrame())  # which take most of the memory
    return Placed(
        given, in_rows(tables, users, items), log, None if contexts is None else contexts.table, oddity
    )


def vocabularies(tables: Tables) -> tuple[Vocabulary, Vocabulary]:
    """Return the vocabularies of users and of items, of checked tables."""
    return Vocabulary.fit(tables.users[USER_ID]), Vocabulary.fit(tables.items[ITEM_ID])


def in_rows(tables: Tables, users: Vocabulary, items: Vocabulary) -> Tables:
    """Return tables with users and items in the order of their rows, and without the interactions."""
    user_table, item_table = (
        table.iloc[np.argsort(vocabulary.rows(table[key]))].reset_index(drop=True)
        for table, key, vocabulary in ((tables.users, USER_ID, users), (tables.items, ITEM_ID, items))
    )
    return replace(tables, interactions=pd.DataFrame(), users=user_table, items=item_table)
