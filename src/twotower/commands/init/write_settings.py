"""`twotower init`: reads the first rows, asks for missing settings, builds the data, writes YAMLs."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from twotower.commands.compose import compose
from twotower.commands.conf import CONF, own_place
from twotower.commands.init.detectors import ROLES, Kind, infer_kind
from twotower.commands.init.roles import SET_BY_FLAG, Roles
from twotower.commands.init.sample import WORDS, Column, Sample, read_sample
from twotower.commands.run_settings import literal
from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.config.spec import TARGET
from twotower.data.audit import WARNING, audit_table
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import Audit
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.files.atomic import write_text_atomically

A_DAY = np.timedelta64(1, "D")
MIN_DAYS = 224
"""Length of a log whose last two windows of 28 days (`split=temporal`) are a quarter or less."""
NAME_OF_IDS = "it has the name of the ids of users or items; rename it in the file to use it"
MANY_REPEATS = 0.2
"""Share of repeated targets from which `repeats: keep` is suggested."""
EXPERIMENTS = {"leave_one_out": "no_times", "sessions": "sessions"}
"""Split that is chosen for a log -> the experiment of its recipe, if that is not the default."""
NEARLY_ALL, FEW, ENOUGH = 0.9, 0.02, 0.2
"""Users are sessions if nearly all users of the test window are new, few interactions are later than the
window in which their user begins, and enough of these users have two interactions."""

Settings = Mapping[str, tuple[Any, str]]
"""Key -> value, and the reason, which may be empty."""
Kinds = Mapping[str, Mapping[str, Kind]]
""""user", "item", "context" -> column -> its kind."""


def init(files: Sequence[Path], name: str, flags: Mapping[str, Any], overwrite: bool) -> None:
    """Write settings for new files; print the columns, the audit and the training command.

    The data set is built first; nothing is written if it is refused.

    Args:
        files: the log, then optional files of users and items in any order.
        name: name of the choices and of the folder of their runs.
        flags: flags of the user, see `Roles`; `separator` and `without`.
        overwrite: replace existing files.

    Raises:
        InputError: lists the flags to add; or a file is unreadable or exists, or the data is refused.
    """
    places = _output_paths(name, overwrite)
    roles = Roles(read_sample(files[0], flags.get("separator")), flags)
    raise_problems(roles.questions, f"the roles of the columns of {files[0]}; nothing was written")
    tables = _tables(files[1:], roles)
    kinds = _infer_kinds(tables, roles, flags.get("without") or [])
    settings = _data_settings(tables, roles, kinds)
    print("\n".join([f"{files[0]}:", *_column_lines(roles, kinds)]))
    try:
        split, reason, audit = _choose_split(settings, roles, kinds)
    except InputError as error:
        remedy = (
            "correct it, name further event types with --events TYPE=ROLE, or leave a column of users, items "
            "or context out with --without COLUMN"
        )
        raise InputError(f"{error}\nnothing was written; {remedy}") from error
    print(f"  split    {split}   ({reason})")
    words = [f"data={name}", f"name={name}", *_overrides(split, int(audit["items"]))]
    command, hint = shlex.join(["twotower", "train", *words]), _repeats_hint(audit)
    lines = {
        "data": _data_lines(settings, f"{split}   # {reason}", hint),
        "features": _feature_lines(kinds),
    }
    for group, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(place, "\n".join([f"# {command}", *lines[group], ""]))
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


def _tables(files: Sequence[Path], roles: Roles) -> dict[str, Sample]:
    """Return table name -> file; the id column that is unique decides between users and items."""
    tables = {"interactions": roles.log}
    ids = {"users": roles.columns["user"].name, "items": roles.columns["item"].name}
    for path in files:
        sample = read_sample(path, roles.flags.get("separator") or roles.log.separator)
        found = {table: sample.columns[name] for table, name in ids.items() if name in sample.columns}
        fits = [table for table, column in found.items() if column.values.is_unique and table not in tables]
        if len(fits) != 1:
            repeated = [
                f"{column.name!r} is {column.values[column.values.duplicated()].iloc[0]!r} in several rows"
                for column in found.values()
                if column.values.duplicated().any()
            ]
            columns = f"its columns are {', '.join(map(repr, sample.columns))}"
            raise InputError(
                f"{path}: expected one row per user with the column {ids['users']!r}, or per item with "
                f"{ids['items']!r}, one file of each, separated as in the log; "
                f"{'; '.join([*repeated, columns])}"
            )
        tables[fits[0]] = sample
    return tables


def _infer_kinds(tables: Mapping[str, Sample], roles: Roles, without: Sequence[str]) -> Kinds:
    """Return the kind of each column of users, items and context."""
    names = {name for sample in tables.values() for name in sample.columns}
    wrong = [name for name in without if name not in names]
    raise_problems(Problem("--without", f"no column {name!r}; {nearest(name, names)}") for name in wrong)
    own = {group: roles.columns[group].name for group in ("user", "item")}
    ids = {*own.values(), "user_id", "item_id"}
    columns = {
        group: [each for name, each in tables[table].columns.items() if name != own[group]]
        for group, table in (("user", "users"), ("item", "items"))
        if table in tables
    }
    columns["context"] = [roles.log.columns[name] for name in roles.context]

    def kind(column: Column) -> Kind:
        if column.name in without:
            return Kind(SET_BY_FLAG)
        return Kind(NAME_OF_IDS) if column.name in ids else infer_kind(column)

    return {group: {each.name: kind(each) for each in found} for group, found in columns.items()}


def _data_settings(tables: Mapping[str, Sample], roles: Roles, kinds: Kinds) -> Settings:
    """Return the settings of the data, in the order of the YAML."""
    settings: dict[str, tuple[Any, str]] = {TARGET: ("twotower.data.sources.table_files.TableFiles", "")}
    for table in ("interactions", "users", "items"):
        if table in tables:
            settings[f"{table}_path"] = str(tables[table].path), ""
    settings |= roles.settings
    if context := [column for column in roles.context if kinds["context"][column].target]:
        settings["context_columns"] = context, "what a request is made in; remove what requests do not know"
    if texts := [name for found in kinds.values() for name, kind in found.items() if kind.is_text]:
        settings["text_columns"] = texts, "codes, of which some are the same number"
    for name in kinds.get("item", ()):
        column = tables["items"].columns[name]
        if column.is_text and column.has_word(WORDS["display"]) and not column.is_key:
            settings["item_label"] = name, "names an item for people"
            break
    separator = next((sample.separator for sample in tables.values() if sample.separator), ",")
    if separator != ",":
        settings["separator"] = separator.replace("\t", r"\t"), ""
    return settings


def _choose_split(settings: Settings, roles: Roles, kinds: Kinds) -> tuple[str, str, Audit]:
    """Return the split that suits the columns and the length of the log, the reason, and the audit.

    Raises:
        InputError: the data is refused, or a column that a feature reads.
    """
    if "split" in roles.columns:
        reason = f"the column {roles.columns['split'].name!r} names the parts"
        return "given", reason, _audit(settings, "given", kinds)
    if "time" not in roles.columns:
        reason = "there are no times: the last item of each user is the test"
        return "leave_one_out", reason, _audit(settings, "leave_one_out", kinds)
    audit = _audit(settings, "temporal_share", kinds)
    num_new, num_users = int(audit["cold_users"]), int(audit["test_users"])
    if num_new >= NEARLY_ALL * num_users:
        with suppress(InputError):  # no user has a target in a window
            sessions = _audit(settings, "sessions", kinds)
            is_short = int(sessions["unused_interactions"]) <= FEW * int(sessions["interactions"])
            if is_short and int(sessions["test_users"]) >= ENOUGH * num_users and WARNING not in sessions:
                reason = f"{num_new:,} of {num_users:,} users of the last tenth are new, and stay briefly"
                return "sessions", reason, sessions
    first, last = (np.datetime64(str(audit[key])) for key in ("first_time", "last_time"))
    days = int((last - first) / A_DAY)
    if days < MIN_DAYS:
        reason = f"{days} days: the last tenth is the test, the tenth before it valid"
        return "temporal_share", reason, audit
    reason = f"{days} days: the last 28 are the test, the 28 before them valid"
    return "temporal", reason, _audit(settings, "temporal", kinds)


def _audit(data: Settings, split: str, kinds: Kinds) -> Audit:
    """Build the data set that the training will open, and check the columns that its features read."""
    from twotower.training.training_config import FeaturesConfig  # imports torch

    settings = compose("train", [f"split={split}"])
    features = {
        group: {name: spec for name, (spec, _) in specs.items()}
        for group, specs in _feature_settings(kinds).items()
    }
    return build_dataset(
        Source.Config.from_spec({key: value for key, (value, _) in data.items()}, "data").build(),
        Split.Config.from_spec(settings["split"], "split").build(),
        Path(settings["output_root"]) / ".cache",
        needs=FeaturesConfig.model_validate(features).column_problems,
    ).audit


def _overrides(split: str, num_items: int) -> list[str]:
    """Return the recipe of a split, and overrides for few items and for many.

    Few: fewer than the longest list of the metrics. Many: more than the negatives of the recipe permit.
    """
    from twotower.model.negatives.sampler import NegativeSampler  # imports torch

    overrides = [f"experiment={EXPERIMENTS[split]}"] if split in EXPERIMENTS else []
    settings = compose("train", overrides)
    all_ks, monitor = settings["metrics"]["ks"], str(settings["trainer"]["monitor"])
    ks = [k for k in all_ks if k < num_items] or [max(1, num_items // 2)]
    if ks != all_ks:
        overrides.append(f"metrics.ks=[{','.join(map(str, ks))}]")
        if not any(monitor.endswith(f"_at_{k}") for k in ks):
            overrides.append(f"trainer.monitor={re.sub(r'_at_[0-9]+$', f'_at_{ks[-1]}', monitor)}")
    negatives = NegativeSampler.Config.from_spec(settings["negatives"], "negatives")
    if [*negatives.problems(ChoiceContext(num_items=num_items))]:
        overrides.append("negatives=mixed")
    return overrides


def _repeats_hint(audit: Audit) -> str:
    """Return the setting that keeps repeated targets with the reason; empty if few targets are repeats."""
    dropped = int(audit["repeat_targets"])
    targets = dropped + int(audit["valid_interactions"]) + int(audit["test_interactions"])
    reason = f"{dropped:,} of {targets:,} targets are dropped, because the user has had the item"
    return f"repeats: keep   # {reason}" if dropped >= MANY_REPEATS * targets else ""


def _data_lines(settings: Settings, split: str, hint: str) -> Iterator[str]:
    """Yield the lines of the YAML of the data, which chooses the split; a hint is a comment."""
    files = ", ".join(str(value) for key, (value, _) in settings.items() if key.endswith("_path"))
    yield f"# Written by twotower init from {files}: check each line, and change what is wrong."
    yield from ("defaults:", "  - _self_", f"  - override /split@_global_.split: {split}")
    yield from _setting_lines(settings)
    yield from [f"# {hint}"] if hint else []


def _feature_lines(kinds: Kinds) -> Iterator[str]:
    """Yield the lines of the YAML of the features."""
    yield "# Written by twotower init: items have an id and the features below, users a history and theirs."
    for group, features in _feature_settings(kinds).items():
        if features or group == "user":
            yield f"{group}:" if features else f"{group}: {{}}"
            yield from _setting_lines(features, "  ")


def _setting_lines(settings: Settings, indent: str = "") -> Iterator[str]:
    """Yield a line of YAML for each setting, with `${` escaped and the reason as a comment."""
    for key, (value, reason) in settings.items():
        pair = yaml.safe_dump(
            {key: literal(value)}, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
        )
        yield f"{indent}{pair[1:-2]}" + (f"   # {reason}" if reason else "")


def _feature_settings(kinds: Kinds) -> dict[str, dict[str, tuple[dict[str, Any], str]]]:
    """Return group, as in `Kinds`, -> name of a feature -> its settings, and the reason."""
    from twotower.model.features.feature import is_taken  # with torch, which questions need not wait for

    groups: dict[str, dict[str, tuple[dict[str, Any], str]]] = {"user": {}, "item": {}}
    groups["item"]["item_id"] = {TARGET: "twotower.model.features.id.Id", "column": "item_id"}, ""
    umlauts = str.maketrans("äöüß", "aous")
    blocks = {"history", "last_item"}  # of the history encoder, in the user tower
    for group, columns in kinds.items():
        features = groups.setdefault(group, {})
        for column, kind in columns.items():
            if kind.target:
                taken = set(features).union(*groups.values() if group == "context" else ())
                spec = {TARGET: f"twotower.model.features.{kind.target}", "column": column, **kind.settings}
                taken |= {"item_id", "user_id", *(blocks if group != "item" else ())}
                name = (
                    re.sub(r"[^a-z0-9]+", "_", column.casefold().translate(umlauts)).strip("_") or "feature"
                )
                name = f"{name}_" if is_taken(name) or name[0].isdigit() else name
                while name in taken:
                    name += "_"
                features[name] = spec, kind.reason
    return groups


def _column_lines(roles: Roles, kinds: Kinds) -> Iterator[str]:
    """Yield a line per column: its role or kind, with the reason."""
    for role, column in roles.columns.items():
        yield f"  {role:<8} {column.name}   ({roles.settings[ROLES[role].key][1]})"
    for word, event in roles.settings.get("events", ({}, ""))[0].items():
        yield f"  event    {word} is {event['role']}"
    if "time" not in roles.columns:
        yield "  time     none: the rows of a user are in order   (--time COLUMN if one is)"
    left_out = {f"{name!r}": why for name, why in roles.left_out.items()}
    for group, columns in kinds.items():
        for name, kind in columns.items():
            if kind.target:
                yield f"  feature  of {group}, {name}: {kind.target.rpartition('.')[2]}   ({kind.reason})"
            else:
                left_out[f"{name!r} of {group}"] = kind.reason
    yield from (f"warning: column {name} is left out: {why}" for name, why in left_out.items())
