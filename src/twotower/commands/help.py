"""Texts of `--help`, `--help GROUP` and `--info choices`."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from twotower.commands.conf import groups_of, keys_of
from twotower.commands.keys import NOTHING, description, head_comment, sections, shown
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.reading import NOT_SET
from twotower.config.spec import OURS, TARGET, is_ours, locate

MARKERS = {NOT_SET: "required", OF_THE_RUN: "as the run had it"}
MAX_WIDTH = 120
Choices = Callable[[str], Mapping[str, Path]]
"""Group -> name -> file of its choices."""


def help_text(config_name: str, about: str, choices: Choices, own: Mapping[str, Any] = NOTHING) -> str:
    """Return the command's description, then each group's choices and the plain keys.

    Args:
        config_name: the YAML in `conf/` that the command starts from.
        about: what the command does.
        choices: of a group.
        own: group -> choice and key path -> value of the user's defaults.
    """

    def default_text(key: str, default: Any) -> str:
        return f"{shown(own[key])}, yours" if key in own else MARKERS.get(str(default), shown(default))

    lines = [about.strip(), "", "Groups (group=choice):"]
    for group, default in groups_of(config_name).items():
        names = ", ".join(sorted(choices(group)))
        line = f"  {group:<12} {names}  [{default_text(group, 'none' if default is None else default)}]"
        lines += _wrapped(line, " " * 15)
    lines += ["", "Keys (key=value; every key of a choice too, e.g. loss.temperature=0.05):"]
    lines += [f"  {key:<14} [{default_text(key, value)}]" for key, value in keys_of(config_name).items()]
    lines += [f"  {key:<14} [{default_text(key, value)}]" for key, value in own.items() if "." in key]
    refused = ", 5 the gate refused" if config_name == "nightly" else ""
    lines += [
        "",
        "--help GROUP describes the keys of a group; --info choices describes each choice; "
        "--cfg job prints the configuration.",
        f"Exit status: 0 done, 1 failed, 2 invalid input, 3 index rejected{refused}.",
    ]
    return "\n".join(lines)


def group_text(config_name: str, group: str, choices: Choices, own: Mapping[str, Any] = NOTHING) -> str:
    """Return what `--help GROUP` prints: each choice with its keys. See `help_text`.

    Raises:
        InputError: the command has no such group.
    """
    defaults = groups_of(config_name)
    if group not in defaults:
        raise InputError(f"--help {group}: no group of this command; {nearest(group, defaults)}")
    chosen = f"{group}={own.get(group, defaults[group])}"
    lines: list[str] = []
    for section in sections(group, choices(group), group_annotation(group)):
        mark = "  (your default)" if group in own else "  (the default)"
        lines += ["", section.title + (mark if section.title == chosen else "")]
        if section.text:
            lines += _wrapped(f"  {section.text}", "  ")
        if not is_ours(section.target or OURS):
            lines.append(f"  {section.target}; its source file has the types")
        rows = []
        for key in section.keys:
            path, yours = f"{group}.{key.name}", ""
            if path in own:
                yours = f"yours, else {key.default}; "
            default = shown(own[path]) if path in own else key.default
            rows.append(
                (f"  {key.name}={default}", ". ".join(filter(None, [yours + key.takes, key.meaning])))
            )
        width = min(max((len(name) for name, _ in rows), default=0), 40)
        for name, text in rows:
            lines += _wrapped(f"{name:<{width}}  {text}", " " * (width + 2))
    return "\n".join(lines[1:])


def choices_text(config_name: str, choices: Choices, own: Mapping[str, Any] = NOTHING) -> str:
    """Return every group with its choices, one line each, a star before the default. See `help_text`."""
    lines = []
    for group, ours in groups_of(config_name).items():
        heading = {None: "  (none by default)", OF_THE_RUN: "  (as the run had it by default)"}.get(ours, "")
        lines += ["", f"{group}{'  (* is yours)' if group in own else heading}"]
        found = choices(group)
        width = max(map(len, found), default=0)
        for name, path in sorted(found.items()):
            mark = "*" if name == own.get(group, ours) else " "
            lines.append(f" {mark} {name:<{width}}  {_first_sentence(path)}".rstrip())
    return "\n".join(lines[1:])


def group_annotation(group: str) -> Any:
    """Return the type of a group in the settings of `twotower train`; imports torch."""
    from twotower.commands.command_settings import TrainSettings

    field = TrainSettings.model_fields.get(group)
    return field.annotation if field else None


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
