"""Every key with its default, range and meaning: for `--help GROUP`, and as a page of the guide."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from twotower.commands.command_keys import COMMANDS
from twotower.commands.help import COMMAND, MAX_WIDTH, NOTHING, Choices, groups_of, keys_of
from twotower.commands.keys import Key, bases_of, classes_of, comments_of, described, settable, shown
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.component import Component, Config
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.reading import NOT_SET
from twotower.config.spec import OURS, TARGET, is_ours, locate

DEFAULTS = {NOT_SET: "required", OF_THE_RUN: "as the run had it"}
INTRODUCTION = """\
# Every key

Written by `python scripts/write_reference.py` from the code; on the command line
`twotower train --help loss` shows the part about a group. A key is typed `group.key=value`. Where a
choice's YAML sets a key, its default here is what the YAML says. What is out of range is refused before any
data is read.
"""


@dataclass(frozen=True)
class Section:
    """What is told of one choice, or of one class that an entry of a choice may name.

    Attributes:
        title: how it is chosen.
        text: what it is.
        keys: that it has.
        target: the class as a YAML names it; empty where it has none.
    """

    title: str
    text: str
    keys: list[Key]
    target: str = ""


def group_text(
    conf: Path, config_name: str, group: str, choices: Choices, own: Mapping[str, Any] = NOTHING
) -> str:
    """Return what `--help GROUP` prints: each choice, and each of its keys.

    Args:
        conf: the folder of all choices.
        config_name: the YAML in it that the command starts from.
        group: as typed.
        choices: of a group.
        own: group -> choice and key path -> value that the user's own defaults say.

    Raises:
        InputError: the command has no such group.
    """
    defaults = dict(groups_of(_read(conf / f"{config_name}.yaml")))
    if group not in defaults:
        raise InputError(f"--help {group}: no group of this command; {nearest(group, sorted(defaults))}")
    marks = {f"{group}={defaults[group]}": "  (the default)"}
    if group in own:
        marks = {f"{group}={defaults[group]}": "  (our default)", f"{group}={own[group]}": "  (your default)"}
    lines: list[str] = []
    for section in _sections(group, choices(group)):
        mark = marks.get(section.title, "")
        lines += ["", f"{section.title}{mark}", *_wrapped(section.text, "  ", "  ")]
        if not is_ours(section.target or OURS):
            note = f"{section.target}; it may have more keys than its YAML sets"
            lines += _wrapped(note, "  ", "  ")
        keys = [_as_own(key, own, f"{group}.{key.name}") for key in section.keys]
        names = [f"  {key.name}={key.default}" for key in keys]
        width = min(max(map(len, names), default=0), 40)
        for name, key in zip(names, keys, strict=True):
            told = f"{key.takes}. {key.meaning}" if key.meaning else key.takes
            lines += _wrapped(told, f"{name:<{width}}  ", " " * (width + 2))
    return "\n".join(lines[1:])


def _as_own(key: Key, own: Mapping[str, Any], path: str) -> Key:
    """Return a key with the default that is the user's own, if it has one."""
    if path not in own:
        return key
    return replace(key, default=shown(own[path]), takes=f"yours, else {key.default}; {key.takes}")


def reference_page(conf: Path, choices: Choices) -> str:
    """Return the page of the guide that has all groups, and the plain keys of all commands.

    Args:
        conf: the folder of all choices.
        choices: of a group.
    """
    defaults = dict(groups_of(_read(conf / "train.yaml")))
    lines = [INTRODUCTION, "## Groups", "", " · ".join(f"[{group}](#{group})" for group in defaults), ""]
    for group, default in defaults.items():
        lines += [f"## {group}", "", f"Default: `{'none' if default is None else default}`.", ""]
        lines += _page_of_group(group, choices(group))
    lines += ["## Commands", ""]
    for command, kind in COMMANDS.items():
        path = conf / f"{command}.yaml"
        config = _read(path)
        comments = comments_of(path) | comments_of(conf / "run_keys.yaml")
        given = {key: DEFAULTS.get(str(value), value) for key, value in keys_of(conf, config).items()}
        lines += [f"### {_command(command)}", "", *_table(settable(kind.keys, given, comments))]
    return "\n".join(lines).rstrip() + "\n"


