"""Data sets for `carry_over.py`, as `data=table_files` reads them.

The default recipe, but for one rule, was not chosen on them.

From what is in `TWOTOWER_DATA_DIR` and bundled: other periods, users and items of it; and made-up shops. A
set is a folder with interactions.csv, and mostly users.csv and items.csv.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from held_out_made import NEWS, SHOPS, SITES

from twotower.data.sources.movielens import MovieLens
from twotower.data.sources.online_retail import OnlineRetail
from twotower.data.tables import ITEM_ID, USER_ID, Tables
from twotower.files.atomic import publish_folder, temporary_folder

SEED = 20
HOURS = ("split.unit=share", "split.test=0.06", "split.valid=0.06")
KINDS = "twotower.model.features"
SHARES = ("split.unit=share", "split.test=0.1", "split.valid=0.1")


@dataclass(frozen=True)
class Stranger:
    """How to make a data set.

    Attributes:
        tables: makes it.
        typed: what its log needs, such as a split that fits its length.
        features: overrides that read its columns; without them items are known by id.
    """

    tables: Callable[[], Tables]
    typed: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def feature(of: str, column: str, kind: str, **more: object) -> str:
    """Return the override that reads a column of users or items."""
    settings = {"_target_": f"{KINDS}.{kind}", "column": column, **more}
    return f"+features.{of}.{column}={{{','.join(f'{key}:{value}' for key, value in settings.items())}}}"


@dataclass(frozen=True)
class Origin:
    """A real data set, parts of which are strangers."""

    load: Callable[[], Tables]
    features: tuple[str, ...]
    typed: tuple[str, ...] = ()

    def cut(self, tables: Callable[[Tables], Tables], *typed: str) -> Stranger:
        """Return a part of it."""
        return Stranger(lambda: tables(self.load()), typed or self.typed, self.features)


def beauty() -> Tables:
    """Return Amazon Beauty, 5-core, with its timestamps."""
    folder = Path(os.environ["TWOTOWER_DATA_DIR"]) / "amazon-beauty-5core"
    log = pd.read_csv(folder / "interactions.csv", usecols=[USER_ID, ITEM_ID, "timestamp"])
    items = pd.read_csv(folder / "items.csv", usecols=[ITEM_ID, "attributes"], keep_default_na=False)
    return Tables(log, pd.DataFrame({USER_ID: log[USER_ID].unique()}), items)


TAGS = ("data.tag_columns=[genres]",)
FILMS = (
    feature("item", "title", "text.HashedText", dim=32, char_ngrams="false"),
    feature("item", "genres", "tags.Tags", dim=16),
    feature("user", "occupation", "categorical.Categorical", dim=8),
)
RETAIL = Origin(
    lambda: OnlineRetail.Config().build().load(),
    (
        feature("item", "description", "text.HashedText", dim=64, max_tokens=80),
        feature("item", "price", "numeric.Numeric", transform="log1p"),
        feature("user", "country", "categorical.Categorical", dim=8, min_count=5),
    ),
)
ML_1M = Origin(lambda: MovieLens.Config(variant="1m").build().load(), FILMS, (*SHARES, *TAGS))
ML_100K = Origin(lambda: MovieLens.Config(variant="100k").build().load(), FILMS, TAGS)
BEAUTY = Origin(
    beauty, (feature("item", "attributes", "tags.Tags", dim=32),), ("data.tag_columns=[attributes]",)
)
SITE_FEATURES = (feature("item", "category", "categorical.Categorical", dim=8),)
SHOP_FEATURES = (
    *SITE_FEATURES,
    feature("user", "segment", "categorical.Categorical", dim=8),
)


def between(first: str, last: str) -> Callable[[Tables], Tables]:
    """Keep what happened from one day until before another."""

    def cut(tables: Tables) -> Tables:
        seconds = tables.interactions["timestamp"]
        begin, end = (pd.Timestamp(day, tz="UTC").timestamp() for day in (first, last))
        return _of_log(tables, (seconds >= begin) & (seconds < end))

    return cut


def quarter(number: int) -> Callable[[Tables], Tables]:
    """Keep one of four parts of the log with equally many interactions, by time."""

    def cut(tables: Tables) -> Tables:
        times = tables.interactions["timestamp"]
        edges = times.quantile([number / 4, (number + 1) / 4]).to_numpy()
        return _of_log(tables, (times > edges[0]) & (times <= edges[1]))

    return cut


def some_of(key: str, share: float) -> Callable[[Tables], Tables]:
    """Keep a share of the users or items, drawn evenly; a smaller share is a part of a larger one."""

    def cut(tables: Tables) -> Tables:
        values = np.sort(tables.interactions[key].unique())
        drawn = np.random.default_rng(SEED).permutation(values)[: max(round(share * len(values)), 1)]
        return _of_log(tables, tables.interactions[key].isin(drawn))

    return cut


def most_popular(number: int) -> Callable[[Tables], Tables]:
    """Keep the items with the most interactions."""

    def cut(tables: Tables) -> Tables:
        popular = tables.interactions[ITEM_ID].value_counts().index[:number]
        return _of_log(tables, tables.interactions[ITEM_ID].isin(popular))

    return cut


def short_users(length: int, number: int) -> Callable[[Tables], Tables]:
    """Make a user of every `length` successive interactions of a user; keep some of them, drawn evenly."""

    def cut(tables: Tables) -> Tables:
        log = tables.interactions.sort_values("timestamp", kind="stable", ignore_index=True)
        parts = log.groupby(USER_ID).cumcount() // length
        log, users = _split_ids(log, tables.users, USER_ID, parts)
        log = log[log.groupby(USER_ID)[USER_ID].transform("size") == length]
        drawn = np.random.default_rng(SEED).permutation(log[USER_ID].unique())[:number]
        return _of_log(replace(tables, interactions=log, users=users), log[USER_ID].isin(drawn))

    return cut


def short_lives(days: float) -> Callable[[Tables], Tables]:
    """Replace each item by another one with equal features every so many days, as news on one subject."""

    def cut(tables: Tables) -> Tables:
        log = tables.interactions.reset_index(drop=True)
        begins = np.random.default_rng(SEED).random(len(tables.items)) * days
        first = log[ITEM_ID].map(dict(zip(tables.items[ITEM_ID], begins, strict=True)))
        lives = ((log["timestamp"] / 86_400 + first) // days).astype(int)
        log, items = _split_ids(log, tables.items, ITEM_ID, lives)
        return replace(tables, interactions=log, items=items)

    return cut


def in_turn(*cuts: Callable[[Tables], Tables]) -> Callable[[Tables], Tables]:
    """Apply several cuts, one after the other."""

    def cut(tables: Tables) -> Tables:
        for each in cuts:
            tables = each(tables)
        return tables

    return cut


def _split_ids(
    log: pd.DataFrame, table: pd.DataFrame, key: str, parts: "pd.Series[int]"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the log and a table with new ids: one per old id and part."""
    old = log[key]
    log = log.assign(**{key: old.astype(str) + "-" + parts.astype(str)})
    new = pd.DataFrame({"old": old, key: log[key]}).drop_duplicates()
    return log, new.merge(table.rename(columns={key: "old"}), on="old").drop(columns="old")


