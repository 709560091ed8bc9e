"""`twotower init`: reads the first rows, asks for missing settings, builds the data, writes YAMLs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.commands.compose import compose
from twotower.commands.conf import CONF, own_place
from twotower.commands.init.kinds import Kind, infer_kind, is_display_name
from twotower.commands.init.render import (
    Kinds,
    Settings,
    column_lines,
    data_yaml,
    feature_specs,
    features_yaml,
)
from twotower.commands.init.roles import SET_BY_FLAG, Roles, infer_roles
from twotower.commands.init.sample import Sample, read_sample
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.data.audit import audit_table
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import Audit
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.files.atomic import write_text_atomically

A_DAY = np.timedelta64(1, "D")
LEAST_DAYS = 224
"""Length of a log whose last two windows of 28 days (`split=temporal`) are a quarter or less."""
MANY_REPEATS = 0.2
"""Share of repeated targets from which `repeats: keep` is suggested."""


def init(files: Sequence[Path], name: str, flags: Mapping[str, Any], overwrite: bool) -> None:
    """Write settings for new files; print the columns, the audit and the training command.

    The data set is built first; nothing is written if it is refused.

    Args:
        files: the log, then optional files of users and items in any order.
        name: name of the choices and of the folder of their runs.
        flags: flags of the user, see `roles.infer_roles`; `separator`, `without` and `unordered`.
        overwrite: replace existing files.

    Raises:
        InputError: lists the flags to add; or a file is unreadable or exists, or the data is refused.
    """
    places = _output_paths(name, overwrite)
    log = read_sample(files[0], flags.get("separator"))
    roles = infer_roles(log, flags)
    raise_problems(roles.questions, f"the roles of the columns of {files[0]}; nothing was written")
    tables = {"interactions": log} | _tables(files[1:], log, roles, flags.get("separator"))
    kinds, label = _infer_kinds(tables, roles, flags.get("without") or [])
    settings = _data_settings(tables, roles, kinds, label)
    print("\n".join([f"{files[0]}:", *column_lines(roles, kinds)]))
    try:
        split, overrides, audit = _plan({key: value for key, (value, _) in settings.items()}, roles, kinds)
    except InputError as error:
        remedy = "correct it, or leave a column of users, items or context out with --without COLUMN"
        raise InputError(f"{error}\nnothing was written; {remedy}") from error
    command = shlex.join(["twotower", "train", f"data={name}", f"name={name}", *overrides])
    hint = _repeats_hint(audit)
    texts = {
        "data": data_yaml(command, settings, split, hint),
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
    problems = []
    for group, place in places.items():
        if (CONF / group / place.name).is_file():
            message = f"{CONF.name}/{group}/{place.name} is a built-in choice; choose another name"
            problems.append(Problem("--name", message))
        elif place.exists() and not overwrite:
            problems.append(Problem(str(place), "exists; add --overwrite, or choose another --name"))
    raise_problems(problems, "the command; nothing was written")
    return places


def _tables(files: Sequence[Path], log: Sample, roles: Roles, separator: str | None) -> dict[str, Sample]:
    """Return table name -> file; the id column that is unique decides between users and items."""
    tables: dict[str, Sample] = {}
    user, item = roles.columns["user"], roles.columns["item"]
    for path in files:
        sample = read_sample(path, separator)
        if None not in (sample.separator, log.separator) and sample.separator != log.separator:
            marks = f"{sample.separator!r}, and that of {log.path} is {log.separator!r}"
            raise InputError(f"{path}: its separator is {marks}; use the same in both")
        columns = [(table, sample.columns.get(key)) for table, key in (("users", user), ("items", item))]
        fits = [table for table, column in columns if column and column.values.is_unique]
        if len(fits) != 1:
            raise InputError(
                f"{path}: expected one row per user with the column {user!r}, or per item with {item!r}, as "
                f"in the log; its columns are {', '.join(map(repr, sample.columns))}"
            )
        if fits[0] in tables:
            both = f"{path} and {tables[fits[0]].path}"
            raise InputError(f"{both} both are files of {fits[0]}; name one of them")
        tables[fits[0]] = sample
    return tables


def _infer_kinds(
    tables: Mapping[str, Sample], roles: Roles, without: Sequence[str]
) -> tuple[dict[str, dict[str, Kind]], str | None]:
    """Return the kind of each column of users, items and context, and the column that names items."""
    known = {name for sample in tables.values() for name in sample.columns}
    raise_problems(
        Problem("--without", f"no column {name!r}; {nearest(name, known)}")
        for name in without
        if name not in known
    )
    keys = {roles.columns["user"], roles.columns["item"], "user_id", "item_id"}
    columns = {
        group: [each for name, each in tables[table].columns.items() if name not in keys]
        for group, table in (("user", "users"), ("item", "items"))
        if table in tables
    }
    columns["context"] = [tables["interactions"].columns[name] for name in roles.context]
    kinds = {
        group: {
            each.name: Kind(SET_BY_FLAG) if each.name in without else infer_kind(each)
            for each in columns.get(group, ())
        }
        for group in ("user", "item", "context")
    }
    return kinds, next((each.name for each in columns.get("item", ()) if is_display_name(each)), None)


def _data_settings(tables: Mapping[str, Sample], roles: Roles, kinds: Kinds, label: str | None) -> Settings:
    """Return the settings of the data, in the order of the YAML."""
    settings: dict[str, tuple[Any, str]] = {"_target_": ("twotower.data.sources.table_files.TableFiles", "")}
    for table in ("interactions", "users", "items"):
        if table in tables:
            settings[f"{table}_path"] = str(tables[table].path), ""
    settings |= roles.settings
    if context := [column for column in roles.context if kinds["context"][column].target]:
        settings["context_columns"] = context, "what a request is made in; a request may leave it out"
    if label is not None:
        settings["item_label"] = label, "names an item for people"
    separator = next((sample.separator for sample in tables.values() if sample.separator), ",")
    if separator != ",":
        settings["separator"] = separator.replace("\t", r"\t"), ""
    return settings


def _plan(data: Mapping[str, Any], roles: Roles, kinds: Kinds) -> tuple[tuple[str, str], list[str], Audit]:
    """Choose the split by the columns and the length of the log, and build the data set.

    Returns:
        The split and the reason; overrides besides `data=`, whose YAML sets the split; the audit of the data.

    Raises:
        InputError: the data is refused, or a column that a feature reads.
    """
    overrides = []
    if "split" in roles.columns:
        split, reason = "given", f"the column {roles.columns['split']!r} names the parts"
    elif "time" in roles.columns:
        split = "temporal_share"
    else:
        split, reason = "leave_one_out", "there are no times: the last item of each user is the test"
        overrides = ["experiment=no_times"]
    audit = _audit(data, split, kinds)
    if split == "temporal_share":
        first, last = (np.datetime64(str(audit[key])) for key in ("first_time", "last_time"))
        days = int((last - first) / A_DAY)
        reason = f"{days} days: the last tenth is the test, the tenth before it valid"
        if days >= LEAST_DAYS:
            split, reason = "temporal", f"{days} days: the last 28 are the test, the 28 before them valid"
            audit = _audit(data, split, kinds)
    settings, num_items = compose("train", overrides), int(audit["items"])
    all_ks, monitor = settings["metrics"]["ks"], str(settings["trainer"]["monitor"])
    ks = [k for k in all_ks if k < num_items] or [max(1, num_items // 2)]
    if ks != all_ks:  # the catalogue is smaller than the longest list of the metrics
        overrides.append(f"metrics.ks=[{','.join(map(str, ks))}]")
        if not any(monitor.endswith(f"_at_{k}") for k in ks):
            overrides.append(f"trainer.monitor={re.sub(r'_at_[0-9]+$', f'_at_{ks[-1]}', monitor)}")
    return (split, reason), overrides, audit


def _audit(data: Mapping[str, Any], split: str, kinds: Kinds) -> Audit:
    """Build the data set that the training will open, and check the columns that its features read."""
    from twotower.pipeline.stages import make_column_check  # imports torch
    from twotower.training.training_config import FeaturesConfig

    settings = compose("train", [f"split={split}"])
    return build_dataset(
        Source.Config.from_spec(data, "data").build(),
        Split.Config.from_spec(settings["split"], "split").build(),
        Path(settings["output_root"]) / ".cache",
        needs=make_column_check(FeaturesConfig.model_validate(feature_specs(kinds))),
    ).audit


def _repeats_hint(audit: Audit) -> str:
    """Return the setting that keeps repeated targets with the reason; empty if few targets are repeats."""
    dropped = int(audit["repeat_targets"])
    targets = dropped + int(audit["valid_interactions"]) + int(audit["test_interactions"])
    if dropped < MANY_REPEATS * targets:
        return ""
    return (
        f"repeats: keep   # {dropped:,} of {targets:,} targets repeat an item of the user's history, and are "
        "dropped; keep them if users take items repeatedly (groceries, music, news)"
    )
