"""Components that YAML chooses, and their settings."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.spec import TARGET, locate_class

T = TypeVar("T")


class Config(BaseModel):
    """Frozen settings, validated on construction; unknown keys and other types are refused.

    A field whose type is a component's `Config` takes a choice as YAML writes it, `{_target_: module.Class,
    ...}`, and becomes the `Config` of the named class.

    Attributes:
        owner: the component that these settings build.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
        model_title_generator=lambda kind: kind.__qualname__.removesuffix(".Config"),
    )
    owner: ClassVar[type["Component"]]

    @model_validator(mode="wrap")
    @classmethod
    def _chosen(cls, values: Any, handler: ModelWrapValidatorHandler["Config"]) -> "Config":
        if isinstance(values, Mapping) and TARGET in values:
            kind = locate_class(values, cls.owner)
            if inspect.isabstract(kind):
                raise InputError(f"{TARGET}: {values[TARGET]!r} is an abstract class; name a subclass")
            return kind.Config.model_validate({key: value for key, value in values.items() if key != TARGET})
        if isinstance(values, Mapping) and "owner" in vars(cls) and inspect.isabstract(cls.owner):
            raise PydanticCustomError("choice", "expected a choice with a _target_")
        return handler(values)

    @classmethod
    def documentation(cls) -> dict[str, str]:
        """Return the docstring below each field of the source, the inherited ones too.

        `use_attribute_docstrings` would read every source at import, which takes longer than the rest of it.
        """
        found = {}
        for kind in reversed(cls.__mro__):
            if not issubclass(kind, Config) or "__annotations__" not in vars(kind):
                continue
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            assert isinstance(definition, ast.ClassDef)
            for field, below in itertools.pairwise(definition.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                        value=ast.Constant(value=str(text))
                    ):
                        found[name] = inspect.cleandoc(text)
        return found

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Read these settings from a mapping with other keys; raises InputError with the first mistake."""
        return cls.from_spec({key: settings[key] for key in cls.model_fields if key in settings}, "")

    @classmethod
    def from_spec(cls, spec: Any, key: str) -> Self:
        """Read a choice of a file; raises InputError with the first mistake, under `key`."""
        try:
            return cls.model_validate(spec)
        except ValidationError as error:
            first = next(mistakes(error))
            where = ".".join([*filter(None, [key]), *map(str, first["loc"])])
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"{where:.200}: {message:.200}, got {first['input']!r:.80}") from error

    def plain(self) -> dict[str, Any]:
        """Return the plain value of every valid field, choices as YAML writes them."""
        values = {name: getattr(self, name) for name in type(self).model_fields if hasattr(self, name)}
        values |= self.model_extra or {}
        return {name: _plain(value) for name, value in values.items()}

    def spec(self) -> dict[str, Any]:
        """Return the plain values of this choice with its `_target_`, from which it can be read."""
        return {TARGET: f"{self.owner.__module__}.{self.owner.__qualname__}", **self.plain()}

    def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
        """Yield (field, message) of mistakes beyond the check of each field; field "" is the whole choice.

        It is called before data is read, and again when the size of the catalogue is known.
        """
        return ()

    def choices(self, prefix: str = "") -> Iterator[tuple[str, "Component.Config"]]:
        """Yield the key, with a prefix, and the settings of every choice in these settings, at any depth."""
        values = {name: getattr(self, name) for name in type(self).model_fields if hasattr(self, name)}
        waiting: list[tuple[str, Any]] = list((values | (self.model_extra or {})).items())
        while waiting:
            key, value = waiting.pop(0)
            if isinstance(value, Mapping):
                waiting = [(f"{key}.{name}", each) for name, each in value.items()] + waiting
            elif isinstance(value, _Config):
                if isinstance(value, Component.Config):
                    yield f"{prefix}{key}", value
                yield from value.choices(f"{prefix}{key}.")

    def unused(self) -> Iterable[tuple[str, str]]:
        """Yield (field, remedy) of each field that is set without effect."""
        return ()

    def make(self, base: type[T], *arguments: object) -> T:
        """Build the owner; called by the `build` of a base class.

        Args:
            *arguments: further arguments of the constructor, such as the number of items.
        """
        component = self.owner(self, *arguments)  # type: ignore[call-arg]
        assert isinstance(component, base)
        return component


_Config = Config


def mistakes(error: ValidationError) -> Iterator[Any]:
    """Yield the details of mistakes; where a literal such as `auto` is valid too, only of the other type.

    Pydantic yields one for each type of a union, with the type as a part of the location.
    """
    found: list[Any] = list(error.errors(include_url=False))
    others = [details["loc"] for details in found if not _is_literal_of_union(details)]
    literals = {
        union: details["ctx"]["expected"]
        for details in found
        if _is_literal_of_union(details)
        for union in [details["loc"][:-1]]
        if any(where[: len(union)] == union for where in others)
    }
    for details in found:
        where, message = details["loc"], details["msg"]
        if _is_literal_of_union(details) and where[:-1] in literals:
            continue
        for union in (where[:length] for length in range(len(where))):
            if union in literals:
                where = union + where[len(union) + 1 :]
                message += f" or {literals[union]}" if where == union else ""
        yield {**details, "loc": where, "msg": message}


def _is_literal_of_union(details: Any) -> bool:
    return details["type"] == "literal_error" and str(details["loc"][-1]).startswith("literal[")


class Component:
    """Base class of everything that YAML chooses by a class name.

    The constructor takes its `Config`, then values that are known at run time. A subclass declares only its
    additional fields in a nested `Config`; every subclass has its own `Config`, whose `owner` it is.
    """

    class Config(_Config):
        """No settings."""

    config: Config

    def __init__(self, config: Any) -> None:
        super().__init__()  # of torch's module, which some components are too
        self.config = config

    def __init_subclass__(cls, **given: Any) -> None:
        """Create the `Config` of the class if it has none, and set its owner."""
        super().__init_subclass__(**given)
        if "Config" not in vars(cls):
            names = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.Config"}
            cls.Config = type("Config", (cls.Config,), names)  # type: ignore[assignment,misc]
        cls.Config.owner = cls


def _plain(value: Any) -> Any:
    if isinstance(value, _Config):
        return value.spec() if isinstance(value, Component.Config) else value.plain()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
