"""The two YAMLs that `twotower init` writes, with the reason for each line."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from twotower.commands.init.kinds import Kind, feature_name
from twotower.commands.init.role_names import Roles
from twotower.commands.run_settings import literal

SETTINGS = {
    "user": "user_column",
    "item": "item_column",
    "time": "timestamp_column",
    "split": "split_column",
    "label": "label_column",
    "event": "event_column",
}
"""Role -> the setting that names its column."""
PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
WORDS_OF_YAML = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
ITEM_ID = {"_target_": "twotower.features.id.Id", "column": "item_id"}
EVENTS = (
    "positive: example and target; train: example only; history: in histories only; "
    "negative: impression without a click"
)


Setting = tuple[str, Any, str]
"""Key, value, and the reason, which may be empty."""


def data_settings(
    paths: Mapping[str, Path],
    roles: Roles,
    separator: str | None,
    label: str | None,
    repeats: str | None,
    unordered: bool,
) -> list[Setting]:
    """Return the settings of the data, in the order of the YAML.

    Args:
        paths: "interactions", "users", "items" -> file.
        roles: of the columns of the interactions.
        separator: of CSV fields; None: no file is CSV.
        label: the column that names items.
        repeats: `drop` or `keep` if the user says so.
        unordered: rows without times have no order.
    """
    settings: list[Setting] = [("_target_", "twotower.data.sources.table_files.TableFiles", "")]
    settings += [(f"{table}_path", str(path), "") for table, path in paths.items()]
    settings += [
        (key, roles.columns[role], roles.reasons[role])
        for role, key in SETTINGS.items()
        if role in roles.columns
    ]
    if "time" in roles.columns:
        settings.append(("timestamp_unit", roles.unit, ""))
    else:
        why = "rows are in no order" if unordered else "the rows of a user are in order"
        settings.append(("timestamp_column", None, why))
        settings += [("ordered", False, "set by a flag")] if unordered else []
    if roles.threshold is not None and "label" in roles.columns:
        settings.append(("label_threshold", roles.threshold, "labels from here on are positive"))
    if roles.context:
        settings.append(
            ("context_columns", roles.context, "what a request is made in; a request may leave it out")
        )
    if label is not None:
        settings.append(("item_label", label, "names an item for people"))
    if separator not in (None, ","):
        settings.append(("separator", "\\t" if separator == "\t" else separator, ""))
    if repeats is not None:
        settings.append(("repeats", repeats, "set by a flag"))
    if roles.events:
        settings.append(("events", {word: {"role": role} for word, role in roles.events.items()}, EVENTS))
    return settings


def data_yaml(
    command: str, settings: list[Setting], split: tuple[str, str], left_out: Mapping[str, str], hint: str
) -> str:
    """Return the YAML of the data.

    Args:
        command: that trains on them.
        settings: see `data_settings`.
        split: the choice that suits the data, and the reason.
        left_out: column -> reason.
        hint: a setting that may suit the data better, as a comment; may be empty.
    """
    files = ", ".join(str(value) for key, value, _ in settings if key.endswith("_path"))
    lines = [
        f"# {command}",
        f"# Written by twotower init from {files}: check each line, and change what is wrong.",
        "defaults:",
        "  - _self_",
        f"  - override /split@_global_.split: {split[0]}   # {split[1]}",
    ]
    for key, value, why in settings:
        if isinstance(value, dict):
            lines.append(f"{key}:   # {why}")
            lines += [f"  {_text(name)}: {_text(each)}" for name, each in value.items()]
        else:
            lines.append(f"{key}: {_text(value)}" + (f"   # {why}" if why else ""))
    lines += [f"# {hint}"] if hint else []
    lines += [f"# left out: {name}: {why}" for name, why in left_out.items()]
    return "\n".join(lines) + "\n"


def feature_specs(kinds: Mapping[str, Mapping[str, Kind]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return group ("user", "item", "context") -> name of a feature -> its settings."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for group in ("user", "item", "context"):
        groups[group] = {"item_id": ITEM_ID} if group == "item" else {}
        taken = {"item_id", "user_id"}
        for column, kind in kinds.get(group, {}).items():
            if kind.spec:
                name = feature_name(column, taken)
                taken.add(name)
                groups[group][name] = kind.spec
    return groups


def features_yaml(command: str, kinds: Mapping[str, Mapping[str, Kind]]) -> str:
    """Return the YAML of the features.

    Args:
        command: that trains with them.
        kinds: "user", "item", "context" -> column -> its kind.
    """
    lines = [
        f"# {command}",
        "# Written by twotower init: items have an id and the features below, users a history and theirs.",
    ]
    for group, specs in feature_specs(kinds).items():
        if specs or group == "user":
            lines.append(f"{group}:" if specs else f"{group}: {{}}")
        for name, spec in specs.items():
            of_column = kinds.get(group, {}).get(spec["column"])
            lines.append(f"  {name}: {_text(spec)}" + (f"   # {of_column.reason}" if of_column else ""))
        left_out = {name: kind for name, kind in kinds.get(group, {}).items() if not kind.spec}
        lines += [f"# left out: {name}: {kind.reason}" for name, kind in left_out.items()]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """Return a value as YAML text, with `${` escaped."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    if PLAIN.fullmatch(value) and value.casefold() not in WORDS_OF_YAML:
        return value
    return json.dumps(literal(value), ensure_ascii=False)


def column_lines(roles: Roles, kinds: Mapping[str, Mapping[str, Kind]]) -> Iterable[str]:
    """Yield a line per column: its role or kind, with the reason."""
    for role, column in roles.columns.items():
        yield f"  {role:<8} {column}   ({roles.reasons[role]})"
    for word, event in roles.events.items():
        yield f"  event    {word} is {event}"
    if "time" not in roles.columns:
        yield "  time     none: the rows of a user are in order   (--time COLUMN if one is)"
    dropped = {f"column {name!r}": why for name, why in roles.left_out.items()}
    for group, of_group in kinds.items():
        for column, kind in of_group.items():
            if not kind.spec:
                dropped[f"column {column!r} of {group}"] = kind.reason
            else:
                what = kind.spec["_target_"].rpartition(".")[2]
                yield f"  feature  of {group}, {column}: {what}   ({kind.reason})"
    for column, why in dropped.items():
        yield f"warning: {column} is left out: {why}"
