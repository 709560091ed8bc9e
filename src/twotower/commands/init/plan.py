"""The split that suits new data, the data set built with it, and the overrides that train on it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.commands.compose import compose
from twotower.commands.init.kinds import Kind
from twotower.commands.init.render import Setting, feature_specs
from twotower.commands.init.role_names import Roles
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import Audit
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split

A_DAY = np.timedelta64(1, "D")
LEAST_DAYS = 224
"""Length of a log whose last two windows of 28 days (`split=temporal`) are a quarter or less."""
MANY_REPEATS = 0.2
"""Share of repeated targets from which `repeats: keep` is suggested."""


def plan_training(
    settings: Sequence[Setting], roles: Roles, kinds: Mapping[str, Mapping[str, Kind]]
) -> tuple[tuple[str, str], list[str], Audit]:
    """Choose the split by the columns and the length of the log, and build the data set.

    Args:
        settings: of the data.
        roles: of the columns of the log.
        kinds: see `feature_specs`.

    Returns:
        The split and the reason; overrides besides `data=`, whose YAML sets the split; the audit of the data.

    Raises:
        InputError: the data is refused, or a column that a feature reads.
    """
    spec = {key: value for key, value, _ in settings}
    overrides = [] if "time" in roles.columns or "split" in roles.columns else ["experiment=no_times"]
    if "split" in roles.columns:
        split = "given", f"the column {roles.columns['split']!r} names the parts"
        audit = _built(spec, split[0], kinds)
    elif overrides:
        split = "leave_one_out", "there are no times: the last item of each user is the test"
        audit = _built(spec, split[0], kinds)
    else:
        split, audit = _by_time(spec, kinds)
    return split, overrides + _overrides_of_small_catalogue(overrides, int(audit["items"])), audit


def _by_time(spec: dict[str, Any], kinds: Mapping[str, Mapping[str, Kind]]) -> tuple[tuple[str, str], Audit]:
    audit = _built(spec, "temporal_share", kinds)
    first, last = (np.datetime64(str(audit[key])) for key in ("first_time", "last_time"))
    days = int((last - first) / A_DAY)
    if days < LEAST_DAYS:
        return (
            "temporal_share",
            f"{days} days: the last tenth is the test, the tenth before it valid",
        ), audit
    reason = f"{days} days: the last 28 are the test, the 28 before them valid"
    return ("temporal", reason), _built(spec, "temporal", kinds)


def _built(spec: dict[str, Any], split: str, kinds: Mapping[str, Mapping[str, Kind]]) -> Audit:
    """Build the data set that the training will open, and check the columns that its features read."""
    from twotower.pipeline.stages import make_column_check  # imports torch
    from twotower.training.training_config import FeaturesConfig

    settings = compose("train", [f"split={split}"])
    return build_dataset(
        Source.Config.from_spec(spec, "data").build(),
        Split.Config.from_spec(settings["split"], "split").build(),
        Path(settings["output_root"]) / ".cache",
        needs=make_column_check(FeaturesConfig.model_validate(feature_specs(kinds))),
    ).audit


def _overrides_of_small_catalogue(overrides: list[str], num_items: int) -> list[str]:
    """Return overrides for a catalogue with fewer items than the longest list of the metrics."""
    settings = compose("train", overrides)
    all_ks, monitor = settings["metrics"]["ks"], str(settings["trainer"]["monitor"])
    ks = [k for k in all_ks if k < num_items] or [max(1, num_items // 2)]
    if ks == all_ks:
        return []
    kept = any(monitor.endswith(f"_at_{k}") for k in ks)
    watched = [] if kept else [f"trainer.monitor={re.sub(r'_at_[0-9]+$', f'_at_{ks[-1]}', monitor)}"]
    return [f"metrics.ks=[{','.join(map(str, ks))}]", *watched]


def repeats_hint(audit: Audit) -> str:
    """Return the setting that keeps repeated targets with the reason; empty if few targets are repeats."""
    dropped = int(audit["repeat_targets"])
    targets = dropped + int(audit["valid_interactions"]) + int(audit["test_interactions"])
    if dropped < MANY_REPEATS * targets:
        return ""
    return (
        f"repeats: keep   # {dropped:,} of {targets:,} targets repeat an item of the user's history, and are "
        "dropped; keep them if users take items repeatedly (groceries, music, news)"
    )
