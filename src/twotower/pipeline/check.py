"""Checks of a whole configuration, before any data is read: every mistake at once, each with its key path.

Types, ranges and choices come from the constructors' own signatures (see `spec`), the rules between rooms
stand in `rules`.
"""

import functools
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Le, Lt, MinLen
from pydantic import BaseModel, ValidationError, create_model

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.config.signature import STRICT, arguments_model
from twotower.config.spec import (
    TARGET,
    Count,
    NonNegativeFloat,
    PositiveInt,
    Seed,
    Threads,
    Width,
    build,
    locate,
)
from twotower.config.trust import SETTING as TRUST
from twotower.pipeline.rules import between_rooms
from twotower.runs.place import problems_of_place

ROOMS = {
    "data": "twotower.data.sources.source.Source",
    "split": "twotower.data.splits.split.Split",
    "history": "twotower.towers.history.history_encoder.HistoryEncoder",
    "user_tower": "twotower.towers.tower.Tower",
    "item_tower": "twotower.towers.tower.Tower",
    "item_bias": "twotower.towers.item_bias.item_bias.ItemBias",
    "objective": "twotower.training.objectives.objective.Objective",
    "negatives": "twotower.negatives.negatives.Negatives",
    "loss": "twotower.losses.loss.Loss",
    "optimizer": "twotower.training.optimizers.optimizer.OptimizerChoice",
    "trainer": "twotower.training.trainer.TrainerChoice",
    "index": "twotower.index.index.Index",
    "metrics": "twotower.evaluation.evaluator.Evaluator",
    "sweep": "twotower.sweeps.sweep.Sweep",
    "launcher": "twotower.launchers.launcher.Launcher",
}
"""Group -> the class its choices extend."""

MAPS = {
    ("features", "user"): "twotower.features.feature.Feature",
    ("features", "item"): "twotower.features.feature.Feature",
    ("baselines",): "twotower.evaluation.baselines.baseline.Baseline",
    ("metrics", "kinds"): "twotower.metrics.metric.Metric",
}
"""Mappings from a name of the user's to a spec."""

SWEEP_ONLY = frozenset({"sweep", "launcher", "seeds", "retry_failed", TRUST})
"""Root keys that are about many jobs, or about files of others, and no part of any one's settings."""

ALL_GROUPS = frozenset(ROOMS) | {path[0] for path in MAPS}
RUN_GROUPS = ALL_GROUPS - SWEEP_ONLY
"""What a single run is made of."""

OPTIONAL_GROUPS = frozenset({"sweep"})

ROOT: dict[str, Any] = {
    "name": (str, ...),
    "seed": (Seed, ...),
    "embedding_dim": (Width, ...),
    "output_root": (str, ...),
    "debug": (bool, ...),
    "console": (Literal["rich", "quiet", "jsonl"], ...),
    "reuse": (bool, ...),
    "cache": (bool, True),  # runs of earlier versions have no such key
    "seeds": (Annotated[PositiveInt, Le(10_000)], ...),
    "retry_failed": (bool, ...),
    TRUST: (list[str], ...),
    "run": (str, ...),
    "bundle": (Annotated[str, MinLen(1)], ...),
    "host": (Annotated[str, MinLen(1)], ...),
    "port": (Annotated[Count, Lt(2**16)], ...),
    "store": (str | None, ...),
    "bundles_root": (str | None, ...),
    "api_keys_file": (str, ...),
    "allowed_hosts": (list[str], ...),
    "cors_origins": (list[str], ...),
    "rate_limit_per_second": (NonNegativeFloat, ...),
    "max_connections_per_client": (Count | None, ...),
    "max_body_bytes": (PositiveInt, ...),
    "max_batch": (PositiveInt, ...),
    "threads": (Threads, ...),
}
"""Keys of the root that are plain values; a door has those that its YAML names."""

LONG_NUMBER = re.compile(r"\d{17,}")
NOT_SET = "???"
"""How a YAML says that the user must give a value."""
OF_THE_RUN = "of_the_run"
"""How a door's YAML says that a group or a key is as the run had it, unless something is typed."""

RUN_KEYS = frozenset({"name", "seed", "embedding_dim", "output_root", "debug", "console", "reuse", "cache"})
"""What a single run is told beside its groups."""


