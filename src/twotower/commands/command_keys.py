"""What each command reads: its plain keys, cheap to check, and all of its settings."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Le, MinLen

from twotower.config.component import Config
from twotower.config.run_keys import RunKeys, WarmStartKey
from twotower.config.spec import Fraction, PositiveInt, ProperFraction, Seed, locate
from twotower.serving.http.service_config import ServiceConfig

SWEEP_ONLY = frozenset({"sweep", "launcher", "seeds", "retry_failed", "trusted_packages"})
"""Keys that are about many jobs, or about files of others, and no part of any one's settings."""


class TrainKeys(RunKeys):
    """The plain keys of twotower train."""

    seeds: Annotated[PositiveInt, Le(10_000)]
    """Train so many, from `seed` on."""
    retry_failed: bool
    """A sweep started again: run its failed jobs again too."""
    trusted_packages: list[str]
    """Whose classes files may name beside our own."""


class RunFolderKeys(Config):
    """The plain keys of a command that starts from a run."""

    run: str
    """Its folder."""
    debug: bool
    """Show tracebacks."""
    trusted_packages: list[str]
    """Whose classes files may name beside our own."""


class AgainKeys(RunFolderKeys):
    """The plain keys of a command that does something again with a run's towers."""

    console: Literal["rich", "quiet", "jsonl", "silent"]
    """What is said on the screen."""


class WarmStartKeys(AgainKeys, WarmStartKey):
    """The plain keys of warm_start=RUN."""

    seed: Seed
    """Of everything random: order, negatives, dropout."""


class OutKeys(RunFolderKeys):
    """The plain keys of a command that writes what a run knows for others to read."""

    out: Annotated[str, MinLen(1)]
    """What to write: a Parquet file."""


class RecommendKeys(OutKeys):
    """Of twotower recommend; what is asked of items is checked as the service checks it."""

    users: str | int | list[str | int]
    """`all`, ids, or a file with a column `user_id`."""
    k: PositiveInt
    allow: list[str | int] | None
    deny: list[str | int]
    where: dict[str, Any]
    exclude_seen: bool | None
    request_time: int | None
    context: dict[str, Any]


class EmbedKeys(OutKeys):
    """Of twotower embed."""

    side: Literal["users", "items"]
    """Whose vectors."""
    context: dict[str, Any]


class ExportLiveKeys(OutKeys):
    """Of twotower export_live, whose `out` is a folder."""

    store: Annotated[str, MinLen(1)]
    interactions: str | None
    items: str | None
    users: str | None
    fill: dict[str, Any]
    """Column of the log -> what it holds for live events."""


class NightlyKeys(Config):
    """Of twotower nightly."""

    service: Annotated[str, MinLen(1)]
    bundles: Annotated[str, MinLen(1)]
    store: Annotated[str, MinLen(1)]
    nights: Annotated[str, MinLen(1)]
    interactions: str | None
    items: str | None
    users: str | None
    fill: dict[str, Any]
    epochs: PositiveInt
    replay: Fraction
    changes: dict[str, Any]
    metric: str | None
    alpha: ProperFraction
    api_keys_file: str
    console: Literal["rich", "quiet", "jsonl", "silent"]
    debug: bool
    trusted_packages: list[str]


class CleanKeys(Config):
    """Of twotower clean."""

    folder: Annotated[str, MinLen(1)] | None
    """Below which runs are looked at; None is `output_root`."""
    kinds: list[Literal["checkpoints", "caches", "failed"]]
    keep: list[str]
    """Folders of runs whose files stay."""
    apply: bool
    """Delete; otherwise only show what would be deleted."""
    debug: bool


@dataclass(frozen=True)
class Command:
    """A script.

    Attributes:
        keys: its plain keys.
        settings: the class of all of its settings, by name: to import it takes torch. Empty if that is all.
    """

    keys: type[Config]
    settings: str = ""

    def kind(self) -> type[Config]:
        """Return the class of all of its settings."""
        if not self.settings:
            return self.keys
        found: Any = locate(self.settings)
        return found  # type: ignore[no-any-return]


COMMANDS = {
    "train": Command(TrainKeys, "twotower.commands.command_settings.TrainSettings"),
    "warm_start": Command(WarmStartKeys, "twotower.commands.command_settings.WarmStartSettings"),
    "rebuild_bundle": Command(AgainKeys, "twotower.commands.command_settings.RebuildBundleSettings"),
    "reindex": Command(AgainKeys, "twotower.commands.command_settings.ReindexSettings"),
    "evaluate": Command(AgainKeys, "twotower.commands.command_settings.EvaluateSettings"),
    "export": Command(RunFolderKeys),
    "serve": Command(ServiceConfig),
    "recommend": Command(RecommendKeys),
    "embed": Command(EmbedKeys),
    "export_live": Command(ExportLiveKeys),
    "nightly": Command(NightlyKeys),
    "clean": Command(CleanKeys),
}
