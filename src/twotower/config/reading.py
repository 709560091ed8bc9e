"""Settings from plain values: all mistakes at once, each with its key path and what is valid there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from twotower.config.component import Config
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.config.spec import TARGET, locate

C = TypeVar("C", bound=Config)

NOT_SET = "???"
"""How a YAML says that the user must give a value."""
LONG_NUMBER = re.compile(r"\d{17,}")


def read(kind: type[C], values: Mapping[str, Any]) -> tuple[C, list[Problem]]:
    """Read settings.

    Args:
        kind: what they are.
        values: plain ones.

    Returns:
        The settings and what is wrong with them. Where something is, they have those fields alone that are
        sound: to ask for another one is an `AttributeError`.
    """
    given = {key: value for key, value in values.items() if not _is_not_set(value)}
    try:
        settings, found = kind.model_validate(given), []
    except ValidationError as error:
        found = [_problem(kind, given, details) for details in error.errors(include_url=False)]
        settings = kind.model_construct(set(), **dict(_sound(kind, given, found)))
    told = {problem.key for problem in found}
    unset = [key for key in _unset(values) if key not in told]
    return settings, found + [Problem(key, "required, but not set") for key in unset]


def _unset(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _unset(value, f"{prefix}{key}.")
        elif _is_not_set(value):
            yield f"{prefix}{key}"


def _is_not_set(value: Any) -> bool:
    return isinstance(value, str) and value == NOT_SET


def _sound(
    kind: type[Config], values: Mapping[str, Any], found: Sequence[Problem]
) -> Iterator[tuple[str, Any]]:
    """Yield the fields that nothing is wrong with; the defaults of others must not stand in for them."""
    wrong = {problem.key.partition(".")[0] for problem in found}
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in kind.model_fields.items() if name not in wrong
    }
    part = create_model("Part", __base__=BaseModel, __config__=kind.model_config, **fields)
    read = part.model_validate({name: values[name] for name in fields if name in values})
    yield from ((name, getattr(read, name)) for name in fields)


def _problem(kind: type[Config], values: Mapping[str, Any], details: Any) -> Problem:
    *parents, last = where = [str(part) for part in details["loc"]] or [""]
    key, given = ".".join(where), details.get("input")
    if _is_not_set(given):
        return Problem(key, "required, but not set")
    if details["type"] == "extra_forbidden":
        return Problem(key, f"unknown key; {nearest(last, _fields_at(kind, values, parents))}")
    if details["type"] == "missing":
        return Problem(key, "required, but not set")
    if details["type"] == "literal_error":
        valid = details["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return Problem(key, f"unknown choice {given!r}; {nearest(str(given), valid)}")
    if details["type"] in ("model_type", "choice"):
        return Problem(key, f"expected a choice with a {TARGET}, got {given!r}")
    if details["type"] in ("too_short", "too_long"):
        sizes = details["ctx"]
        least = "at least" if details["type"] == "too_short" else "at most"
        number = sizes["min_length" if details["type"] == "too_short" else "max_length"]
        return Problem(key, f"expected a list of {least} {number} items, got {given!r}")
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error" and isinstance(details["ctx"]["error"], InputError):
        own, _, rest = message.partition(": ")
        is_key = rest and own.replace("_", "").replace(".", "").isalnum() and " " not in own
        return Problem(f"{key}.{own}".strip("."), rest) if is_key else Problem(key, message)
    message = message.removeprefix("Input should be ").replace("Field required", "required")
    message = LONG_NUMBER.sub(lambda found: f"{float(found[0]):g}", message)
    return Problem(key, f"expected {message}, got {given!r}")


def _fields_at(kind: type[Config], values: Any, path: Sequence[str]) -> Sequence[str]:
    """Return the names that are valid where a key stands."""
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
    if not path:
        return list(kind.model_fields)
    if isinstance(values, Mapping) and TARGET in values:
        found: Any = locate(values[TARGET])
        return list(found.Config.model_fields)
    return []
