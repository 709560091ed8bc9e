"""Settings of each command: its plain keys, which need no torch, and all of its settings.

A comment in the command's YAML describes each key.
"""

import functools
from typing import Annotated, Any, Literal

from annotated_types import Le, MinLen
from pydantic import create_model

from twotower.commands.conf import shape
from twotower.config.component import Config
from twotower.config.run_keys import ConsoleMode, RunKeys, WarmStartKey
from twotower.config.spec import (
    Fraction,
    NonNegativeFloat,
    PositiveFraction,
    PositiveInt,
    ProperFraction,
    Seed,
)
from twotower.serving.http.service_config import ServiceConfig

SWEEP_ONLY = frozenset({"sweep", "launcher", "seeds", "retry_failed", "trusted_packages"})
"""Keys of a sweep or of trust, which are not settings of a single job."""
Text = Annotated[str, MinLen(1)]
Ids = list[str | int]


class TrainKeys(RunKeys):
    """Plain keys of `twotower train`."""

    seeds: Annotated[PositiveInt, Le(10_000)]
    retry_failed: bool
    trusted_packages: list[str]


class RunFolderKeys(Config):
    """Plain keys of a command that starts from a run."""

    run: str
    debug: bool
    trusted_packages: list[str]


class DerivedRunKeys(RunFolderKeys):
    """Plain keys of a command that makes a new run from the towers of a run."""

    console: ConsoleMode


class EvaluateKeys(DerivedRunKeys):
    """Plain keys of `twotower evaluate`."""

    test: Literal["reveal"] | None


class WarmStartKeys(DerivedRunKeys, WarmStartKey):
    """Plain keys of `warm_start=RUN`."""

    seed: Seed


class OutKeys(RunFolderKeys):
    """Plain keys of a command that writes a file or folder from a run."""

    out: Text


class CleanKeys(Config):
    """Keys of `twotower clean`."""

    output_root: Text
    delete: list[Literal["failed", "rejected", "checkpoints"]]
    debug: bool


class RecommendKeys(OutKeys):
    """Keys of `twotower recommend`; the service's rules check the filters."""

    users: str | int | Ids
    k: PositiveInt
    allow: Ids | None
    deny: Ids
    where: dict[str, Any]
    exclude_seen: bool | None
    request_time: int | None
    context: dict[str, Any]


class EmbedKeys(OutKeys):
    """Keys of `twotower embed`."""

    side: Literal["users", "items"]
    shard: str | int | None
    shards: PositiveInt | None
    context: dict[str, Any]


class BuildIndexKeys(Config):
    """Plain keys of `twotower build_index`."""

    parts: Text
    out: Text
    queries: Text | None
    debug: bool


class IndexLabKeys(Config):
    """Keys of `twotower index_lab`."""

    vectors: Text | None
    queries: Text | None
    run: Text | None
    out: Text
    cases: Annotated[list[Text], MinLen(1)]
    target_recall: PositiveFraction
    num_queries: PositiveInt
    save: bool
    trusted_packages: list[str]
    debug: bool


class LiveTableKeys(Config):
    """Keys of the live changes of a service, and of the log and tables that they are added to."""

    store: Text
    interactions: str | None
    items: str | None
    users: str | None


class ExportLiveKeys(OutKeys, LiveTableKeys):
    """Keys of `twotower export_live`."""


class NightlyKeys(LiveTableKeys):
    """Keys of `twotower nightly`."""

    service: Text
    bundles: Text
    nights: Text
    epochs: PositiveInt
    replay: Fraction
    changes: dict[str, Any]
    metric: str | None
    alpha: ProperFraction
    max_loss: NonNegativeFloat | None
    api_keys_file: str
    console: ConsoleMode
    debug: bool
    trusted_packages: list[str]


COMMANDS: dict[str, type[Config]] = {
    "train": TrainKeys,
    "warm_start": WarmStartKeys,
    "rebuild_bundle": DerivedRunKeys,
    "reindex": DerivedRunKeys,
    "evaluate": EvaluateKeys,
    "clean": CleanKeys,
    "export": RunFolderKeys,
    "serve": ServiceConfig,
    "recommend": RecommendKeys,
    "embed": EmbedKeys,
    "build_index": BuildIndexKeys,
    "index_lab": IndexLabKeys,
    "export_live": ExportLiveKeys,
    "nightly": NightlyKeys,
}
"""Command or mode of `train` -> class of its plain keys."""


@functools.cache
def settings_class(config_name: str) -> type[Config]:
    """Return the class of all settings of a command; imports torch if it has groups other than these."""
    groups, _ = shape(config_name)
    if not groups:
        return COMMANDS[config_name]
    from twotower.experiments.launchers.launcher import Launcher

    if groups == {"launcher"}:
        return create_model("Settings", __base__=COMMANDS[config_name], launcher=(Launcher.Config, ...))
    from twotower.experiments.sweeps.sweep import Sweep
    from twotower.jobs.run_config import RunConfig

    if config_name == "train":
        return create_model(
            "TrainSettings",
            __base__=(TrainKeys, RunConfig),
            sweep=(Sweep.Config | None, None),
            launcher=(Launcher.Config, ...),
        )
    fields: dict[str, Any] = {name: (RunConfig.model_fields[name].annotation, ...) for name in groups}
    return create_model("Settings", __base__=COMMANDS[config_name], **fields)
