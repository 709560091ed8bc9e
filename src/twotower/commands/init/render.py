"""The two YAMLs that `twotower init` writes: each line with what it goes by."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.commands.init.kinds import Kind, feature_name
from twotower.commands.init.roles import Roles
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
ITEM_ID = "item_id: {_target_: twotower.features.id.Id, column: item_id}"


def data_yaml(
    command: str, paths: Mapping[str, Path], roles: Roles, separator: str | None, label: str | None
) -> str:
    """Return the YAML of the data.

    Args:
        command: that trains on them.
        paths: "interactions", "users", "items" -> file.
        roles: of the columns of the interactions.
        separator: of CSV fields; None: there is no CSV.
        label: the column that names items.
    """
    made_from = ", ".join(str(path) for path in paths.values())
    lines = [
        f"# {command}",
        f"# Made by twotower init from {made_from}: look it over, and change what is not so.",
    ]
    lines.append("_target_: twotower.data.sources.table_files.TableFiles")
    settings: list[tuple[str, Any, str]] = [(f"{table}_path", str(path), "") for table, path in paths.items()]
    settings += [
        (key, roles.columns[role], roles.because[role])
        for role, key in SETTINGS.items()
        if role in roles.columns
    ]
    if "time" in roles.columns:
        settings.append(("timestamp_unit", roles.unit, ""))
    else:
        settings.append(("timestamp_column", None, "the rows of a user stand in order"))
    if roles.threshold is not None and "label" in roles.columns:
        settings.append(("label_threshold", roles.threshold, "you say so"))
    if roles.context:
        settings.append(
            ("context_columns", roles.context, "what a request is made in; a request may leave it out")
        )
    if label is not None:
        settings.append(("item_label", label, "names an item for people"))
    if separator not in (None, ","):
        settings.append(("separator", "\\t" if separator == "\t" else separator, ""))
    lines += [_line(key, value, why) for key, value, why in settings]
    if roles.events:
        lines.append(
            "events:   # positive trains; history is only looked back at; negative was shown in vain"
        )
        lines += [f"  {_text(word)}: {{role: {role}}}" for word, role in roles.events.items()]
    lines += [f"# left out: {name}: {why}" for name, why in roles.left_out.items()]
    return "\n".join(lines) + "\n"


def features_yaml(command: str, kinds: Mapping[str, Mapping[str, Kind]]) -> str:
    """Return the YAML of the features.

    Args:
        command: that trains with them.
        kinds: "user", "item", "context" -> column -> its kind.
    """
    lines = [
        f"# {command}",
        "# Made by twotower init: items by id and by what is known of them, users by their history too.",
    ]
    for group in ("user", "item", "context"):
        entries = list(_entries(kinds.get(group, {})))
        if group == "item":
            entries = [f"  {ITEM_ID}", *entries]
        if any(not entry.lstrip().startswith("#") for entry in entries):
            lines += [f"{group}:", *entries]
        elif group == "user":
            lines += ["user: {}", *(entry.lstrip() for entry in entries)]
        else:
            lines += [entry.lstrip() for entry in entries]
    return "\n".join(lines) + "\n"


def _entries(kinds: Mapping[str, Kind]) -> Iterator[str]:
    taken = {"item_id", "user_id"}
    for column, kind in kinds.items():
        if not kind.spec:
            yield f"  # left out: {column}: {kind.because}"
            continue
        name = feature_name(column, taken)
        taken.add(name)
        settings = ", ".join(f"{key}: {_text(value)}" for key, value in kind.spec.items())
        yield f"  {name}: {{{settings}}}   # {kind.because}"


def _line(key: str, value: Any, why: str) -> str:
    return f"{key}: {_text(value)}" + (f"   # {why}" if why else "")


def _text(value: Any) -> str:
    """Return a value as YAML takes it to be just that, interpolations of a name's own not resolved."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    if PLAIN.fullmatch(value) and value.casefold() not in WORDS_OF_YAML:
        return value
    return json.dumps(literal(value), ensure_ascii=False)


def told(roles: Roles, kinds: Mapping[str, Mapping[str, Kind]]) -> Iterable[str]:
    """Yield, a line each, what every column is taken for and why."""
    for role, column in roles.columns.items():
        yield f"  {role:<8} {column}   ({roles.because[role]})"
    for word, event in roles.events.items():
        yield f"  event    {word} is {event}"
    for column in roles.context:
        yield f"  context  {column}"
    if "time" not in roles.columns:
        yield "  time     none: the rows of a user stand in order   (--time COLUMN if one is)"
    for group, of_group in kinds.items():
        for column, kind in of_group.items():
            if group != "context" or not kind.spec:
                what = kind.spec["_target_"].rpartition(".")[2] if kind.spec else "left out"
                yield f"  feature  of {group}, {column}: {what}   ({kind.because})"
    for column, why in roles.left_out.items():
        yield f"  left out {column}   ({why})"
