"""Texts of `--help`, `--help GROUP` and `--info choices`, and the page of the guide that lists every key."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from twotower.commands.command_keys import COMMANDS, settings_class
from twotower.commands.conf import CONF, groups_of, keys_of
from twotower.commands.keys import (
    Key,
    Section,
    component_bases,
    description,
    head_comment,
    keys_of_class,
    plain_keys,
    sections,
    shown,
)
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.reading import NOT_SET
from twotower.config.spec import OURS, TARGET, is_ours, locate

MARKERS = {NOT_SET: "required", OF_THE_RUN: "as the run had it"}
MAX_WIDTH = 120
INTRODUCTION = """\
# Every key

Written by `python scripts/write_reference.py` from the code; on the command line
`twotower train --help loss` shows the part about a group. A key is typed `group.key=value`. Where a
choice's YAML sets a key, its default here is what the YAML says. Values out of range are refused before any
data is read.
"""
Choices = Callable[[str], Mapping[str, Path]]
"""Group -> name -> file of its choices."""


def help_text(config_name: str, about: str, choices: Choices) -> str:
    """Return what the command does (`about`), then each group's choices and the plain keys."""
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
    field = settings_class("train").model_fields.get(group)
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


def reference_page(choices: Choices) -> str:
    """Return the page: all groups with their choices, and the plain keys of all commands."""
    defaults = groups_of("train")
    lines = [INTRODUCTION, "## Groups", "", " · ".join(f"[{group}](#{group})" for group in defaults), ""]
    for group, default in defaults.items():
        lines += [f"## {group}", "", f"Default: `{'none' if default is None else default}`.", ""]
        lines += _group_lines(group, choices)
    lines += ["## Commands", ""]
    for command, keys in COMMANDS.items():
        comments = "".join(
            (CONF / f"{name}.yaml").read_text("utf-8") for name in ("trust", "run_keys", command)
        )
        given = {key: MARKERS.get(str(value), value) for key, value in keys_of(command).items()}
        mode = f"train {command}=RUN" if command in ("warm_start", "rebuild_bundle") else command
        lines += [f"### twotower {mode}", "", *_table(keys_of_class(keys, given, comments))]
    return "\n".join(lines).rstrip() + "\n"


def _group_lines(group: str, choices: Choices) -> Iterator[str]:
    """Yield lines; keys that all choices have are listed once, and those of a class with its first choice."""
    annotation = group_annotation(group)
    own = plain_keys(annotation, {})
    yield from _table(own)
    common = set(own)
    for base in dict.fromkeys(component_bases(annotation)):
        keys = keys_of_class(base.Config)
        common |= set(keys)
        yield f"`{base.__module__}.{base.__qualname__}` is what choices extend{', with' if keys else '.'}"
        yield from ("", *_table(keys))
    seen: dict[str, Section] = {}
    for section in sections(group, choices(group), annotation):
        first = seen.setdefault(section.target or section.title, section)
        target = f" `{section.target}`" if section.target else ""
        yield from (f"### {section.title}", "", f"{_escaped(section.text)}{target}".strip())
        if first is not section:
            yield f"Keys as of `{first.title}`, but for those named here."
        listed = common if first is section else {*common, *first.keys}
        yield from ("", *_table(key for key in section.keys if key not in listed))


def _table(keys: Iterable[Key]) -> list[str]:
    rows = [
        f"| `{key.name}` | `{key.default}` | {_escaped(key.takes)} | {_escaped(key.meaning)} |"
        for key in keys
    ]
    return ["| key | default | takes | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _escaped(text: str) -> str:
    """Return a text for a Markdown table; code in backticks is unchanged."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(
        part if number % 2 else part.replace("<", "&lt;").replace("*", "\\*")
        for number, part in enumerate(parts)
    )
