"""Defaults of the classes that the settings of a run name."""

from collections.abc import Iterator, Mapping
from typing import Any

from twotower.config.errors import InputError
from twotower.config.spec import TARGET, locate
from twotower.runs.fingerprint import flatten

Scalar = bool | int | float | str


def unstated_defaults(settings: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return dotted key -> default of every setting that the YAML of a run does not state.

    Imports the classes of the settings. Defaults that are objects are skipped.
    """
    return flatten(dict(_defaults(settings, "")))


def _defaults(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _defaults(value, f"{prefix}{key}.")
    for name, field in _fields(values).items():
        if name not in values and not field.is_required():
            default = field.get_default(call_default_factory=True)
            if default is None or isinstance(default, bool | int | float | str | list | tuple):
                yield f"{prefix}{name}", default


def _fields(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        component: Any = locate(choice[TARGET])
        return dict(component.Config.model_fields)
    except (InputError, KeyError, AttributeError):
        return {}
