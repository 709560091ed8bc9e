"""What each door reads: its plain keys, cheap to check, and all of its settings."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Le, MinLen

from twotower.config.component import Config
from twotower.config.run_keys import RunKeys
from twotower.config.spec import PositiveInt, locate
from twotower.serving.http.service_config import ServiceConfig

SWEEP_ONLY = frozenset({"sweep", "launcher", "seeds", "retry_failed", "trusted_packages"})
"""Keys that are about many jobs, or about files of others, and no part of any one's settings."""


class TrainKeys(RunKeys):
    """The plain keys of scripts/train.py."""

    seeds: Annotated[PositiveInt, Le(10_000)]
    """Train so many, from `seed` on."""
    retry_failed: bool
    """A sweep started again: run its failed jobs again too."""
    trusted_packages: list[str]
    """Whose classes files may name beside our own."""


class RunFolderKeys(Config):
    """The plain keys of a door that starts from a run."""

    run: str
    """Its folder."""
    debug: bool
    """Show tracebacks."""
    trusted_packages: list[str]
    """Whose classes files may name beside our own."""


class AgainKeys(RunFolderKeys):
    """The plain keys of a door that does something again with a run's towers."""

    console: Literal["rich", "quiet", "jsonl", "silent"]
    """What is said on the screen."""


class OutKeys(RunFolderKeys):
    """The plain keys of a door that writes a table of what a run knows."""

    out: Annotated[str, MinLen(1)]
    """The Parquet file to write."""


class RecommendKeys(OutKeys):
    """Of scripts/recommend.py; what is asked of items is checked as the service checks it."""

    users: str | int | list[str | int]
    """`all`, ids, or a file with a column `user_id`."""
    k: PositiveInt
    allow: list[str | int] | None
    deny: list[str | int]
    where: dict[str, Any]
    exclude_seen: bool
    request_time: int | None


class EmbedKeys(OutKeys):
    """Of scripts/embed.py."""

    side: Literal["users", "items"]
    """Whose vectors."""


@dataclass(frozen=True)
class Door:
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


DOORS = {
    "train": Door(TrainKeys, "twotower.commands.door_settings.TrainSettings"),
    "reindex": Door(AgainKeys, "twotower.commands.door_settings.ReindexSettings"),
    "evaluate": Door(AgainKeys, "twotower.commands.door_settings.EvaluateSettings"),
    "export": Door(RunFolderKeys),
    "serve": Door(ServiceConfig),
    "recommend": Door(RecommendKeys),
    "embed": Door(EmbedKeys),
}
