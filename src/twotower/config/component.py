"""What YAML may choose: a component, and the settings that it is built from, once."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from twotower.config.errors import InputError
from twotower.config.spec import TARGET, class_of

T = TypeVar("T")


class Config(BaseModel):
    """Settings: frozen, and checked when they are made; an unknown key or another type is refused.

    A field whose type is a component's `Config` takes a choice as YAML writes it, `{_target_: module.Class,
    ...}`, and becomes the `Config` of the class that is named.

    Attributes:
        owner: the component that is built from these settings.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
        use_attribute_docstrings=True,
    )
    owner: ClassVar[type["Component"]]

    @model_validator(mode="wrap")
    @classmethod
    def _chosen(cls, values: Any, handler: ModelWrapValidatorHandler["Config"]) -> "Config":
        if isinstance(values, Mapping) and TARGET in values:
            kind = class_of(values, cls.owner)
            if inspect.isabstract(kind):
                raise InputError(f"{TARGET}: {values[TARGET]!r} is what its choices extend; name one of them")
            return kind.Config.model_validate({key: value for key, value in values.items() if key != TARGET})
        if isinstance(values, Mapping) and "owner" in vars(cls) and inspect.isabstract(cls.owner):
            raise PydanticCustomError("choice", "expected a choice with a _target_")
        return handler(values)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Read these settings from a mapping that may hold others beside them.

        Raises:
            InputError: names the first key that is at fault.
        """
        return cls.chosen({key: settings[key] for key in cls.model_fields if key in settings}, "")

    @classmethod
    def chosen(cls, spec: Any, key: str) -> Self:
        """Read a choice that a file holds.

        Args:
            spec: as read.
            key: where it stands, for the message.

        Raises:
            InputError: it names no such class, or a value is none that the class takes.
        """
        try:
            return cls.model_validate(spec)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join([*filter(None, [key]), *map(str, first["loc"])])
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"{where:.200}: {message:.200}, got {first['input']!r:.80}") from error

    def plain(self) -> dict[str, Any]:
        """Return the plain value of every field that is there, choices as YAML writes them."""
        found = {name: getattr(self, name) for name in type(self).model_fields if hasattr(self, name)}
        found |= self.model_extra or {}
        return {name: _plain(value) for name, value in found.items()}

    def spec(self) -> dict[str, Any]:
        """Return the plain values from which this choice is read again, every field among them."""
        return {TARGET: f"{self.owner.__module__}.{self.owner.__qualname__}", **self.plain()}

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (field, message) of mistakes beyond each field's own check; field "" is the whole choice.

        A base class adds arguments for the other choices and the sizes that its checks need; None, the
        default, means not known. Called before data is read, and again when the catalogue's size is known.
        """
        return ()

    def choices(self, prefix: str = "") -> Iterator[tuple[str, "Component.Config"]]:
        """Yield the key and the settings of every choice that these settings hold, at any depth.

        Args:
            prefix: of the keys.
        """
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
        """Yield (field, remedy) of each field that is set and has no effect, given the other fields.

        The remedy says what to set so that the field has an effect.
        """
        return ()

    def make(self, base: type[T], *facts: object) -> T:
        """Build the owner; a base class's `build` calls it with the facts that its constructor takes.

        Args:
            base: the class whose choice this is.
            *facts: known only at run time, such as the number of items.
        """
        made = self.owner(self, *facts)  # type: ignore[call-arg]
        assert isinstance(made, base)
        return made


_Config = Config


class Component:
    """What YAML may choose by the name of its class.

    The constructor takes its `Config` and then facts of the run. A subclass states in a nested `Config` only
    the fields that it adds; one that adds none has a `Config` of its own all the same, which knows its owner.
    """

    class Config(_Config):
        """Nothing to set."""

    config: Config

    def __init_subclass__(cls, **given: Any) -> None:
        """Give the class a `Config` of its own and tell it its owner."""
        super().__init_subclass__(**given)
        if "Config" not in vars(cls):
            names = {
                "__module__": cls.__module__,
                "__qualname__": f"{cls.__qualname__}.Config",
                "__doc__": cls.Config.__doc__,
            }
            cls.Config = type("Config", (cls.Config,), names)  # type: ignore[assignment,misc]
        cls.Config.owner = cls


def _plain(value: Any) -> Any:
    if isinstance(value, _Config):
        return value.spec() if isinstance(value, Component.Config) else value.plain()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
