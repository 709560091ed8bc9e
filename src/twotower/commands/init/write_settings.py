"""`twotower init`: reads the first rows, asks for missing settings, builds the data, writes YAMLs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.commands.conf import CONF, own_place
from twotower.commands.init.kinds import Kind, infer_kind, is_label
from twotower.commands.init.plan import plan_training, repeats_hint
from twotower.commands.init.render import Setting, column_lines, data_settings, data_yaml, features_yaml
from twotower.commands.init.role_names import Roles
from twotower.commands.init.roles import infer_roles
from twotower.commands.init.sample import Sample, read_sample
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.data.audit import audit_table
from twotower.files.atomic import write_text_atomically

ORDER = ("interactions", "users", "items")
SET_BY_FLAG = Kind({}, "set by a flag")


def infer_settings(
    files: Sequence[Path], flags: Mapping[str, Any]
) -> tuple[list[Setting], Roles, dict[str, dict[str, Kind]]]:
    """Return the settings of the data, the roles of the columns of the log, and the kinds of features.

    Args:
        files: the log, then optional files of users and items in any order.
        flags: flags of the user, see `roles.infer_roles`; `separator`, `repeats`, `without` and
            `unordered`.

    Raises:
        InputError: lists the flags to add, or names an unreadable file.
    """
    log = read_sample(files[0], flags.get("separator"))
    roles = infer_roles(log, flags)
    raise_problems(roles.questions, f"the roles of the columns of {files[0]}; nothing was written")
    tables: dict[str, Sample] = {"interactions": log} | _tables(files[1:], log, roles, flags.get("separator"))
    kinds: dict[str, dict[str, Kind]] = {"user": {}, "item": {}, "context": {}}
    label = None
    without = set(flags.get("without") or ())
    keys = {roles.columns["user"], roles.columns["item"], "user_id", "item_id"}
    for group, table in (("user", "users"), ("item", "items")):
        columns = tables[table].columns.values() if table in tables else ()
        for column in columns:
            if column.name not in keys:
                kinds[group][column.name] = SET_BY_FLAG if column.name in without else infer_kind(column)
                label = column.name if group == "item" and label is None and is_label(column) else label
    kinds["context"] = {
        name: SET_BY_FLAG if name in without else infer_kind(log.columns[name]) for name in roles.context
    }
    known = {name for sample in tables.values() for name in sample.columns}
    raise_problems(
        Problem("--without", f"no column {name!r}; {nearest(name, known)}")
        for name in sorted(without - known)
    )
    roles.context = [name for name in roles.context if kinds["context"][name].spec]
    separators = [sample.separator for sample in tables.values() if sample.separator]
    paths = {table: tables[table].path for table in sorted(tables, key=ORDER.index)}
    separator = separators[0] if separators else None
    unordered = bool(flags.get("unordered"))
    settings = data_settings(paths, roles, separator, label, flags.get("repeats"), unordered)
    return settings, roles, kinds


def _tables(files: Sequence[Path], log: Sample, roles: Roles, separator: str | None) -> dict[str, Sample]:
    """Return table name -> file; the id column that is unique decides between users and items."""
    tables: dict[str, Sample] = {}
    user, item = roles.columns["user"], roles.columns["item"]
    for path in files:
        sample = read_sample(path, separator)
        if None not in (sample.separator, log.separator) and sample.separator != log.separator:
            marks = f"{sample.separator!r}, and that of {log.path} is {log.separator!r}"
            raise InputError(f"{path}: its separator is {marks}; use the same in both")
        fits = [table for table, key in (("users", user), ("items", item)) if _is_key(sample, key)]
        if len(fits) != 1:
            raise InputError(
                f"{path}: expected one row per user with the column {user!r}, or per item with {item!r}, as "
                f"in the log; its columns are {', '.join(map(repr, sample.columns))}"
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


def init(files: Sequence[Path], name: str, flags: Mapping[str, Any], overwrite: bool) -> None:
    """Write settings for new files; print the columns, the audit and the training command.

    The data set is built first; nothing is written if it is refused.

    Args:
        files: see `infer_settings`.
        name: name of the choices and of the folder of their runs.
        flags: see `infer_settings`.
        overwrite: replace existing files.

    Raises:
        InputError: see `infer_settings`; or a file exists, or the data is refused.
    """
    places = _output_paths(name, overwrite)
    settings, roles, kinds = infer_settings(files, flags)
    print("\n".join([f"{files[0]}:", *column_lines(roles, kinds)]))
    try:
        split, overrides, audit = plan_training(settings, roles, kinds)
    except InputError as error:
        remedy = "correct it, or leave a column of users, items or context out with --without COLUMN"
        raise InputError(f"{error}\nnothing was written; {remedy}") from error
    command = shlex.join(["twotower", "train", f"data={name}", f"name={name}", *overrides])
    hint = "" if flags.get("repeats") else repeats_hint(audit)
    texts = {
        "data": data_yaml(command, settings, split, roles.left_out, hint),
        "features": features_yaml(command, kinds),
    }
    for group, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(place, texts[group])
    print(f"written: {' and '.join(map(str, places.values()))}\n")
    print("\n".join(f"  {key:<26} {value}" for key, value in audit_table(audit)))
    if hint:
        print(f"hint: {hint}")
    print(f"\nnext: {command}")


def _output_paths(name: str, overwrite: bool) -> dict[str, Path]:
    """Return group -> file to write, in the user's folder of choices (conf/local in a checkout)."""
    if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
        raise InputError(f"--name {name}: expected letters, digits, _ and -, such as shop")
    folder = own_place()
    folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    places = {group: folder / group / f"{name}.yaml" for group in ("data", "features")}
    problems = [
        Problem("--name", f"{CONF.name}/{group}/{name}.yaml is a built-in choice; choose another name")
        for group in places
        if (CONF / group / f"{name}.yaml").is_file()
    ]
    if not overwrite:
        there = [place for place in places.values() if place.exists()]
        problems += [
            Problem(str(place), "exists; add --overwrite, or choose another --name") for place in there
        ]
    raise_problems(problems, "the command; nothing was written")
    return places
