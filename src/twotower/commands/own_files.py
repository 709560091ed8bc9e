"""Mistakes in the user's YAML files, and the file that sets a key."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.commands.conf import (
    CONF,
    EXPERIMENT,
    HEADER,
    LOCAL,
    SIZE,
    choices,
    groups,
    nearest_choice,
    read_yaml,
)
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.config.spec import TARGET
from twotower.experiments.runs.fingerprint import override_key

GLOBAL = frozenset({EXPERIMENT, "benchmark", SIZE, LOCAL.name})
"""Groups whose files set keys of the whole configuration."""
OVERRIDE = re.compile(r"(override )?(/?)(\w+)")
"""An entry of a defaults list that selects a choice; entries with other characters are left to Hydra."""


def problems_of_own_files(overrides: Iterable[str]) -> Iterator[Problem]:
    """Yield the mistakes in the files of the choices of a training.

    Args:
        overrides: valid overrides with one value each.
    """
    for group, path in _files(overrides):
        try:
            yield from _problems_of_file(group, path)
        except InputError as error:
            yield Problem(str(path), str(error))


def setting_file(key: str, overrides: Iterable[str]) -> Path | None:
    """Return the file among those of the choices that sets a key of the configuration, None if none does."""
    for group, path in _files(overrides):
        *parents, name = key.split(".") if group in GLOBAL else key.removeprefix(f"{group}.").split(".")
        values: Any = read_yaml(path) if group in GLOBAL or key.startswith(f"{group}.") else {}
        for parent in parents:
            values = values.get(parent) if isinstance(values, Mapping) else {}
        if isinstance(values, Mapping) and name in values:
            return path
    return None


def _files(overrides: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield group and file of the user's choices: those typed, and those that their files select."""
    chosen = {LOCAL.name: "default"}
    chosen |= {override_key(text): text.partition("=")[2] for text in overrides}
    waiting, seen = [(group, name) for group, name in chosen.items() if group in groups() | GLOBAL], set()
    while waiting:
        group, name = waiting.pop(0)
        path = choices(group).get(name)
        if path is None or path in seen or path.parent.parent == CONF:
            continue
        seen.add(path)
        yield group, path
        try:
            entries = read_yaml(path).get("defaults", ())
        except InputError:  # reported by the caller
            continue
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping):
                waiting += [
                    (str(key).rpartition("/")[2], value)
                    for key, value in entry.items()
                    if isinstance(value, str)
                ]


def _problems_of_file(group: str, path: Path) -> Iterator[Problem]:
    where, values = str(path), read_yaml(path)
    if group in GLOBAL and not HEADER.match(path.read_text(encoding="utf-8")):
        yield Problem(
            where, "its first line must be # @package _global_; without it, its keys have no effect"
        )
    for key, value in values.items():
        name, *rest = re.split(r"\s*[=:]\s*", key, maxsplit=1)
        parents = key.split(".")
        if value is None and rest:
            yield Problem(f"{where}: {key}", f"expected key: value; write {name}: {rest[0]}")
        elif len(parents) > 1:
            nested = ": {".join(parents) + f": {value}" + "}" * (len(parents) - 1)
            yield Problem(f"{where}: {key}", f"keys of a file have no dots; write {nested}")
        elif group in GLOBAL and key in groups() and isinstance(value, str) and "${" not in value:
            if value in choices(key):
                hint = f"write it in the list `defaults`: - override /{key}: {value}"
            else:
                hint = f"unknown choice {value!r}; {nearest_choice(value, key)}"
            yield Problem(f"{where}: {key}", f"sets keys, and selects no choice; {hint}")
    examples = [name for name, each in choices(group).items() if each != path and TARGET in read_yaml(each)]
    if group not in GLOBAL and examples and values.keys().isdisjoint({TARGET, "defaults"}):
        hint = f"write {TARGET}: module.Class, or for a change of a choice, defaults: [{examples[0]}]"
        yield Problem(where, f"expected a choice with a {TARGET}; {hint}")
    entries = values.get("defaults", [])
    if not isinstance(entries, list):
        form = "- override /loss: bce" if group in GLOBAL else f"- {next(iter(choices(group)))}"
        yield Problem(f"{where}: defaults", f"expected a list, got {entries!r}; write {form}")
        return
    for entry in entries:
        if isinstance(entry, Mapping) and len(entry) == 1:
            ((key, value),) = entry.items()
            yield from _problems_of_entry(group, where, str(key), value)
        elif isinstance(entry, str) and entry != "_self_" and entry not in choices(group):
            key, equals, value = entry.partition("=")
            if equals and key in groups():
                hint = f"write - override /{key}: {value}"
            else:
                hint = f"unknown choice of {group}; {nearest_choice(entry, group)}"
            if entry.isidentifier() or equals:
                yield Problem(f"{where}: defaults: {entry}", hint)


def _problems_of_entry(group: str, where: str, key: str, value: Any) -> Iterator[Problem]:
    """Yield the mistakes in an entry `key: value` of a defaults list."""
    if not (parts := OVERRIDE.fullmatch(key)) or not isinstance(value, str) or "${" in value:
        return
    name, where = parts[3], f"{where}: defaults: {key}"
    value = value.removesuffix(".yaml")
    if name not in groups() | GLOBAL:
        yield Problem(where, f"unknown group; {nearest(name, groups())}")
    elif value not in choices(name) and value != "null":
        yield Problem(where, f"unknown choice {value!r}; {nearest_choice(value, name)}")
    elif group == name:
        yield Problem(where, f"a choice of the same group has no key; write - {value}")
    elif group in GLOBAL and name not in GLOBAL and not (parts[1] and parts[2]):
        yield Problem(where, f"write - override /{name}: {value}")