def _page_of_group(group: str, files: Mapping[str, Path]) -> Iterator[str]:
    """Yield lines; a key that all choices have stands once, and those of a class with its first choice."""
    own = _plain_keys(_annotation(group), {})
    yield from _table(own)
    common = set(own)
    for base in dict.fromkeys(bases_of(_annotation(group))):
        keys = settable(base.Config, {}, {})
        common |= set(keys)
        yield f"`{base.__module__}.{base.__qualname__}` is what choices extend{', with' if keys else '.'}"
        yield from ("", *_table(keys))
    told: dict[str, Section] = {}
    for section in _sections(group, files):
        first = told.setdefault(section.target, section) if section.target else section
        same = common if first is section else {*common, *first.keys}
        yield from (
            f"### {section.title}",
            "",
            f"{_escaped(section.text)} `{section.target}`".removesuffix(" ``"),
        )
        if first is not section:
            yield f"Keys as of `{first.title}`, but for those named here."
        yield from ("", *_table([key for key in section.keys if key not in same]))


def _command(command: str) -> str:
    return (
        f"twotower train {command}=RUN"
        if command in ("warm_start", "rebuild_bundle")
        else f"twotower {command}"
    )


def _sections(group: str, files: Mapping[str, Path]) -> Iterator[Section]:
    """Yield a section a choice, then one a class that entries of this group's choices may name."""
    annotation = _annotation(group)
    for name, path in sorted(files.items()):
        spec = _read(path)
        target = spec.pop(TARGET, None)
        comment = _comment(path)
        if not isinstance(target, str):
            yield Section(f"{group}={name}", comment, _plain_keys(annotation, spec))
            continue
        if not is_ours(target):  # to describe a class is no reason to run its code
            yield Section(f"{group}={name}", comment, _keys_of_yaml(spec, comments_of(path)), target)
            continue
        try:
            kind: Any = locate(target)
        except InputError as error:
            yield Section(f"{group}={name}", f"cannot be used: {error}", [])
            continue
        keys = settable(kind.Config, spec, comments_of(path))
        yield Section(f"{group}={name}", comment or described(kind), keys, target)
    if not _is_choice_itself(annotation):
        for base in dict.fromkeys(bases_of(annotation)):
            for each in classes_of(base):
                target = f"{each.__module__}.{each.__qualname__}"
                yield Section(
                    f"{group}: {each.__name__}", described(each), settable(each.Config, {}, {}), target
                )


def _plain_keys(annotation: Any, given: Mapping[str, Any]) -> list[Key]:
    """Return the keys of a group of several choices that hold no choice themselves."""
    kind = annotation if isinstance(annotation, type) else object
    if not issubclass(kind, Config) or issubclass(kind, Component.Config):
        return []
    plain = {name for name, field in kind.model_fields.items() if not [*bases_of(field.annotation)]}
    return [key for key in settable(kind, given, {}) if key.name in plain]


def _keys_of_yaml(spec: Mapping[str, Any], comments: Mapping[str, str]) -> list[Key]:
    return [Key(key, shown(value), "set by its YAML", comments.get(key, "")) for key, value in spec.items()]


def _annotation(group: str) -> Any:
    from twotower.commands.command_settings import (
        TrainSettings,
    )  # with torch, which other help need not wait for

    field = TrainSettings.model_fields.get(group)
    return field.annotation if field else None


def _is_choice_itself(annotation: Any) -> bool:
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    found = [each for each in kinds if isinstance(each, type) and issubclass(each, Component.Config)]
    return any(base.Config in found for base in bases_of(annotation))


def _comment(path: Path) -> str:
    """Return what a YAML says of itself in the comments at its head, but for the command."""
    lines = re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))
    assert lines is not None
    own = [line for line in lines[0].splitlines() if not re.search(COMMAND, line)]
    return " ".join(line.lstrip("# ") for line in own)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, MAX_WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


def _table(keys: Iterable[Key]) -> list[str]:
    rows = [
        f"| `{key.name}` | `{key.default}` | {_escaped(key.takes)} | {_escaped(key.meaning)} |"
        for key in keys
    ]
    return ["| key | default | takes | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _escaped(text: str) -> str:
    """Return a text as Markdown must have it in a table; what stands in backticks stays as it is."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(
        part if number % 2 else part.replace("<", "&lt;").replace("*", "\\*")
        for number, part in enumerate(parts)
    )


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return found
