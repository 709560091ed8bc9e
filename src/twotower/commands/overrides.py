"""Overrides of the command line: validation, and the values of a swept key."""

import shlex
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from twotower.commands.conf import LOCAL, OVERLAYS, choices, groups, nearest_choice
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.experiments.sweeps.axis import Axis

OPTIONAL = frozenset({"sweep", "benchmark", "experiment"})
"""Groups that may have no choice."""
GRAMMAR = frozenset("[]{}(),=$'\"\\")
"""Characters with a meaning in Hydra's grammar of overrides."""


def validate_overrides(texts: Iterable[str], sweep: bool = False) -> tuple[list[Problem], list[str]]:
    """Return the problems of overrides, and the valid ones in a form that composes with any key.

    Args:
        sweep: whether a key may have several values.
    """
    found = [_check_override(text, sweep) for text in texts]
    problems = [problem for problem, _ in found if problem]
    return problems, [override for _, override in found if override]


def _check_override(text: str, sweep: bool) -> tuple[Problem | None, str | None]:
    """Return the problem of an override, or its valid form.

    Hydra stops at the first unknown key and suggests no name. With `++`, unknown keys reach our own check,
    which reports them all. Keys that have a default in Python but are not in the YAML need `++` too.
    """
    try:
        text.encode()
        override = OverridesParser.create().parse_override(text)
    except UnicodeEncodeError:
        return Problem(ascii(text), "is not UTF-8 text"), None
    except HydraException:
        key, equals, value = text.partition("=")
        # With an accent or a semicolon, only the quotes are missing.
        if equals and value and GRAMMAR.isdisjoint(value):
            return _check_override(f'{key}="{value}"', sweep)
        return Problem(text, quoting(text)), None
    key = override.key_or_group
    if override.package is not None:
        return Problem(text, f"expected group=choice without @; write {key}={text.partition('=')[2]}"), None
    if override.is_sweep_override() and not sweep:
        return Problem(key, "several values are a sweep: give one value, or add --multirun"), None
    if key.startswith("hydra"):
        message = "runs and sweeps are written to <output_root>/<name>/; see name, sweep, launcher"
        return Problem(key, message), None
    if key.startswith("benchmark."):
        return Problem(
            key, "a benchmark cannot be changed; copy its YAML in conf/benchmark/ to another name"
        ), None
    if override.is_delete() and key in groups() - OPTIONAL:
        message = "expected a choice with a _target_; this override removes it"
        return Problem(key, f"{message}; {nearest('', choices(key))}"), None
    if override.is_delete() or key not in groups() | OVERLAYS | {LOCAL.name}:
        forced = override.is_add() or override.is_force_add() or override.is_delete()
        return None, text if forced else f"++{text}"
    valid, values = choices(key), _values(override)
    optional = {"null"} if key in OPTIONAL else set()
    wrong = [value for value in values if value not in valid.keys() | optional]
    if wrong:
        return Problem(key, f"unknown choice {wrong[0]!r}; {nearest_choice(wrong[0], key)}"), None
    return None, f"~{key}" if values == ["null"] else text.lstrip("+")  # Hydra refuses null and +group


def is_swept(text: str) -> bool:
    """Return whether an override has several values; False if it is invalid, which is reported later."""
    return bool((override := _parsed(text)) and override.is_sweep_override())


def _values(override: Override) -> list[str]:
    """Return the values of an override, as typed after `key=`."""
    value = override.value()
    if isinstance(value, Glob):
        return value.filter(sorted(choices(override.key_or_group)))
    if override.is_sweep_override():
        return [str(each) for each in override.sweep_string_iterator()]
    return [override.get_value_string()]


def quoting(text: str) -> str:
    """Return how to type an override that cannot be parsed, in quotes for a shell where it needs them."""
    key, equals, value = text.partition("=")
    if "," in value and "" in value.split(",") and {"[", "{"}.isdisjoint(value):
        return "an empty choice between or after the commas; leave it out"
    forms = [f"{key}={value.lstrip('=')}"] if value.startswith("=") else []
    if value.startswith("["):
        items = [each.strip() for each in value.strip("[]").split(",") if each.strip()]
        quoted = [each if _parsed(f"{key}={each}") else _quoted(each) for each in items]
        is_one = any("(" in each for each in items)  # a text for faiss.index_factory
        forms.append(f"{key}=[{_quoted(value.strip('[]')) if is_one else ','.join(quoted)}]")
    for form in (*forms, f"{key}={_quoted(value)}") if equals else ():
        if _parsed(form):
            return f"cannot be read; write {shlex.quote(form)}"
    return "expected key=value, such as embedding_dim=32"


def _quoted(value: str) -> str:
    return QuotedString(value, Quote.double).with_quotes()


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def parse_axis(key: str, text: str) -> Axis:
    """Parse the values of a swept key, in the grammar of the command line.

    Args:
        key: a group or a key.
        text: after `key=`, e.g. `32,64`, `range(1, 5)`, `tag(log, interval(1e-4, 1e-2))`.

    Raises:
        InputError: the text is invalid or empty.
    """
    if (override := _parsed(f"{key}={text}")) is None:
        raise InputError(f"{key}={text}: {quoting(f'{key}={text}')}")
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        return Axis(key, (), (value.start, value.end), "log" in value.tags)
    values = tuple(_values(override))
    if not values or any(value in ("", "''", '""') for value in values):
        raise InputError(f"{key}: an empty choice in {text!r}; write values with commas between them")
    return Axis(key, values)
