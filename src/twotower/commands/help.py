"""Texts of `--help`, `--help GROUP` and `--info choices`."""

import contextlib
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from twotower.commands.command_keys import COMMANDS, settings_class
from twotower.commands.conf import CONF, HEADER, groups_of, keys_of
from twotower.commands.entry_points import COMMAND_NAMES
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.component import Component, Config
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.reading import NOT_SET
from twotower.config.spec import MAX_FLOAT, MAX_INT, TARGET, is_ours, locate

MARKERS = {NOT_SET: "required", OF_THE_RUN: "as the run had it"}
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
TYPES = {
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "object": "values by name",
}
COMMENT = re.compile(r"^(\w+):.*?\s# ?(.+)$", re.MULTILINE)
COMMAND = rf"@package|python scripts/|\btwotower ({'|'.join(COMMAND_NAMES)})\b"
"""Pattern of YAML comments that show a command instead of a description."""
MAX_WIDTH = 120
Choices = Callable[[str], Mapping[str, Path]]
"""Group -> name -> file of its choices."""


class Key(NamedTuple):
    """A key, its default as YAML writes it (or `required`), allowed values, and meaning (may be empty)."""

    name: str
    default: str
    takes: str
    meaning: str


class Section(NamedTuple):
    """A choice, or a class: how it is chosen, what it is, and its keys."""

    title: str
    text: str
    keys: Sequence[Key] = ()
    config: type[Config] | None = None
    """The class that has the keys."""


def help_text(config_name: str, about: str, choices: Choices) -> str:
    """Return what the command does (`about`), then each group's choices and the plain keys."""
    defaults = groups_of(config_name)
    lines = [about.strip()]
    lines += ["", "Groups (group=choice):"] if defaults else []
    for group, default in defaults.items():
        names = ", ".join(sorted(choices(group)))
        lines += _wrapped(f"  {group:<14} {names}  [{default_in_words(default) or 'none'}]", 17)
    lines += ["", "Keys (key=value; every key of a choice too, e.g. loss.temperature=0.05):"]
    lines += _key_lines(keys_of_command(config_name))
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
    lines: list[str] = []
    for section in sections(group, choices):
        is_default = section.title == f"{group}={defaults[group]}"
        lines += ["", section.title + ("  (the default)" if is_default else "")]
        lines += [*_wrapped(f"  {section.text}", 2), *_key_lines(section.keys)]
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
            text = _choice("", path, None).text.partition(". ")[0].removesuffix(".")
            lines.append(f" {'*' if name == default else ' '} {name:<{width}}  {text}{text and '.'}".rstrip())
    return "\n".join(lines[1:])


def sections(group: str, choices: Choices) -> Iterator[Section]:
    """Yield the base classes of a group, each choice, and each class that entries of a choice may name.

    Keys of a base class, and of a choice of the same class, are listed again only if their default, values or
    meaning differ. Imports torch.
    """
    command = next(each for each in COMMANDS if group in groups_of(each))
    field = settings_class(command).model_fields.get(group)
    annotation = field.annotation if field else None
    bases, common = list(dict.fromkeys(_component_bases(annotation))), set()
    for base in bases:
        if keys := _keys(base.Config):
            common |= set(keys)
            text = "Base class; each class below has these keys too."
            yield Section(f"{group}: {base.__name__}", text, keys, base.Config)
    first: dict[Any, Section] = {}
    for name, path in sorted(choices(group).items()):
        section = _choice(f"{group}={name}", path, annotation)
        text, listed = section.text, common
        if section.config and (same := first.setdefault(section.config, section)) is not section:
            text = f"{text} Other keys as of `{same.title}`.".lstrip()
            listed = common | set(same.keys)
        yield section._replace(text=text, keys=[key for key in section.keys if key not in listed])
    if any(base.Config in (annotation, *typing.get_args(annotation)) for base in bases):
        return
    for kind in itertools.chain.from_iterable(map(_subclasses, bases)):
        keys = [key for key in _keys(kind.Config) if key not in common]
        yield Section(f"{group}: {kind.__name__}", _description(kind), keys, kind.Config)


def _choice(title: str, path: Path, annotation: Any) -> Section:
    """Return the section of a choice.

    Args:
        annotation: type of the group in the settings of `twotower train`.
    """
    text = path.read_text(encoding="utf-8")
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines if not re.search(COMMAND, line))
    if HEADER.match(text):  # it sets keys of several groups
        return Section(title, comment)
    try:
        spec = yaml.safe_load(text) or {}
        target = spec.pop(TARGET, "")
        if is_ours(target):
            kind: Any = locate(target)
            return Section(title, comment or _description(kind), _keys(kind.Config, spec, text), kind.Config)
    except (InputError, yaml.YAMLError) as error:
        return Section(title, f"cannot be used: {' '.join(str(error).split())}")
    if target:
        meanings = dict(COMMENT.findall(text))
        keys = [Key(key, _shown(value), "", meanings.get(key, "")) for key, value in spec.items()]
        about = comment or "A class of another package."
        return Section(title, f"{about} {target}; its source file has its other keys.", keys)
    return Section(title, comment, _keys(annotation, spec) if annotation else (), annotation)


