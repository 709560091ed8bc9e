"""What a YAML may set of a class: every key of its `Config`, with default, range and meaning."""

import ast
import contextlib
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from twotower.config.component import Component, Config
from twotower.config.spec import MAX_FLOAT, MAX_INT

KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
COMMENT = re.compile(r"^(\w+):.*?\s# ?(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: of it.
        default: as YAML writes it, or `required`.
        takes: which values.
        meaning: a text; empty where the code says none.
    """

    name: str
    default: str
    takes: str
    meaning: str


def settable(kind: type[Config], given: Mapping[str, Any], comments: Mapping[str, str]) -> list[Key]:
    """Return the keys of a class's settings, its own last.

    Args:
        kind: the settings.
        given: what a YAML says, which is the default where that YAML is chosen.
        comments: key -> what the YAML says behind it, for keys of which the class says nothing.
    """
    meanings = _meanings(kind)
    return [
        Key(
            name,
            shown(given[name]) if name in given else _default(field),
            takes(field.annotation, field.metadata),
            meanings.get(name) or comments.get(name, ""),
        )
        for name, field in kind.model_fields.items()
    ]


def comments_of(path: Path) -> dict[str, str]:
    """Return key -> the comment behind it, of a YAML's plain keys."""
    return dict(COMMENT.findall(path.read_text(encoding="utf-8")))


def takes(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return in words which values an annotation allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return takes(arguments[0], [*arguments[1:], *metadata])
    if origin is typing.Literal:
        return ", ".join(shown(word) for word in arguments)
    if origin in (typing.Union, types.UnionType):
        others = [takes(each, metadata) for each in arguments if each is not type(None)]
        null = ["null"] if type(None) in arguments else []
        return " or ".join([*others, *null])
    if origin in (list, tuple):
        some = "at least one of" if any(isinstance(each, MinLen) for each in metadata) else "list of"
        return f"{some} [{takes(arguments[0])}]"
    if origin is dict:
        return f"name: {takes(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, Component.Config):
        return f"a choice, {annotation.owner.__name__}"
    return KINDS.get(annotation, "values by name" if inspect.isclass(annotation) else "anything") + _range(
        metadata
    )


def _range(metadata: Sequence[Any]) -> str:
    """Return the bounds, those left out that only keep numbers within 32 bits."""
    low = high = ""
    for each in metadata:
        match each:
            case Ge():
                low = f"≥ {each.ge:g}"  # type: ignore[str-format]
            case Gt():
                low = f"> {each.gt:g}"  # type: ignore[str-format]
            case Le() if each.le not in (MAX_INT, MAX_FLOAT):
                high = f"≤ {each.le:,}"  # type: ignore[str-format]
            case Lt() if each.lt != 2**32:
                high = f"< {each.lt:,}"  # type: ignore[str-format]
    return f" {' and '.join(filter(None, [low, high]))}".rstrip()


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else shown(field.get_default(call_default_factory=True))


def shown(value: Any) -> str:
    """Return a value as YAML writes it; of choices by name the names."""
    if isinstance(value, Component.Config):
        return value.owner.__name__
    if isinstance(value, Mapping):
        if value and all(isinstance(each, Mapping | Config) for each in value.values()):
            return ", ".join(value)
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    words = {None: "null", True: "true", False: "false", "": '""'}
    return words[value] if value is None or isinstance(value, bool) or value == "" else str(value)


def _meanings(kind: type) -> dict[str, str]:
    """Return key -> the text that stands under it, in the class or in one that it extends."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= _texts(each)
    return found


@functools.cache
def _texts(kind: type) -> Mapping[str, str]:
    if not kind.__module__ or kind.__module__ == "builtins" or not issubclass(kind, Config):
        return {}
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):  # made without a source, where a class adds nothing to set
        return {}
    assert isinstance(node, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def described(kind: type) -> str:
    """Return the first paragraph of what a class says of itself, in one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def bases_of(annotation: Any) -> Iterator[type[Component]]:
    """Yield the classes whose choices may stand where an annotation does, at any depth."""
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        if issubclass(annotation, Component.Config) and inspect.isabstract(annotation.owner):
            yield annotation.owner
            return
        for field in annotation.model_fields.values():
            yield from bases_of(field.annotation)
        yield from bases_of(typing.get_type_hints(annotation).get("__pydantic_extra__"))
    for argument in typing.get_args(annotation):
        yield from bases_of(argument)


def classes_of(base: type[Component]) -> list[type[Component]]:
    """Return the classes of a base's package that a YAML may name, in the order of their modules."""
    name = base.__module__.rpartition(".")[0]
    package = importlib.import_module(name)
    found: list[type[Component]] = []
    for module in sorted(each.name for each in pkgutil.walk_packages(package.__path__, f"{name}.")):
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            members = vars(importlib.import_module(module)).values()
            found += [each for each in members if _is_choice(each, base, module)]
    return found


def _is_choice(member: object, base: type[Component], module: str) -> bool:
    return (
        inspect.isclass(member)
        and issubclass(member, base)
        and member.__module__ == module
        and not inspect.isabstract(member)
        and not member.__name__.startswith("_")
    )
