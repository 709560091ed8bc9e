"""Problems of the user's experiments and defaults, found in their YAML before Hydra composes them."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from twotower.commands.conf import LOCAL, choices, groups, places
from twotower.config.problems import Problem, nearest
from twotower.runs.fingerprint import override_key

EXPERIMENT = "experiment"
HEADER = re.compile(r"\s*#\s*@package +_global_\s*(\n|$)")
"""Required first line of these files; Hydra ignores it after another comment."""


def problems_of_own_files(overrides: Iterable[str]) -> Iterator[Problem]:
    """Yield the problems of the experiments and defaults of a training.

    Args:
        overrides: valid overrides with one value each.
    """
    defaults = (place / LOCAL.name / "default.yaml" for place in places())
    paths = [next((path for path in defaults if path.is_file()), None)]
    for text in overrides:
        if (key := override_key(text)) in (EXPERIMENT, LOCAL.name):
            paths.append(choices(key).get(text.partition("=")[2]))
    for path in filter(None, paths):
        text = path.read_text(encoding="utf-8")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError:  # reported with its line when it is composed
            continue
        if not isinstance(values, dict):
            continue
        if not HEADER.match(text):
            message = "its first line must be # @package _global_; without it, its keys have no effect"
            yield Problem(str(path), message)
        entries = values.get("defaults") or ()
        for entry in entries if isinstance(entries, list) else ():
            for key, choice in entry.items() if isinstance(entry, dict) else ():
                yield from (
                    Problem(f"{path}: defaults", text) for text in _default_problems(str(key), choice)
                )
        for key in sorted(groups() & values.keys()):
            if isinstance(values[key], str) and "$" not in values[key]:
                message = f"a choice is made under `defaults`, as `- override /{key}: {values[key]}`"
                yield Problem(f"{path}: {key}", message)


def _default_problems(key: str, choice: Any) -> Iterator[str]:
    """Yield the problems of an entry of `defaults`; Hydra checks entries that name none of our groups."""
    name = key.removeprefix("override ").strip()
    group = name.removeprefix("/")
    if group in groups() and name == f"/{group}" and key != name:
        valid = choices(group)
        if isinstance(choice, str) and "$" not in choice and choice not in valid:
            yield f"{group}: unknown choice {choice!r}; {nearest(choice, valid)}"
    elif group in groups():
        yield f"write `- override /{group}: {choice}` instead of `- {key}: {choice}`"
    elif key != name and "@" not in key:
        yield f"{group}: unknown group; {nearest(group, sorted(groups()))}"
