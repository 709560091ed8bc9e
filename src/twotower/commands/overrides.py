"""Overrides as they are typed: what is wrong with them, and what a key varies over."""

from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException

from twotower.commands.conf import LOCAL, choices, groups
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.sweeps.space import Axis

OPTIONAL = frozenset({"sweep", "experiment", "walkthrough"})
"""Groups of which nothing need be chosen."""
GRAMMAR = frozenset("[]{}(),=$'\"\\")
"""Characters of a value that mean something in the grammar of overrides."""


def sound_overrides(texts: Iterable[str], sweep: bool = False) -> tuple[list[Problem], list[str]]:
    """Return what is wrong with overrides, and those that are sound in a form that composes with any key.

    Args:
        texts: as on the command line.
        sweep: whether a key may have several values.
    """
    found = [_check_override(text, sweep) for text in texts]
    problems = [problem for problem, _ in found if problem]
    return problems, [override for _, override in found if override]


def _check_override(text: str, sweep: bool) -> tuple[Problem | None, str | None]:
    """Return what is wrong with an override, or its sound form.

    Hydra stops at the first unknown key and offers no name; forced in with `++`, unknown keys reach our own
    check, which reports them all. Keys that have a default in Python but are not in the YAML need it too.
    """
    try:
        text.encode()
        override = OverridesParser.create().parse_override(text)
    except UnicodeEncodeError:
        return Problem(ascii(text), "is not UTF-8 text"), None
    except HydraException as error:
        if text.endswith(",") or ",," in text or "=," in text:
            return Problem(text, "an empty choice between or after the commas; leave it out"), None
        key, equals, value = text.partition("=")
        if equals and value and GRAMMAR.isdisjoint(value):  # an accent, a semicolon: it can mean nothing else
            return _check_override(f'{key}="{value}"', sweep)
        remedy = quoting(text) if equals else "write key=value"
        return Problem(text, f"{first_line(error)}; {remedy}"), None
    key = override.key_or_group
    if override.is_sweep_override() and not sweep:
        return Problem(key, "has several values, which is a sweep: give one, or add --multirun"), None
    if key == "hydra.searchpath":
        return Problem(key, "folders of your own choices are named by the variable TWOTOWER_CONF"), None
    if key.startswith("hydra"):
        told = "runs and sweeps are kept in <output_root>/<name>/; see name, sweep, launcher"
        return Problem(key, told), None
    if override.is_delete() and key in groups() - OPTIONAL:
        message = "expected a choice with a _target_, and this takes it away"
        return Problem(key, f"{message}; {nearest('', choices(key))}"), None
    if override.is_delete() or key not in groups() | {"experiment", LOCAL.name}:
        forced = override.is_add() or override.is_force_add() or override.is_delete()
        return None, text if forced else f"++{text}"
    valid = choices(key)
    optional = {"null"} if key in OPTIONAL else set()
    wrong = [value for value in _values(override) if value not in valid.keys() | optional]
    if wrong:
        return Problem(key, f"unknown choice {wrong[0]!r}; {nearest(wrong[0], valid)}"), None
    return None, text


def is_swept(text: str) -> bool:
    """Say whether an override has several values; False where it cannot be read, which is told later."""
    try:
        return bool(OverridesParser.create().parse_override(text).is_sweep_override())
    except HydraException:
        return False


def _values(override: Override) -> list[str]:
    """Return an override's value, or all that it varies over, as they stand behind `key=`."""
    value = override.value()
    if isinstance(value, Glob):
        return value.filter(sorted(choices(override.key_or_group)))
    if override.is_sweep_override():
        return [str(each) for each in override.sweep_string_iterator()]
    return [override.get_value_string()]


def quoting(text: str) -> str:
    """Return what to write instead of an override that cannot be read, quotes of its own aside."""
    key, _, value = text.partition("=")
    shown = f'{key}="{value}"' if value and not {"'", '"'} & set(value) else 'key="value"'
    return f"a value with spaces, accents, brackets, commas or = in it needs quotes, as in '{shown}'"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().split("\n")[0]


def axis_of(key: str, text: str) -> Axis:
    """Read what a key varies over, in the grammar of the command line.

    Args:
        key: a group or a key.
        text: behind `key=`, e.g. `32,64`, `range(1, 5)`, `tag(log, interval(1e-4, 1e-2))`.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException as error:
        raise InputError(f"{key}: {first_line(error)}; {quoting(f'{key}={text}')}") from error
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        is_int = isinstance(value.start, int) and isinstance(value.end, int)
        return Axis(key, (), float(value.start), float(value.end), is_int, "log" in value.tags)
    values = tuple(_values(override))
    if not values or any(value in ("", "''", '""') for value in values):
        raise InputError(f"{key}: an empty choice in {text!r}; write values with commas between them")
    return Axis(key, values)
