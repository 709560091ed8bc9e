"""What YAML and JSON may set of a class: its keyword-only parameters, as a pydantic model."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.spec import TARGET

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@functools.cache
def arguments_model(kind: type) -> type[BaseModel]:
    """Derive the pydantic model of a class's keyword-only parameters."""
    if issubclass(kind, Component):
        return kind.Config
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
    return create_model(kind.__name__, __config__=STRICT, **fields)


def check_arguments(kind: type, spec: Mapping[str, Any], key: str) -> None:
    """Check the arguments that a spec gives a class.

    Args:
        kind: the class.
        spec: `_target_` and arguments.
        key: where it stands, for the message.

    Raises:
        InputError: the class has no such parameter, or a value is none that it takes.
    """
    arguments = {name: value for name, value in spec.items() if name != TARGET}
    try:
        arguments_model(kind).model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([key, *map(str, first["loc"])])
        raise InputError(f"{where:.200}: {first['msg']:.200}, got {first['input']!r:.80}") from error