def _description(kind: type) -> str:
    """Return the first paragraph of the docstring of a class."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _keys(
    kind: type[Config], given: Mapping[str, Any] = types.MappingProxyType({}), comments: str = ""
) -> list[Key]:
    """Return the keys of a class of settings.

    Args:
        given: values of a YAML, which are the defaults where it is chosen.
        comments: text of that YAML; comments describe keys that the class does not describe.
    """
    documentation, schema = _documented(kind)
    meanings, keys = dict(COMMENT.findall(comments)) | documentation, []
    for name, each in kind.model_fields.items():
        default = MARKERS[NOT_SET] if each.is_required() else each.get_default(call_default_factory=True)
        takes = allowed_values(schema["properties"][name], schema.get("$defs", {}))
        keys.append(
            Key(name, _shown(given.get(name, default)), takes, " ".join(meanings.get(name, "").split()))
        )
    return keys


@functools.cache
def _documented(kind: type[Config]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the docstrings of a class's fields, and its JSON schema."""
    return kind.documentation(), kind.model_json_schema()


def keys_of_command(command: str) -> list[Key]:
    """Return the plain keys of a command."""
    comments = "".join((CONF / f"{name}.yaml").read_text("utf-8") for name in ("trust", "run_keys", command))
    given = {key: default_in_words(value) for key, value in keys_of(command).items()}
    return _keys(COMMANDS[command], given, comments)


def allowed_values(schema: Mapping[str, Any], classes: Mapping[str, Any] = types.MappingProxyType({})) -> str:
    """Return in words which values a JSON schema allows; `classes` are its `$defs`."""
    match schema:
        case {"$ref": reference}:
            return str(classes[reference.rpartition("/")[2]]["title"])
        case {"enum": values}:
            return ", ".join(map(_shown, values))
        case {"const": value}:
            return _shown(value)
        case {"anyOf": kinds}:
            return " or ".join(allowed_values(each, classes) for each in kinds)
        case {"type": "array", "items": each}:
            some = "at least one of" if "minItems" in schema else "list of"
            return f"{some} [{allowed_values(each, classes)}]"
        case {"type": "object", "additionalProperties": dict(each)}:
            return f"name: {allowed_values(each, classes)}"
    limits = [(sign, schema[name]) for name, sign in SIGNS.items() if name in schema]
    bounds = [f"{sign} {limit:,}" for sign, limit in limits if limit not in (MAX_INT, MAX_FLOAT, 2**32)]
    return (
        f"{TYPES.get(schema.get('type', ''), schema.get('type', 'anything'))} {' and '.join(bounds)}".rstrip()
    )


def _shown(value: Any) -> str:
    """Return a value as YAML writes it; of choices by name the names."""
    if isinstance(value, Component.Config):
        return value.owner.__name__
    if isinstance(value, Mapping):
        if value and all(isinstance(each, Mapping | Config) for each in value.values()):
            return ", ".join(value)
        return "{" + ", ".join(f"{key}: {_shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": '""'}.get(value, str(value))


def default_in_words(value: Any) -> Any:
    """Return a default as `--help` shows it: a word for what YAML cannot say."""
    return MARKERS.get(str(value), value)


def _component_bases(annotation: Any) -> Iterator[type[Component]]:
    """Yield the abstract classes of the choices that an annotation allows, at any depth."""
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        if issubclass(annotation, Component.Config) and inspect.isabstract(annotation.owner):
            yield annotation.owner
            return
        for each in annotation.model_fields.values():
            yield from _component_bases(each.annotation)
        yield from _component_bases(typing.get_type_hints(annotation).get("__pydantic_extra__"))
    for argument in typing.get_args(annotation):
        yield from _component_bases(argument)


def _subclasses(base: type[Component]) -> Iterator[type[Component]]:
    """Yield the concrete classes in the package of a base, in the order of their modules."""
    name = base.__module__.rpartition(".")[0]
    package = importlib.import_module(name)
    for module in sorted(each.name for each in pkgutil.walk_packages(package.__path__, f"{name}.")):
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            for each in vars(importlib.import_module(module)).values():
                is_choice = inspect.isclass(each) and issubclass(each, base) and each.__module__ == module
                if is_choice and not inspect.isabstract(each) and not each.__name__.startswith("_"):
                    yield each


def _key_lines(keys: Sequence[Key]) -> Iterator[str]:
    """Yield a line per key for the terminal, and further lines where it is longer than the terminal."""
    width = min(max((len(f"{key.name}={key.default}") for key in keys), default=0), 38) + 2
    for key in keys:
        text = ". ".join(filter(None, [key.takes, key.meaning]))
        yield from _wrapped(f"{f'  {key.name}={key.default}':<{width}}  {text}", width + 2)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, MAX_WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)
