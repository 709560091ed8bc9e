"""Checks of a whole configuration, before any data is read: every mistake at once, each with its key path.

Types, ranges and choices come from the constructors' own signatures (see `spec`), the rules between rooms
stand here.
"""

import difflib
import functools
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from twotower.errors import InputError
from twotower.spec import TARGET, Count, PositiveInt, build, locate

ROOMS = {
    "data": "twotower.data.sources.source.Source",
    "split": "twotower.data.splits.split.Split",
    "history": "twotower.towers.history.history_encoder.HistoryEncoder",
    "user_tower": "twotower.towers.tower.Tower",
    "item_tower": "twotower.towers.tower.Tower",
    "objective": "twotower.training.examples.NextItem",
    "negatives": "twotower.negatives.negatives.Negatives",
    "loss": "twotower.losses.loss.Loss",
    "optimizer": "twotower.training.optimizers.optimizer.OptimizerChoice",
    "trainer": "twotower.training.trainer.TrainerChoice",
    "index": "twotower.index.index.Index",
    "metrics": "twotower.evaluation.evaluator.Evaluator",
}
"""Group -> the class its choices extend."""

MAPS = {
    ("features", "user"): "twotower.features.feature.Feature",
    ("features", "item"): "twotower.features.feature.Feature",
    ("baselines",): "twotower.evaluation.baselines.baseline.Baseline",
    ("metrics", "kinds"): "twotower.metrics.metric.Metric",
}
"""Mappings from a name of the user's to a spec."""

ALL_GROUPS = frozenset(ROOMS) | {path[0] for path in MAPS}

ROOT: dict[str, Any] = {
    "name": (str, ...),
    "seed": (Count, ...),
    "embedding_dim": (PositiveInt, ...),
    "output_root": (str, ...),
    "debug": (bool, ...),
    "run": (str, ...),
}
"""Keys of the root that are plain values; a door has those that its YAML names."""

TRAINING_KEYS = frozenset(ROOT) - {"run"}


@dataclass(frozen=True)
class Problem:
    """One mistake: where, and what is wrong with what to do about it."""

    key: str
    message: str


def raise_problems(problems: Iterable[Problem], what: str = "the configuration") -> None:
    """Raise one `InputError` that lists all problems, if there are any."""
    found = list(dict.fromkeys(problems))
    if found:
        mistakes = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
        lines = [f"  {problem.key}: {problem.message}" for problem in found]
        raise InputError("\n".join([f"{mistakes} in {what}", *lines]))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a phrase that offers the nearest of the valid names and lists all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = f"valid: {', '.join(names)}" if names else "none are valid here"
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def check(
    settings: Mapping[str, Any],
    groups: frozenset[str] | None = None,
    keys: frozenset[str] = TRAINING_KEYS,
) -> list[Problem]:
    """Find every mistake in a resolved configuration.

    Args:
        settings: plain values.
        groups: the groups that this door has; None for all, which are then checked together too.
        keys: the plain keys of the root that this door has.
    """
    groups = ALL_GROUPS if groups is None else groups
    problems = _check_root(settings, groups, keys)
    for group in (room for room in ROOMS if room in groups):
        problems += check_spec(settings.get(group), ROOMS[group], group)
    for path, base in MAPS.items():
        if path[0] in groups:
            problems += _check_map(settings, path, base)
    if not problems and groups == ALL_GROUPS:
        problems = list(between_rooms(settings))
    return problems


def _check_root(settings: Mapping[str, Any], groups: frozenset[str], keys: frozenset[str]) -> list[Problem]:
    plain = {key: value for key, value in settings.items() if key in keys}
    known = keys | groups
    problems = [Problem(key, f"unknown key; {nearest(key, known)}") for key in settings if key not in known]
    return problems + _validate(_root_model(keys), plain, "")


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
    arguments = {key: value for key, value in spec.items() if key != TARGET}
    return _validate(arguments_model(kind), arguments, path)  # type: ignore[arg-type]


@functools.cache
def arguments_model(kind: type) -> type[BaseModel]:
    """Derive the pydantic model of a class's keyword-only parameters."""
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)


