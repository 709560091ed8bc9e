"""Names of the choices of a run as they are typed: `in_batch_softmax`, whose class is `SampledSoftmax`."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from twotower.config.spec import TARGET
from twotower.experiments.runs.fingerprint import flatten, override_key
from twotower.experiments.runs.folder_name import WORD
from twotower.files.plain_values import load_yaml

CONF = Path(__file__).parents[2] / "conf"


def flatten_with_choices(
    settings: Mapping[str, Any], overrides: Iterable[str] = ()
) -> dict[str, bool | int | float | str]:
    """Return settings as `flatten` does, but a choice has the name that was typed.

    A choice that was not typed has the name of the YAML of `conf/` of its class that differs in the fewest
    values; the name of its class if there is none.
    """
    typed = {override_key(text): text.partition("=")[2] for text in overrides}
    names = {
        key: typed[key] if WORD.fullmatch(typed.get(key, "")) else _matching_file(key, value)
        for key, value in settings.items()
        if isinstance(value, Mapping) and TARGET in value
    }
    return flatten(settings) | {key: name for key, name in names.items() if name}


def _matching_file(group: str, settings: Mapping[str, Any]) -> str:
    own, (_, _, class_name) = flatten(settings), settings[TARGET].rpartition(".")
    ranks = {
        name: (
            sum(own.get(key, value) != value for key, value in values.items()),
            name.replace("_", "") != class_name.lower(),
            -len(values),
        )
        for name, values in _files(group).items()
        if values[TARGET] == settings[TARGET]
    }
    return min(ranks, key=ranks.__getitem__, default="")


@functools.cache
def _files(group: str) -> dict[str, dict[str, Any]]:
    """Return name -> values of each choice of a group."""
    loaded = {path.stem: load_yaml(path) for path in sorted((CONF / group).glob("*.yaml"))}
    return {
        name: flatten(values)
        for name, values in loaded.items()
        if isinstance(values, dict) and TARGET in values
    }
