"""Draws changed configurations: other choices, values at and beyond every bound, odd types, less and more."""

import contextlib
import functools
import math
import random
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import compose
from twotower.commands.conf import choices
from twotower.commands.overrides import validate_overrides
from twotower.commands.run_settings import quoted
from twotower.config.component import Config
from twotower.config.run_keys import RunKeys
from twotower.config.spec import TARGET, locate
from twotower.pipeline.run_config import RunConfig

TINY = (
    *(
        "data=synthetic",
        "data.num_users=60",
        "data.num_items=40",
        "data.num_interactions=900",
        "data.days=120",
    ),
    *(
        "embedding_dim=8",
        "user_tower.widths=[8]",
        "history.length=20",
        "trainer=smoke",
        "trainer.progress_bar=false",
    ),
    *("objective.epoch_requests=512", "objective.batch_size=128", "index=flat_ip", "negatives=mixed"),
    *("negatives.parts.uniform.num_negatives=16", "metrics.ks=[5,10]", "metrics.num_bootstrap=100"),
    *(
        "trainer.monitor=valid/recall_at_10",
        "console=quiet",
        "reuse=false",
        "split.test=15",
        "split.valid=15",
    ),
)
WITH = {
    "index=ivf_pq": ["index.num_subquantizers=4", "index.num_bits=4"],
    "trainer=default": ["trainer.max_epochs=2"],
    "negatives=in_batch": ["~negatives.parts"],
    "negatives=uniform": ["~negatives.parts", "negatives.num_negatives=16"],
    "negatives=catalogue": ["~negatives.parts"],
    **{f"objective={name}": ["~objective.epoch_requests"] for name in ("next_item", "sequence")},
    "objective=recent_interactions": ["~objective.epoch_requests", "objective.epoch_examples=512"],
    "split=leave_one_out": ["~split.test", "~split.valid"],
    "split=user_holdout": ["~split.test", "~split.valid"],
}
"""What must come with a choice for it to fit the rest."""

FOREIGN = {"data", "features", "launcher", "sweep", "experiment"}
"""Groups whose other choices need files, or are about many jobs."""

ASKED_FOR: dict[str, list[float]] = {
    "trainer.max_epochs": [1, 2, 3],
    "trainer.patience": [1, 2],
    "objective.epoch_requests": [1, 7, 128, 1000],
    "split.test": [0.01, 1, 20, 60, 1e6, 1e300],
}
"""Values of keys that else only take the time that was asked for, or leave nothing to train."""

TEXTS = (
    "",
    " ",
    "x",
    "x" * 300,
    "..",
    "/abs",
    "a/b",
    ".a",
    "it's",
    "a=b, [c]",
    "é",
    "\u202e",
    "valid/ndcg_at_5",
)
ODD_SHARE = 0.1
ODD = (
    "null",
    "true",
    "text",
    "[]",
    "{}",
    "1.5",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "[1,2]",
    "{a: 1}",
    "''",
    "???",
    str(2**70),
)


def draw(rng: random.Random) -> list[str]:
    """Return the overrides of a small run with one to three changes, of which any may be a mistake."""
    chosen: tuple[str, ...] = ()
    if rng.random() < 0.5:
        group = rng.choice(sorted(RunConfig.model_fields.keys() - RunKeys.model_fields.keys() - FOREIGN))
        choice = f"{group}={rng.choice(sorted(choices(group)))}"
        chosen = (choice, *WITH.get(choice, ()))
    overrides, places = [*TINY, *chosen], _places(chosen)
    for key, annotation in rng.sample(places, rng.randint(1, 3)):
        any_value, within = _values(key, annotation)
        chance = rng.random()
        fit = ODD if chance < ODD_SHARE else any_value if chance < 2 * ODD_SHARE else within
        overrides.append(f"{key}={rng.choice(fit)}")
    if rng.random() < ODD_SHARE:
        key, _ = rng.choice(places)
        overrides.append(rng.choice([f"~{key}", f"+{key}_more=1", f"~{key.rpartition('.')[0] or key}"]))
    return overrides


@functools.cache
def _places(chosen: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Return every key that may be set beside a choice, with its annotation."""
    settings = compose("train", validate_overrides([*TINY, *chosen])[1])
    plain = sorted(RunKeys.model_fields.keys() - {"output_root", "console", "debug"})
    places = [(key, _annotation(RunKeys, key)) for key in plain]
    for where, spec in _choices(settings):
        kind: Any = locate(spec[TARGET])
        places += [(f"{where}.{name}", _annotation(kind.Config, name)) for name in kind.Config.model_fields]
    return places


def _choices(values: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and the values of every choice of a run, however deep."""
    if isinstance(values, dict):
        if TARGET in values:
            yield where, values
        for key, each in values.items():
            if key not in SWEEP_ONLY:
                yield from _choices(each, f"{where}.{key}".strip("."))


def _annotation(settings: type[Config], name: str) -> Any:
    field = settings.model_fields[name]
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _values(key: str, annotation: Any) -> tuple[list[str], list[str]]:
    """Return values of a key as they are typed, and those of them that its annotation allows."""
    any_value = [str(value) for value in ASKED_FOR.get(key, ())] or list(_fitting(annotation, []))
    allows = TypeAdapter(annotation, config=None if is_typeddict(annotation) else Config.model_config)
    within = []
    for value in any_value:
        with contextlib.suppress(ValidationError, yaml.YAMLError):
            allows.validate_python(_read(value))
            within.append(value)
    return any_value, within or any_value


def _read(value: str) -> Any:
    try:
        return float(value) if "e" in value else yaml.safe_load(value)
    except ValueError:
        return yaml.safe_load(value)


def _fitting(annotation: Any, bounds: list[Any]) -> Iterator[str]:
    """Yield values of a type, at its edges and just beyond, as they are typed."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _fitting(inside[0], [*bounds, *inside[1:]])
    elif origin in (Union, types.UnionType):
        for each in inside:
            yield from _fitting(each, bounds)
    elif origin is Literal:
        yield from (str(each) for each in inside)
    elif origin is list:
        elements = list(dict.fromkeys(_fitting(inside[0], [])))
        yield from ("[]", *(f"[{element}]" for element in elements), f"[{','.join(elements[:3])}]")
        most = max((bound.max_length for bound in bounds if isinstance(bound, MaxLen)), default=3)
        yield from (f"[{','.join(['8'] * number)}]" for number in (most, most + 1))
    elif annotation is bool:
        yield from ("true", "false")
    elif is_typeddict(annotation):
        fields = get_type_hints(annotation, include_extras=True)
        yield from (f"{{{key}: {value}}}" for key, field in fields.items() for value in _fitting(field, []))
    elif annotation in (int, float):
        yield from map(str, _numbers(annotation, bounds))
    elif annotation is str:
        yield from map(quoted, TEXTS)
    else:
        yield "null"


def _numbers(kind: type, bounds: list[Any]) -> list[float]:
    """Return numbers at every bound and beside it, and as many that are mostly within."""
    found: list[float] = [1, 2, 3, 4, 7, 8] if kind is int else [0.1, 0.5, 0.9, 1.0, 3.0, 20.0, 1e-30, 1e30]
    for bound in bounds:
        edge = next((getattr(bound, name) for name in ("gt", "ge", "lt", "le") if hasattr(bound, name)), None)
        if isinstance(bound, Ge | Gt | Le | Lt) and edge is not None:
            found += [edge - 1, edge, edge + 1] if kind is int else [float(edge), *_beside(float(edge))]
    return found


def _beside(edge: float) -> tuple[float, float]:
    return math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf)
