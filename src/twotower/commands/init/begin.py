"""From files to settings: reads their heads, asks for what they do not tell, writes, and shows the audit."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twotower.commands.compose import compose
from twotower.commands.conf import CONF, own_place
from twotower.commands.init.kinds import Kind, is_label, kind_of
from twotower.commands.init.render import data_yaml, features_yaml, told
from twotower.commands.init.roles import Roles, roles_of
from twotower.commands.init.sample import Sample, sample_of
from twotower.config.errors import InputError
from twotower.config.problems import Problem, raise_problems
from twotower.data.build import audit_table, build_dataset
from twotower.data.dataset import Audit
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.files.atomic import write_text_atomically

SHARES = ("split.unit=share", "split.test=0.1", "split.valid=0.1")
ORDER = ("interactions", "users", "items")
A_DAY = np.timedelta64(1, "D")
LEAST_DAYS = 224
"""Of a log whose last two windows of 28 days, as `split=temporal` has them, are a quarter or less."""


@dataclass(frozen=True)
class Found:
    """What the files are: table -> file, roles of the log's columns, and kinds of features."""

    paths: Mapping[str, Path]
    roles: Roles
    kinds: dict[str, dict[str, Kind]]
    separator: str | None
    label: str | None


def found_in(files: Sequence[Path], said: Mapping[str, Any]) -> Found:
    """Look at files.

    Args:
        files: the log first, then perhaps those of users and of items, in any order.
        said: what the user says of them, see `roles.roles_of`; `separator`.

    Raises:
        InputError: lists what must be said, or says which file cannot be read.
    """
    log = sample_of(files[0], said.get("separator"))
    roles = roles_of(log, said)
    raise_problems(roles.asked, f"what {files[0]} tells; nothing was written")
    tables: dict[str, Sample] = {"interactions": log} | _tables(files[1:], log, roles, said.get("separator"))
    kinds: dict[str, dict[str, Kind]] = {"user": {}, "item": {}, "context": {}}
    label = None
    keys = {roles.columns["user"], roles.columns["item"], "user_id", "item_id"}
    for group, table in (("user", "users"), ("item", "items")):
        columns = tables[table].columns.values() if table in tables else ()
        for column in columns:
            if column.name not in keys:
                kinds[group][column.name] = kind_of(column)
                label = column.name if group == "item" and label is None and is_label(column) else label
    kinds["context"] = {name: kind_of(log.columns[name]) for name in roles.context}
    roles.context = [name for name in roles.context if kinds["context"][name].spec]
    separators = [sample.separator for sample in tables.values() if sample.separator]
    paths = {table: tables[table].path for table in sorted(tables, key=ORDER.index)}
    return Found(paths, roles, kinds, separators[0] if separators else None, label)


def _tables(files: Sequence[Path], log: Sample, roles: Roles, separator: str | None) -> dict[str, Sample]:
    """Tell files of users and of items apart: by whose ids each row has one of."""
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
    """Write the settings of files never seen, and print what they hold and the command that trains.

    Args:
        files: see `found_in`.
        name: of the choices that are written, and of the folder of their runs.
        said: see `found_in`.
        overwrite: replace files that are there.

    Raises:
        InputError: see `found_in`; or a file is there, or what is read is no sound data.
    """
    places = _places(name, overwrite)
    found = found_in(files, said)
    command = f"twotower train data={name} name={name}"
    texts = {
        "data": data_yaml(command, found.paths, found.roles, found.separator, found.label),
        "features": features_yaml(command, found.kinds),
    }
    print("\n".join([f"{files[0]}:", *told(found.roles, found.kinds)]))
    for group, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(place, texts[group])
    print(f"written: {' and '.join(map(str, places.values()))}\n")
    overrides, audit = _audited(name, found.roles)
    overrides += _of_small_catalogues(name, overrides, int(audit["items"]))
    print("\n".join(f"  {key:<26} {value}" for key, value in audit_table(audit)))
    print(f"\nnext: {shlex.join([*command.split(), *overrides])}")


def _places(name: str, overwrite: bool) -> dict[str, Path]:
    """Return group -> file to write, in the folder of the user's own choices; of a checkout, conf/local."""
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


def _audited(name: str, roles: Roles) -> tuple[list[str], Audit]:
    """Build it with the split that its length asks for; return what to type for that, and the audit."""
    if "split" in roles.columns:
        return ["split=given"], _audit(name, ["split=given"])
    if "time" not in roles.columns:
        return ["experiment=no_times"], _audit(name, ["experiment=no_times"])
    audit = _audit(name, list(SHARES))
    first, last = (np.datetime64(str(audit[key])) for key in ("first_time", "last_time"))
    if last - first < LEAST_DAYS * A_DAY:
        return list(SHARES), audit
    return [], _audit(name, [])


def _of_small_catalogues(name: str, overrides: list[str], num_items: int) -> list[str]:
    """Return what to type where there are fewer items than metrics look at."""
    settings = _settings(name, overrides)
    all_ks, monitor = settings["metrics"]["ks"], str(settings["trainer"]["monitor"])
    ks = [k for k in all_ks if k < num_items] or [max(1, num_items // 2)]
    if ks == all_ks:
        return []
    kept = any(monitor.endswith(f"_at_{k}") for k in ks)
    watched = [] if kept else [f"trainer.monitor={re.sub(r'_at_[0-9]+$', f'_at_{ks[-1]}', monitor)}"]
    return [f"metrics.ks=[{','.join(map(str, ks))}]", *watched]


def _settings(name: str, overrides: list[str]) -> dict[str, Any]:
    return compose("train", [f"data={name}", f"name={name}", *overrides])


def _audit(name: str, overrides: list[str]) -> Audit:
    settings = _settings(name, overrides)
    source = Source.Config.chosen(settings["data"], "data").build()
    split = Split.Config.chosen(settings["split"], "split").build()
    return build_dataset(source, split, Path(settings["output_root"]) / ".cache").audit
