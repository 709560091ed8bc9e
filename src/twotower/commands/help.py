"""Texts of `--help`, `--help GROUP` and `--info choices`."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from twotower.commands.conf import groups_of, keys_of
from twotower.commands.keys import description, head_comment, sections, shown
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.reading import NOT_SET
from twotower.config.spec import OURS, TARGET, is_ours, locate

MARKERS = {NOT_SET: "required", OF_THE_RUN: "as the run had it"}
MAX_WIDTH = 120
Choices = Callable[[str], Mapping[str, Path]]
"""Group -> name -> file of its choices."""


def help_text(config_name: str, about: str, choices: Choices) -> str:
    """Return the command's description, then each group's choices and the plain keys.

    Args:
        config_name: the YAML in `conf/` that the command starts from.
        about: what the command does.
        choices: of a group.
    """
    lines = [about.strip(), "", "Groups (group=choice):"]
    for group, default in groups_of(config_name).items():
        names = ", ".join(sorted(choices(group)))
        line = f"  {group:<12} {names}  [{'none' if default is None else _default(default)}]"
        lines += _wrapped(line, " " * 15)
    lines += ["", "Keys (key=value; every key of a choice too, e.g. loss.temperature=0.05):"]
    lines += [f"  {key:<14} [{_default(value)}]" for key, value in keys_of(config_name).items()]
    refused = ", 5 the gate refused" if config_name == "nightly" else ""
    lines += [
        "",
        "--help GROUP describes the keys of a group; --info choices describes each choice;",
        "--cfg job prints the configuration, with your own defaults.",
        f"Exit status: 0 done, 1 failed, 2 invalid input, 3 index rejected{refused}.",
    ]
    return "\n".join(lines)


def group_text(config_name: str, group: str, choices: Choices) -> str:
    """Return what `--help GROUP` prints: each choice with its keys. See `help_text`.

    Raises:
        InputError: the command has no such group.
    """
    defaults = groups_of(config_name)
    if group not in defaults:
        raise InputError(f"--help {group}: no group of this command; {nearest(group, defaults)}")
    chosen = f"{group}={defaults[group]}"
    lines: list[str] = []
    for section in sections(group, choices(group), group_annotation(group)):
        lines += ["", section.title + ("  (the default)" if section.title == chosen else "")]
        if section.text:
            lines += _wrapped(f"  {section.text}", "  ")
        if not is_ours(section.target or OURS):
            lines.append(f"  {section.target}; its source file has its other keys")
        rows = [
            (f"  {key.name}={key.default}", ". ".join(filter(None, [key.takes, key.meaning])))
            for key in section.keys
        ]
        width = min(max((len(name) for name, _ in rows), default=0), 40)
        for name, text in rows:
            lines += _wrapped(f"{name:<{width}}  {text}", " " * (width + 2))
    return "\n".join(lines[1:])


def choices_text(config_name: str, choices: Choices) -> str:
    """Return every group with its choices, one line each, a star before the default. See `help_text`."""
    lines = []
    for group, default in groups_of(config_name).items():
        heading = {None: "  (none by default)", OF_THE_RUN: "  (as the run had it by default)"}
        lines += ["", f"{group}{heading.get(default, '')}"]
        found = choices(group)
        width = max(map(len, found), default=0)
        for name, path in sorted(found.items()):
            mark = "*" if name == default else " "
            lines.append(f" {mark} {name:<{width}}  {_first_sentence(path)}".rstrip())
    return "\n".join(lines[1:])


def group_annotation(group: str) -> Any:
    """Return the type of a group in the settings of `twotower train`; imports torch."""
    from twotower.commands.command_settings import TrainSettings

    field = TrainSettings.model_fields.get(group)
    return field.annotation if field else None


def _default(value: Any) -> str:
    return MARKERS.get(str(value), shown(value))


def _first_sentence(path: Path) -> str:
    """Return the first sentence of a choice's comments, or the first line of its class."""
    text = path.read_text(encoding="utf-8")
    if comment := head_comment(text):
        return comment.partition(". ")[0].removesuffix(".") + "."
    try:
        target = (yaml.safe_load(text) or {}).get(TARGET)
        if is_ours(target):
            return description(locate(target))
        return target if isinstance(target, str) else ""  # its code does not run for a description
    except (InputError, yaml.YAMLError) as error:
        return f"cannot be used: {' '.join(str(error).split())}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, MAX_WIDTH, subsequent_indent=indent, break_on_hyphens=False)
