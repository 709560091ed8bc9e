"""Settings from plain values: all mistakes at once, each with its key and the valid names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from twotower.config.component import Config, mistakes
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.config.spec import TARGET, locate

C = TypeVar("C", bound=Config)

NOT_SET = "???"
"""Value of a YAML key that the user must set."""


def read(kind: type[C], values: Mapping[str, Any]) -> tuple[C, list[Problem]]:
    """Read settings of a kind from plain values.

    Returns:
        The settings and their mistakes. With mistakes, the settings have only the valid fields; reading
        another one is an `AttributeError`.
    """
    given = {key: value for key, value in values.items() if not _is_not_set(value)}
    try:
        settings, problems = kind.model_validate(given), []
    except ValidationError as error:
        problems = [_problem(kind, given, details) for details in mistakes(error)]
        wrong = {problem.key.partition(".")[0] for problem in problems}  # these do not get their defaults
        fields: dict[str, Any] = {
            name: (each.annotation, each) for name, each in kind.model_fields.items() if name not in wrong
        }
        part = create_model("Part", __base__=BaseModel, __config__=kind.model_config, **fields)
        valid = part.model_validate({name: given[name] for name in fields if name in given})
        settings = kind.model_construct(set(), **{name: getattr(valid, name) for name in fields})
    keys = {problem.key for problem in problems}
    unset = [key for key in _unset_keys(values) if key not in keys]
    return settings, problems + [Problem(key, "required, but not set") for key in unset]


def _unset_keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _unset_keys(value, f"{prefix}{key}.")
        elif _is_not_set(value):
            yield f"{prefix}{key}"


def _is_not_set(value: Any) -> bool:
    return isinstance(value, str) and value == NOT_SET


def _problem(kind: type[Config], values: Mapping[str, Any], details: Any) -> Problem:
    *parents, last = where = [str(part) for part in details["loc"] if part != "[key]"] or [""]
    key, given = ".".join(where), details.get("input")
    if _is_not_set(given) or details["type"] == "missing":
        return Problem(key, "required, but not set")
    if details["type"] == "extra_forbidden":
        valid = _valid_keys(kind, values, parents)
        if not valid and parents and TARGET not in _at(values, parents):  # an entry that does not exist
            return _unknown_choice(values, parents)
        return Problem(key, f"unknown key; {nearest(last, valid)}")
    if details["type"] == "literal_error":
        valid = details["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return Problem(key, f"unknown choice {given!r}; {nearest(str(given), valid)}")
    if details["type"] in ("model_type", "choice"):
        return _unknown_choice(values, where)
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error" and isinstance(details["ctx"]["error"], InputError):
        own, _, rest = message.partition(": ")
        is_key = rest and own.replace("_", "").replace(".", "").isalnum() and " " not in own
        return Problem(f"{key}.{own}".strip("."), rest) if is_key else Problem(key, message)
    message = re.sub("^Input should be |^[A-Z][a-z]+ should have ", "", message)
    is_item = details["type"] == "list_type" and re.fullmatch(r"[\w./-]+", str(given))
    return Problem(
        key, f"expected {message}, got {given!r}" + (f"; write {key}=[{given}]" if is_item else "")
    )


def _unknown_choice(values: Mapping[str, Any], path: Sequence[str]) -> Problem:
    """Return the problem of a choice without a target, which may be a misspelt entry next to others."""
    *parents, name = path
    around = _at(values, parents)
    given, entries = around.get(name), [key for key, each in around.items() if TARGET in _at(each, [])]
    hint = f"; {nearest(name, entries)}" if isinstance(given, Mapping) and parents and entries else ""
    return Problem(".".join(path), f"expected a choice with a {TARGET}, got {given!r}{hint}")


def _at(values: Any, path: Sequence[str]) -> Mapping[str, Any]:
    """Return the mapping at a key path, {} if there is none."""
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}


def _valid_keys(kind: Any, values: Mapping[str, Any], path: Sequence[str]) -> Sequence[str]:
    """Return the valid keys at a key path."""
    if TARGET in (found := _at(values, path)):
        return list(locate(found[TARGET]).Config.model_fields)  # type: ignore[attr-defined]
    for part in path:
        kind = kind.model_fields[part].annotation if part in getattr(kind, "model_fields", {}) else None
    return list(getattr(kind, "model_fields", {}))