def check(
    settings: Mapping[str, Any],
    groups: frozenset[str] | None = None,
    keys: frozenset[str] = RUN_KEYS,
) -> list[Problem]:
    """Find every mistake in a resolved configuration.

    Args:
        settings: plain values.
        groups: the groups that this door has; None for a run's. A run's are checked together too.
        keys: the plain keys of the root that this door has.
    """
    groups = RUN_GROUPS if groups is None else groups
    problems = _check_root(settings, groups, keys)
    groups = groups - {group for group in OPTIONAL_GROUPS if settings.get(group) is None}
    for group in (room for room in ROOMS if room in groups):
        problems += check_spec(settings.get(group), ROOMS[group], group)
    for path, base in MAPS.items():
        if path[0] in groups:
            problems += _check_map(settings, path, base)
    for spec, where in _specs(settings, groups):
        if not any(problem.key == where or problem.key.startswith(f"{where}.") for problem in problems):
            problems += _check_built(spec, where)
    if groups >= RUN_GROUPS:
        problems += between_rooms(settings, lenient=bool(problems))
    return problems


def _check_root(settings: Mapping[str, Any], groups: frozenset[str], keys: frozenset[str]) -> list[Problem]:
    plain = {key: value for key, value in settings.items() if key in keys}
    known = keys | groups
    problems = [Problem(key, f"unknown key; {nearest(key, known)}") for key in settings if key not in known]
    return problems + _validate(_root_model(keys), plain, "") + list(problems_of_place(plain))


def check_spec(spec: Any, base: str, path: str) -> list[Problem]:
    """Check one `{_target_: ..., arguments}` against the signature of the class it names."""
    if not isinstance(spec, Mapping) or TARGET not in spec:
        return [Problem(path, f"expected a choice with a {TARGET}, got {spec!r}")]
    target = spec[TARGET]
    try:
        kind = locate(target) if isinstance(target, str) else None
    except InputError as error:
        return [Problem(f"{path}.{TARGET}", str(error).removeprefix(f"{TARGET}: "))]
    if kind is None or not issubclass(kind, locate(base)):
        return [Problem(f"{path}.{TARGET}", f"{target!r} is not a {base.rpartition('.')[2]}")]
    if inspect.isabstract(kind):
        return [Problem(f"{path}.{TARGET}", f"{target!r} is what its choices extend; name one of them")]
    arguments = {key: value for key, value in spec.items() if key != TARGET}
    return _validate(arguments_model(kind), arguments, path)  # type: ignore[arg-type]


@functools.cache
def _root_model(keys: frozenset[str]) -> type[BaseModel]:
    fields: dict[str, Any] = {key: ROOT[key] for key in keys}
    return create_model("Root", __config__=STRICT, **fields)


def _validate(model: type[BaseModel], values: Mapping[str, Any], path: str) -> list[Problem]:
    unset = [key for key, value in values.items() if isinstance(value, str) and value == NOT_SET]
    problems = [Problem(f"{path}.{key}" if path else key, "required, but not set") for key in unset]
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        errors = (details for details in error.errors(include_url=False) if details["loc"][0] not in unset)
        problems += [_problem(details, model, path) for details in errors]
    return problems


def _problem(details: Any, model: type[BaseModel], path: str) -> Problem:
    where = [str(part) for part in details["loc"]]
    key = ".".join(([path] if path else []) + where)
    given = details.get("input")
    if details["type"] == "extra_forbidden":
        return Problem(key, f"unknown key; {nearest(where[-1], model.model_fields)}")
    if details["type"] == "missing":
        return Problem(key, "required, but not set")
    if details["type"] == "literal_error":
        valid = details["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return Problem(key, f"unknown choice {given!r}; {nearest(str(given), valid)}")
    message = details["msg"].removeprefix("Input should be ").replace("Field required", "required")
    message = LONG_NUMBER.sub(lambda found: f"{float(found[0]):g}", message)
    return Problem(key, f"expected {message}, got {given!r}")


def _specs(settings: Mapping[str, Any], groups: frozenset[str]) -> Iterable[tuple[Mapping[str, Any], str]]:
    yield from ((settings[room], room) for room in ROOMS if room in groups and room in settings)
    for path in MAPS:
        if path[0] in groups:
            found = _at(settings, path)
            for name, spec in found.items() if isinstance(found, Mapping) else ():
                yield spec, ".".join([*path, name])


def _at(settings: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _check_built(spec: Mapping[str, Any], path: str) -> list[Problem]:
    """Build what needs nothing of the run time: its constructor may refuse arguments together."""
    kind = locate(spec[TARGET])
    if issubclass(kind, Component):
        return []
    parameters = inspect.signature(kind).parameters.values()
    if any(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in parameters):
        return []
    try:
        build(spec, kind)
    except InputError as error:
        return [Problem(path, str(error).removeprefix(f"{path}."))]
    return []


def _check_map(settings: Mapping[str, Any], path: tuple[str, ...], base: str) -> list[Problem]:
    found = _at(settings, path)
    where = ".".join(path)
    if not isinstance(found, Mapping):
        return [Problem(where, f"expected a mapping from names to choices, got {found!r}")]
    problems = []
    for name, spec in found.items():
        problems += check_spec(spec, base, f"{where}.{name}")
    return problems
