"""Mistakes in the user's YAML files, and the file that sets a key."""

import contextlib
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
from twotower.experiments.runs.fingerprint import flatten, override_key

GLOBAL = frozenset({EXPERIMENT, "benchmark", SIZE, LOCAL.name})
"""Groups whose files set keys of the whole configuration."""
ENTRY = re.compile(r"(?:override )?/?(\w+)(?:: |=)([\w-]+?)(?:\.yaml)?")
"""An entry of a defaults list that selects a choice of a group."""


def problems_of_own_files(overrides: Iterable[str]) -> Iterator[Problem]:
    """Yield the mistakes in the files of the choices of a training that Hydra does not name.

    Args:
        overrides: valid overrides with one value each.
    """
    for group, path in _files(overrides):
        try:
            values = read_yaml(path)
        except InputError as error:
            yield Problem(str(path), str(error))
            continue
        if group not in GLOBAL:
            continue
        if not HEADER.match(path.read_text(encoding="utf-8")):
            message = "its first line must be # @package _global_; without it, its keys have no effect"
            yield Problem(str(path), message)
        for key in values:
            if "." in key:
                yield Problem(f"{path}: {key}", "keys of a file have no dots; write group: {key: value}")
        for text in _entries(values):
            if not (parts := ENTRY.fullmatch(text)):  # others are left to Hydra
                continue
            name, choice = parts.groups()
            where = f"{path}: defaults: {text}"
            if name not in groups() | GLOBAL:
                yield Problem(where, f"unknown group; {nearest(name, groups())}")
            elif choice not in {*choices(name), "null"}:
                yield Problem(where, f"unknown choice {choice!r}; {nearest_choice(choice, name)}")
            elif name not in GLOBAL and text.removesuffix(".yaml") != f"override /{name}: {choice}":
                yield Problem(where, f"write - override /{name}: {choice}")


def setting_file(key: str, overrides: Iterable[str]) -> Path | None:
    """Return the file of a choice that sets a key of the configuration, None if none does."""
    for group, path in _files(overrides):
        values = read_yaml(path)
        keys = flatten(values if group in GLOBAL else {group: values})
        if any(f"{each}.".startswith(f"{key}.") for each in keys):
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
        with contextlib.suppress(InputError):  # reported by the caller
            for parts in filter(None, map(ENTRY.fullmatch, _entries(read_yaml(path)))):
                waiting.append((parts[1], parts[2]))


def _entries(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield each entry of the defaults list of a file as a text, such as `override /loss: bce`."""
    entries = values.get("defaults")
    for entry in entries if isinstance(entries, list) else ():
        pairs = entry if isinstance(entry, Mapping) else {}
        yield ", ".join(f"{key}: {value}" for key, value in pairs.items()) or str(entry)
