"""The texts of `twotower init`: two YAMLs, and the lines that it prints, with the reason for each line."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from twotower.commands.init.kinds import Kind, feature_name
from twotower.commands.init.roles import KEYS, Roles
from twotower.commands.run_settings import literal

Settings = Mapping[str, tuple[Any, str]]
"""Key -> value, and the reason, which may be empty."""
Kinds = Mapping[str, Mapping[str, Kind]]
""""user", "item", "context" -> column -> its kind."""


def data_yaml(command: str, settings: Settings, split: tuple[str, str], hint: str) -> str:
    """Return the YAML of the data.

    Args:
        command: that trains on them.
        settings: of the data.
        split: the choice that suits the data, and the reason.
        hint: a setting that may suit the data better, as a comment; may be empty.
    """
    files = ", ".join(str(value) for key, (value, _) in settings.items() if key.endswith("_path"))
    lines = [
        f"# {command}",
        f"# Written by twotower init from {files}: check each line, and change what is wrong.",
        "defaults:",
        "  - _self_",
        f"  - override /split@_global_.split: {split[0]}   # {split[1]}",
    ]
    for key, (value, why) in settings.items():
        comment = f"   # {why}" if why else ""
        if isinstance(value, dict):
            lines.append(f"{key}:{comment}")
            lines += [f"  {_text(name)}: {_text(each)}" for name, each in value.items()]
        else:
            lines.append(f"{key}: {_text(value)}{comment}")
    lines += [f"# {hint}"] if hint else []
    return "\n".join(lines) + "\n"


def feature_specs(kinds: Kinds) -> dict[str, dict[str, dict[str, Any]]]:
    """Return group ("user", "item", "context") -> name of a feature -> its settings."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for group, columns in kinds.items():
        groups[group] = {"item_id": Kind("", "id.Id").spec("item_id")} if group == "item" else {}
        for column, kind in columns.items():
            if kind.target:
                name = feature_name(column, {"item_id", "user_id", *groups[group]})
                groups[group][name] = kind.spec(column)
    return groups


def features_yaml(command: str, kinds: Kinds) -> str:
    """Return the YAML of the features; `command` trains with them."""
    lines = [
        f"# {command}",
        "# Written by twotower init: items have an id and the features below, users a history and theirs.",
    ]
    for group, specs in feature_specs(kinds).items():
        if specs or group == "user":
            lines.append(f"{group}:" if specs else f"{group}: {{}}")
        for name, spec in specs.items():
            kind = kinds[group].get(spec["column"])
            lines.append(f"  {name}: {_text(spec)}" + (f"   # {kind.reason}" if kind else ""))
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """Return a value as YAML text, with `${` escaped."""
    text = yaml.safe_dump(
        literal(value), default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
    )
    return text.removesuffix("...\n").rstrip("\n")


def column_lines(roles: Roles, kinds: Kinds) -> Iterator[str]:
    """Yield a line per column: its role or kind, with the reason."""
    for role, column in roles.columns.items():
        yield f"  {role:<8} {column}   ({roles.settings[KEYS[role]][1]})"
    for word, event in roles.settings.get("events", ({}, ""))[0].items():
        yield f"  event    {word} is {event['role']}"
    if "time" not in roles.columns:
        yield "  time     none: the rows of a user are in order   (--time COLUMN if one is)"
    features = [(group, column, kind) for group in kinds for column, kind in kinds[group].items()]
    for group, column, kind in features:
        if kind.target:
            yield f"  feature  of {group}, {column}: {kind.target.rpartition('.')[2]}   ({kind.reason})"
    for column, why in roles.left_out.items():
        yield f"warning: column {column!r} is left out: {why}"
    for group, column, kind in features:
        if not kind.target:
            yield f"warning: column {column!r} of {group} is left out: {kind.reason}"
