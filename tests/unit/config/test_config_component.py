"""Components and their settings: inherited, checked when made, built once, read from plain values."""

from abc import ABC, abstractmethod
from typing import Any

import pytest
from pydantic import ValidationError

from twotower.config.component import Component, Config
from twotower.config.errors import InputError
from twotower.config.problems import Problem
from twotower.config.reading import read
from twotower.config.spec import TARGET, PositiveInt

HERE = __name__


class Vehicle(Component, ABC):
    class Config(Component.Config):
        wheels: PositiveInt = 4

        def build(self, owner: str) -> "Vehicle":
            return self.make(Vehicle, owner)

    config: Config

    def __init__(self, config: Config, owner: str) -> None:
        self.config, self.owner = config, owner

    @abstractmethod
    def sound(self) -> str: ...


class Bicycle(Vehicle):
    class Config(Vehicle.Config):
        wheels: PositiveInt = 2
        bell: str

    config: Config

    def sound(self) -> str:
        return self.config.bell


class Car(Vehicle):
    def sound(self) -> str:
        return "roar"


class Garage(Config):
    name: str
    mine: Vehicle.Config
    others: dict[str, Vehicle.Config]
    size: PositiveInt = 1


BICYCLE = {TARGET: f"{HERE}.Bicycle", "bell": "ding"}
SOUND: dict[str, Any] = {"name": "home", "mine": BICYCLE, "others": {"fast": {TARGET: f"{HERE}.Car"}}}


def test_settings_are_inherited_and_build_their_owner() -> None:
    built = Bicycle.Config(bell="ring").build("me")
    assert isinstance(built, Bicycle)
    assert (built.config.wheels, built.sound(), built.owner) == (2, "ring", "me")
    car = Car.Config().build("me")
    assert isinstance(car, Car)
    assert car.config.wheels == 4


def test_a_subclass_without_fields_has_its_own_config() -> None:
    assert Car.Config is not Vehicle.Config
    assert (Car.Config.owner, Vehicle.Config.owner) == (Car, Vehicle)


def test_a_choice_becomes_the_settings_of_the_class_it_names() -> None:
    garage = Garage.model_validate(SOUND)
    assert garage.mine == Bicycle.Config(bell="ding")
    assert type(garage.others["fast"]) is Car.Config
    assert garage.mine.spec() == BICYCLE | {"wheels": 2}
    assert Vehicle.Config.model_validate(garage.mine.spec()) == garage.mine


def test_settings_are_frozen_and_strict() -> None:
    settings = Bicycle.Config(bell="ring")
    with pytest.raises(ValidationError):
        settings.wheels = 3  # type: ignore[misc]
    for wrong in ({"bell": 1}, {"bell": "ring", "wheels": "2"}, {"bell": "ring", "horn": "toot"}, {}):
        with pytest.raises(ValidationError):
            Bicycle.Config.model_validate(wrong)


def test_every_mistake_is_reported_with_its_key_and_the_valid_names() -> None:
    values = SOUND | {
        "mine": BICYCLE | {"wheels": 0, "bel": "x"},
        "others": {
            "abstract": {TARGET: f"{HERE}.Vehicle"},
            "missing": {TARGET: f"{HERE}.Bicycle"},
            "no choice": {"wheels": 2},
            "nothing": None,
            "stranger": {TARGET: f"{HERE}.Train"},
            "of another package": {TARGET: "twotower.model.losses.bce.Bce"},
            "not set": BICYCLE | {"bell": "???"},
        },
        "size": "???",
        "nam": "x",
    }
    _, problems = read(Garage, values)
    told = {problem.key: problem.message for problem in problems}
    assert told.keys() == {
        *("mine.wheels", "mine.bel", "nam", "size"),
        *("others.abstract._target_", "others.missing.bell", "others.no choice", "others.nothing"),
        *("others.stranger._target_", "others.of another package._target_", "others.not set.bell"),
    }
    assert told["mine.wheels"] == "expected greater than 0, got 0"
    assert told["mine.bel"] == "unknown key; did you mean 'bell'? valid: bell, wheels"
    assert told["nam"].startswith("unknown key; did you mean 'name'?")
    assert told["others.abstract._target_"].endswith("is an abstract class; name a subclass")
    assert told["others.no choice"].startswith("expected a choice with a _target_, got {'wheels': 2}; ")
    assert told["others.of another package._target_"] == "'twotower.model.losses.bce.Bce' is not a Vehicle"
    for key in ("others.missing.bell", "others.not set.bell", "size"):
        assert told[key] == "required, but not set"


def test_valid_fields_are_read_despite_mistakes_in_others() -> None:
    garage, problems = read(Garage, SOUND | {"mine": BICYCLE | {"wheels": 0}})
    assert [problem.key for problem in problems] == ["mine.wheels"]
    assert (garage.name, garage.size, type(garage.others["fast"])) == ("home", 1, Car.Config)
    with pytest.raises(AttributeError):
        garage.mine  # noqa: B018
    assert read(Garage, SOUND)[1] == []
    assert isinstance(problems[0], Problem)


def test_a_choice_that_a_file_holds_is_refused_by_its_key() -> None:
    assert Vehicle.Config.from_spec(BICYCLE, "index.spec") == Bicycle.Config(bell="ding")
    with pytest.raises(InputError, match=r"^index\.spec\.wheels: Input should be greater than 0, got 0$"):
        Vehicle.Config.from_spec(BICYCLE | {"wheels": 0}, "index.spec")
    assert Garage.from_settings(SOUND | {"else": 1}).name == "home"