@functools.cache
def _root_model(keys: frozenset[str]) -> type[BaseModel]:
    fields: dict[str, Any] = {key: ROOT[key] for key in keys}
    return create_model("Root", __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _validate(model: type[BaseModel], values: Mapping[str, Any], path: str) -> list[Problem]:
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        return [_problem(details, model, path) for details in error.errors(include_url=False)]
    return []


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
    return Problem(key, f"expected {message}, got {given!r}")


def _check_map(settings: Mapping[str, Any], path: tuple[str, ...], base: str) -> list[Problem]:
    found: Any = settings
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    where = ".".join(path)
    if not isinstance(found, Mapping):
        return [Problem(where, f"expected a mapping from names to choices, got {found!r}")]
    problems = []
    for name, spec in found.items():
        problems += check_spec(spec, base, f"{where}.{name}")
    return problems


def between_rooms(settings: Mapping[str, Any]) -> Iterable[Problem]:
    """Yield what is wrong with the choices together; each alone is sound."""
    from twotower.data.sources.source import Source
    from twotower.evaluation.evaluator import Evaluator

    source = build(settings["data"], Source)
    evaluator = build(settings["metrics"], Evaluator)
    yield from (Problem(f"data.{key}", message) for key, message in source.problems())
    yield from _check_towers(settings)
    yield from _check_columns(settings, source.columns())
    yield from _check_needs(settings)
    yield from _check_monitor(settings["trainer"], evaluator)
    yield from check_sizes(settings, source.num_items())


def check_sizes(settings: Mapping[str, Any], num_items: int | None) -> list[Problem]:
    """Find what does not fit the catalogue; asked again once its size is known for sure.

    Args:
        settings: plain values.
        num_items: items of the catalogue, or None while unknown.
    """
    from twotower.evaluation.evaluator import Evaluator
    from twotower.index.index import Index
    from twotower.negatives.catalogue import Catalogue

    index = build(settings["index"], Index)
    found = [
        Problem(f"index.{key}", message)
        for key, message in index.problems(settings["embedding_dim"], num_items)
    ]
    if num_items is None:
        return found
    evaluator = build(settings["metrics"], Evaluator)
    found += [Problem(f"metrics.{key}", message) for key, message in evaluator.problems(num_items)]
    if issubclass(locate(settings["negatives"][TARGET]), Catalogue):
        most = settings["negatives"].get("max_items", Catalogue.MAX_ITEMS)
        if num_items > most:
            message = (
                f"scores all {num_items:,} items at every step, more than max_items = {most:,}; "
                "use negatives=mixed or negatives=uniform, or raise negatives.max_items"
            )
            found.append(Problem("negatives", message))
    return found


def _check_towers(settings: Mapping[str, Any]) -> Iterable[Problem]:
    history = {"history"} | ({"last_item"} if settings["history"].get("last_item", True) else set())
    blocks = {
        "user_tower": {*settings["features"]["user"], *history},
        "item_tower": set(settings["features"]["item"]),
    }
    if not blocks["item_tower"]:
        yield Problem("features.item", "the item tower has no input; name at least one feature")
    for reserved in history & set(settings["features"]["user"]):
        yield Problem(f"features.user.{reserved}", "this name is the history encoder's; choose another")
    for side, names in blocks.items():
        arguments = {key: value for key, value in settings[side].items() if key != TARGET}
        tower: Any = locate(settings[side][TARGET])
        yield from (Problem(f"{side}.{key}", text) for key, text in tower.problems(names, **arguments))


def _check_columns(settings: Mapping[str, Any], columns: dict[str, set[str]] | None) -> Iterable[Problem]:
    from twotower.features.feature import REQUEST_TIME

    if columns is None:
        return
    for side, table in (("user", "users"), ("item", "items")):
        for name, spec in settings["features"][side].items():
            column = spec.get("column", REQUEST_TIME)
            if column not in columns[table] and not (side == "user" and column == REQUEST_TIME):
                text = (
                    f"the {table} of this data have no column {column!r}; {nearest(column, columns[table])}"
                )
                yield Problem(f"features.{side}.{name}.column", text)


def _check_needs(settings: Mapping[str, Any]) -> Iterable[Problem]:
    import torch

    from twotower.losses.loss import Loss
    from twotower.negatives.negatives import Negatives

    negatives = build(settings["negatives"], Negatives, torch.full((2,), 0.5))
    lacking = build(settings["loss"], Loss).needs - negatives.provides
    if lacking:
        text = (
            f"{settings['loss'][TARGET].rpartition('.')[2]} needs {', '.join(sorted(lacking))}, which "
            f"{settings['negatives'][TARGET].rpartition('.')[2]} as set does not provide; "
            "choose other negatives, or switch the correction off in the loss"
        )
        yield Problem("loss", text)


def _check_monitor(trainer: Mapping[str, Any], evaluator: Any) -> Iterable[Problem]:
    monitor = trainer.get("monitor", "valid/recall_at_20")
    logged = {f"valid/{key}" for key in evaluator.keys()}  # noqa: SIM118
    if monitor not in logged:
        yield Problem("trainer.monitor", f"{monitor!r} is not logged; {nearest(monitor, logged)}")
