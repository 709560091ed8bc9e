"""Write the top items of many users to a file."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from twotower.config.errors import InputError
from twotower.data.source_column import WHOLE_NUMBER
from twotower.data.table_reader import is_parquet, read_file
from twotower.data.tables import ITEM_ID, USER_ID
from twotower.data.vocabulary import Vocabulary
from twotower.files.part_files import write_in_parts
from twotower.files.plain_values import fingerprint_values
from twotower.serving.live_items import UserId, rows_of
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

EVERY = "all"
PART_ROWS = 2**18
USERS_PER_PASS = 256


def write_top_lists(
    bundle: Path,
    out: Path,
    users: str | int | Sequence[UserId],
    rules: Request,
    trusted_packages: Collection[str] = (),
) -> str:
    """Write `user_id, rank, item_id, score` of users, best first. Returns one line of text.

    Args:
        bundle: folder of the bundle.
        out: the Parquet file; see `write_in_parts` for how an interrupted run is resumed.
        users: `all`, ids, or a file with a column `user_id`.
        rules: the request for each user, without a user id.
        trusted_packages: packages whose classes the bundle can name.

    Raises:
        InputError: the bundle cannot be read, a user is unknown or listed twice, or the request is invalid.
    """
    retriever = Retriever.open(bundle, trusted_packages)
    ids = _ids(users, retriever)
    retriever.answer_one(dataclasses.replace(rules, user_id=ids[0]))  # reports mistakes first
    size, k = max(1, PART_ROWS // rules.k), rules.k
    user_kind, item_kind = (
        pa.string() if ids.is_text else pa.int64() for ids in (retriever.bundle.users, retriever.bundle.items)
    )
    columns = {USER_ID: user_kind, "rank": pa.int32(), ITEM_ID: item_kind, "score": pa.float32()}
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
    plan = {
        "command": "recommend",
        "bundle": retriever.bundle.manifest.sha256,
        "users": len(ids),
        "users_sha256": fingerprint_values(list(ids)),
        "k": k,
        "rules_sha256": fingerprint_values(repr(vars(rules))),
        "part_rows": PART_ROWS,
        "users_per_pass": USERS_PER_PASS,
    }

    def part(number: int) -> pa.Table:
        return pa.table(_part(retriever, ids[number * size : (number + 1) * size], rules), schema)

    num_rows = write_in_parts(out, plan, -(-len(ids) // size), part)
    fewer = len(ids) * k - num_rows
    short = f", {fewer:,} fewer than {k} each" if fewer else ""
    return f"ok  {len(ids):,} users, {num_rows:,} rows{short}  {out}"


def _part(retriever: Retriever, ids: Sequence[UserId], rules: Request) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {USER_ID: [], "rank": [], ITEM_ID: [], "score": []}
    for start in range(0, len(ids), USERS_PER_PASS):
        some = ids[start : start + USERS_PER_PASS]
        answers = retriever.answer([dataclasses.replace(rules, user_id=user) for user in some])
        for user, best in zip(some, answers, strict=True):
            if isinstance(best, InputError):
                raise InputError(f"user {user!r:.80}: {best}")
            columns[USER_ID] += [user] * len(best)
            columns["rank"] += range(1, len(best) + 1)
            columns[ITEM_ID] += [each.item_id for each in best]
            columns["score"] += [each.score for each in best]
    return columns


def _ids(users: str | int | Sequence[UserId], retriever: Retriever) -> list[UserId]:
    known = retriever.bundle.users
    if users == EVERY:
        return retriever.user_ids
    if isinstance(users, str):
        asked, where = _ids_in(Path(users), known), f" in {users}"
    else:
        asked, where = [users] if isinstance(users, int) else list(users), ""
    if not asked:
        raise InputError(f"users: the list is empty{where}; name users, or {EVERY}")
    rows = rows_of(known, asked)
    if (wrong := np.flatnonzero(rows == 0)).size:
        kind = "text" if known.is_text else "whole numbers"
        raise InputError(
            f"users: {len(wrong):,} of {len(asked):,} ids{where} are not among the {len(known):,} users of "
            f"this bundle (ids are {kind}), the first is {asked[wrong[0]]!r:.80}; leave them out"
        )
    distinct, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        twice = known.ids(distinct[counts > 1][:1]).tolist()[0]
        raise InputError(f"users: {twice!r:.80} is listed more than once{where}; list each user once")
    ids: list[UserId] = known.ids(rows).tolist()
    return ids


def _ids_in(path: Path, known: Vocabulary) -> list[UserId]:
    if not path.is_file():
        raise InputError(
            f"users: expected {EVERY}, a list of ids such as [12,15], or a file with a column {USER_ID!r}, "
            f"and there is no file {str(path)!r:.80}"
        )
    values = read_file(path, [USER_ID], ",", [USER_ID])[USER_ID]
    if known.is_text or is_parquet(path):
        found: list[UserId] = values.tolist()
        return found
    numbers = values.str.fullmatch(WHOLE_NUMBER).fillna(False)
    return [int(value) if whole else value for value, whole in zip(values, numbers, strict=True)]
