"""Benchmarks: data, split, metrics and candidates that nothing else in the settings can change."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import Field

from twotower.config.component import Config
from twotower.config.errors import InputError
from twotower.config.problems import Problem
from twotower.config.spec import TARGET, PositiveInt, locate
from twotower.files.atomic import file_sha256
from twotower.files.plain_values import fingerprint_values

FIXED_METRICS = (TARGET, "ks", "kinds", "filter_seen")
REMEDY = "leave it out, or train without a benchmark"


class Benchmark(Config):
    """What all runs of a benchmark have in common. The recipe is free.

    Rankings are over the whole catalogue, without the items of the history if `filter_seen` is on.
    """

    name: str
    """The name of its choice."""
    num_items: PositiveInt
    """Number of candidates of a ranking: the items of the catalogue."""
    files: Annotated[list[str], MinLen(1)]
    """SHA-256 of each file of the data."""
    fixed: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of `data` without paths, of `split` and of `metrics`; set by the composition of the benchmark
    alone."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contract; figures of runs with equal ones are comparable."""
        return fingerprint_values(self.plain())

    def check_files(self, paths: Iterable[Path]) -> None:
        """Raise InputError if the files of the data differ from the benchmark, byte for byte."""
        found = list(paths)
        if len(found) != len(self.files):
            names = ", ".join(map(str, found)) or "none"
            raise InputError(
                f"data: benchmark={self.name} has {len(self.files)} files, found {len(found)} ({names})"
            )
        for path, expected in zip(found, self.files, strict=True):
            if (digest := file_sha256(path)) != expected:
                raise InputError(
                    f"{path}: is not the file of benchmark={self.name}: its SHA-256 is {digest}, "
                    f"expected {expected}"
                )

    def check_catalogue(self, num_items: int) -> None:
        """Raise InputError if the catalogue has another number of items than the benchmark."""
        if num_items != self.num_items:
            raise InputError(f"data: benchmark={self.name} ranks {self.num_items} items, found {num_items}")


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the plain settings that a benchmark fixes, by group."""
    groups = {group: dict(settings.get(group) or {}) for group in ("data", "split", "metrics")}
    groups["data"] = {key: value for key, value in groups["data"].items() if not key.endswith("path")}
    groups["metrics"] = {key: value for key, value in groups["metrics"].items() if key in FIXED_METRICS}
    return groups


def contract_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the keys of plain settings whose values differ from the benchmark that they name."""
    benchmark = settings.get("benchmark")
    if not benchmark:
        return
    given = fixed_settings(settings)
    for group, fixed in benchmark["fixed"].items():
        # Another class has other keys, so that only the class is reported.
        keys = [TARGET] if fixed[TARGET] != given[group].get(TARGET) else fixed | given[group]
        for key in keys:
            expected, value = (_value(fixed[TARGET], key, values) for values in (fixed, given[group]))
            if value != expected:
                name = group if key == TARGET else f"{group}.{key}"
                yield Problem(name, f"benchmark={benchmark['name']} fixes it to {_shown(expected)}; {REMEDY}")


def _shown(value: Any) -> str:
    """Return a value as typed, the class of a `_target_`, or the keys of a mapping."""
    if isinstance(value, str):
        return value.rpartition(".")[2]
    return ", ".join(value) if isinstance(value, Mapping) else json.dumps(value)


def _value(target: str, key: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a key, or its default in the class; None if the class has no such key."""
    if key in values:
        return values[key]
    component: Any = locate(target)
    field = component.Config.model_fields.get(key)
    return None if field is None else field.get_default(call_default_factory=True)
