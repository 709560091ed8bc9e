"""`twotower init`: reads the first rows, asks for missing settings, builds the data, writes YAMLs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.commands.conf import CONF, own_place
from twotower.commands.init.kinds import Kind, is_label, kind_of
from twotower.commands.init.plan import plan_of, repeats_hint
from twotower.commands.init.render import Setting, data_settings, data_yaml, features_yaml, told
from twotower.commands.init.role_names import Roles
from twotower.commands.init.roles import roles_of
from twotower.commands.init.sample import Sample, sample_of
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.data.audit import audit_table
from twotower.files.atomic import write_text_atomically

ORDER = ("interactions", "users", "items")
YOU_SAY_SO = Kind({}, "you say so")


@dataclass(frozen=True)
class InferredSettings:
    """Inferred settings of the data, roles of the columns of the log, and kinds of features."""

    settings: list[Setting]
    roles: Roles
    kinds: dict[str, dict[str, Kind]]


def infer_settings(files: Sequence[Path], said: Mapping[str, Any]) -> InferredSettings:
    """Infer settings from files.

    Args:
        files: the log, then optional files of users and items in any order.
        said: flags of the user, see `roles.roles_of`; `separator`, `repeats`, `without` and
            `unordered`.

    Raises:
        InputError: lists the flags to add, or names an unreadable file.
    """
    log = sample_of(files[0], said.get("separator"))
    roles = roles_of(log, said)
    raise_problems(roles.asked, f"what {files[0]} tells; nothing was written")
    tables: dict[str, Sample] = {"interactions": log} | _tables(files[1:], log, roles, said.get("separator"))
    kinds: dict[str, dict[str, Kind]] = {"user": {}, "item": {}, "context": {}}
    label = None
    without = set(said.get("without") or ())
    keys = {roles.columns["user"], roles.columns["item"], "user_id", "item_id"}
    for group, table in (("user", "users"), ("item", "items")):
        columns = tables[table].columns.values() if table in tables else ()
        for column in columns:
            if column.name not in keys:
                kinds[group][column.name] = YOU_SAY_SO if column.name in without else kind_of(column)
                label = column.name if group == "item" and label is None and is_label(column) else label
    kinds["context"] = {
        name: YOU_SAY_SO if name in without else kind_of(log.columns[name]) for name in roles.context
    }
    _refuse_unknown(without, tables)
    roles.context = [name for name in roles.context if kinds["context"][name].spec]
    separators = [sample.separator for sample in tables.values() if sample.separator]
    paths = {table: tables[table].path for table in sorted(tables, key=ORDER.index)}
    separator = separators[0] if separators else None
    unordered = bool(said.get("unordered"))
    settings = data_settings(paths, roles, separator, label, said.get("repeats"), unordered)
    return InferredSettings(settings, roles, kinds)


def _refuse_unknown(without: set[str], tables: Mapping[str, Sample]) -> None:
    """Refuse names of columns that no file has."""
    known = {name for sample in tables.values() for name in sample.columns}
    unknown = sorted(without - known)
    raise_problems(Problem("--without", f"no column {name!r}; {nearest(name, known)}") for name in unknown)


def _tables(files: Sequence[Path], log: Sample, roles: Roles, separator: str | None) -> dict[str, Sample]:
    """Return table name -> file; the id column that is unique decides between users and items."""
    tables: dict[str, Sample] = {}
    user, item = roles.columns["user"], roles.columns["item"]
    for path in files:
        sample = sample_of(path, separator)
        if None not in (sample.separator, log.separator) and sample.separator != log.separator:
            marks = f"{sample.separator!r} between its fields, and {log.path} has {log.separator!r}"
            raise InputError(f"{path}: has {marks}; make them alike")
        fits = [table for table, key in (("users", user), ("items", item)) if _is_key(sample, key)]
        if len(fits) != 1:
            raise InputError(
                f"{path}: expected one row a user with the column {user!r}, or an item with {item!r}, as "
                f"the log calls them; there are {', '.join(map(repr, sample.columns))}"
            )
        if fits[0] in tables:
            raise InputError(
                f"{path} and {tables[fits[0]].path} both are files of {fits[0]}; name one of them"
            )
        tables[fits[0]] = sample
    return tables


def _is_key(sample: Sample, name: str) -> bool:
    column = sample.columns.get(name)
    return column is not None and len(column.distinct) == len(column.values)


def init(files: Sequence[Path], name: str, said: Mapping[str, Any], overwrite: bool) -> None:
    """Write settings for new files; print the columns, the audit and the training command.

    The data set is built first; nothing is written if it is refused.

    Args:
        files: see `infer_settings`.
        name: name of the choices and of the folder of their runs.
        said: see `infer_settings`.
        overwrite: replace existing files.

    Raises:
        InputError: see `infer_settings`; or a file exists, or the data is refused.
    """
    places = _places(name, overwrite)
    found = infer_settings(files, said)
    print("\n".join([f"{files[0]}:", *told(found.roles, found.kinds)]))
    try:
        plan = plan_of(found.settings, found.roles, found.kinds)
    except InputError as error:
        remedy = "correct it, or leave a column of users, items or context out with --without COLUMN"
        raise InputError(f"{error}\nnothing was written; {remedy}") from error
    command = shlex.join(["twotower", "train", f"data={name}", f"name={name}", *plan.overrides])
    hint = "" if said.get("repeats") else repeats_hint(plan.audit)
    texts = {
        "data": data_yaml(command, found.settings, plan.split, found.roles.left_out, hint),
        "features": features_yaml(command, found.kinds),
    }
    for group, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(place, texts[group])
    print(f"written: {' and '.join(map(str, places.values()))}\n")
    print("\n".join(f"  {key:<26} {value}" for key, value in audit_table(plan.audit)))
    if hint:
        print(f"hint: {hint}")
    print(f"\nnext: {command}")


def _places(name: str, overwrite: bool) -> dict[str, Path]:
    """Return group -> file to write, in the user's folder of choices (conf/local in a checkout)."""
    if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
        raise InputError(f"--name {name}: expected a word of letters, digits, _ and -, such as shop")
    folder = own_place()
    folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    places = {group: folder / group / f"{name}.yaml" for group in ("data", "features")}
    problems = [
        Problem("--name", f"{CONF.name}/{group}/{name}.yaml is a choice of ours; take another name")
        for group in places
        if (CONF / group / f"{name}.yaml").is_file()
    ]
    if not overwrite:
        there = [place for place in places.values() if place.exists()]
        problems += [
            Problem(str(place), "is there; add --overwrite, or take another --name") for place in there
        ]
    raise_problems(problems, "the command; nothing was written")
    return places