def _of_log(tables: Tables, keep: "pd.Series[bool]") -> Tables:
    """Keep some interactions, and the users and items of these."""
    log = tables.interactions[keep].reset_index(drop=True)
    users, items = (
        table[table[key].isin(log[key])].reset_index(drop=True)
        for key, table in ((USER_ID, tables.users), (ITEM_ID, tables.items))
    )
    return replace(tables, interactions=log, users=users, items=items)


def whole(tables: Tables) -> Tables:
    """Keep everything."""
    return tables


STRANGERS = {
    "retail_first_5_months": RETAIL.cut(between("2010-12-01", "2011-05-01")),
    "retail_last_6_months": RETAIL.cut(between("2011-06-10", "2011-12-31")),
    "retail_no_november": RETAIL.cut(between("2010-12-01", "2011-11-01")),
    **{f"retail_users_{share}": RETAIL.cut(some_of(USER_ID, share / 100)) for share in (5, 20, 50)},
    **{f"retail_items_{share}": RETAIL.cut(some_of(ITEM_ID, share / 100)) for share in (5, 20, 50)},
    **{f"ml1m_quarter_{number + 1}": ML_1M.cut(quarter(number)) for number in range(4)},
    **{f"ml1m_users_{share}": ML_1M.cut(some_of(USER_ID, share / 100)) for share in (5, 20, 50)},
    **{f"ml1m_items_{share}": ML_1M.cut(some_of(ITEM_ID, share / 100)) for share in (5, 20, 50)},
    "ml100k": ML_100K.cut(whole),
    # Strong features and few interactions; subjects that are news for days; users with two interactions each.
    "retail_few": RETAIL.cut(short_users(3, 6_000)),
    "ml1m_news": ML_1M.cut(in_turn(between("2000-05-01", "2001-01-01"), most_popular(300), short_lives(3))),
    "ml1m_pairs": ML_1M.cut(short_users(2, 300_000)),
    "beauty": BEAUTY.cut(whole),
    "beauty_users_20": BEAUTY.cut(some_of(USER_ID, 0.2)),
    **{
        name: Stranger(
            shop.tables,
            ("+data.repeats=keep",) if shop.habit else (),
            SHOP_FEATURES if shop.has_features else (),
        )
        for name, shop in SHOPS.items()
    },
    # Sessions: eight consecutive films (a part of them chose `experiment=sessions`), and made-up sites.
    "ml1m_visits": ML_1M.cut(short_users(8, 40_000), "experiment=sessions", *TAGS),
    **{name: Stranger(site.tables, ("experiment=sessions",), SITE_FEATURES) for name, site in SITES.items()},
    # Articles that live for hours, with and without taste; the windows are of some hours.
    **{name: Stranger(site.tables, HOURS) for name, site in NEWS.items()},
}
FILES = ("interactions", "users", "items")


def make(name: str, root: Path) -> Path:
    """Make a set if it is not there; return its folder, which has a CSV file of each table with rows."""
    folder = root / name
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    tables = STRANGERS[name].tables()
    with temporary_folder(folder) as temporary:
        for table in FILES:
            frame = getattr(tables, table)
            if not len(frame):
                continue
            lists = frame.columns[[isinstance(each, list) for each in frame.iloc[0]]]
            joined = {column: frame[column].map("|".join) for column in lists}
            frame.assign(**joined).to_csv(temporary / f"{table}.csv", index=False)
        publish_folder(temporary, folder)
    return folder


def paths_of(folder: Path) -> list[str]:
    """Return the settings that name the files of a set."""
    paths = {table: folder / f"{table}.csv" for table in FILES}
    return [f"data.{table}_path={path}" for table, path in paths.items() if path.is_file()]
