"""Base class of data sources."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from twotower.config.component import Component
from twotower.data.actions import Event
from twotower.data.interaction_files import InteractionFiles
from twotower.data.tables import Tables
from twotower.files.atomic import file_sha256
from twotower.files.plain_values import fingerprint_values


class Source(Component, ABC):
    """A source of interactions and of the tables of users and items: a `Config` and `load`.

    Methods of the `Config` return properties of the data before it is read; the defaults suit any source.
    """

    class Config(Component.Config):
        missing_users: Literal["unknown", "refuse"] = "unknown"
        """Users of the interactions that are missing in the table of users: `unknown` (all features are
        missing) or `refuse` (an error)."""
        missing_items: Literal["unknown", "refuse"] = "unknown"
        """The same for items; unknown items are part of the catalogue."""

        label_threshold: float | None = None
        """Labels from this value on are positive, lower ones negative; null if labels are 0 and 1."""
        events: dict[str, Event.Config] = Field(default_factory=dict)
        """Event type -> its `role` (positive, train, history, negative or ignored) and `weight`; {}: all
        event types are positive."""

        repeats: Literal["drop", "keep"] = "drop"
        """Repeated interactions of a user with an item: `drop`, they train but are no targets, and items of
        the history are not recommended; `keep`, for repeated consumption such as groceries and music."""

        def gives_negatives(self) -> bool | None:
            """Return whether there are impressions without a click; None if not known without reading."""
            return any(event.role == "negative" for event in self.events.values())

        def build(self) -> "Source":
            """Build the source."""
            return self.make(Source)

        def events_of_histories(self) -> list[str] | None:
            """Return the event types that histories can hold, None if not known without reading."""
            roles = ("positive", "train", "history")
            return [name for name, event in self.events.items() if event.role in roles]

        def gives_split(self) -> bool:
            """Return whether the interactions have a `split` column, for split=given."""
            return False

        def has_times(self) -> bool:
            """Return whether the interactions have times; otherwise rows may be in order."""
            return True

        def catalogue_size(self) -> int | None:
            """Return the number of items, None if not known without reading."""
            return None

        def columns(self) -> dict[str, set[str]] | None:
            """Return "users", "items" and "context" -> columns, None if not known without reading."""
            return None

    config: Config

    @abstractmethod
    def load(self) -> Tables:
        """Read all tables; raises InputError with file, column and row of mistakes."""

    def interaction_files(self) -> InteractionFiles | None:
        """Return the files of long interactions, which are read in batches; None: `load` reads them.

        The batches hold the same rows as `load` returns.
        """
        return None

    def files(self) -> Iterable[Path]:
        """Return the files that the fingerprint covers, by default those whose paths are settings.

        A source that reads folders overrides it.
        """
        return [path for path in map(Path, _texts(self.config.spec())) if path.is_file()]

    def source_paths(self) -> Mapping[str, str]:
        """Return `Tables.source_paths` without reading, if the fingerprint does not cover paths; else {}."""
        return {}

    def fingerprint(self) -> str:
        """Return a SHA-256 of the settings and the content of the files."""
        return fingerprint_values([self.config.spec(), [file_sha256(path) for path in self.files()]])


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of plain values, which may be nested."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


NEEDS_TIMES = "needs times, which this data does not have"


def needs_times(data: Source.Config | None, remedy: str, field: str = "") -> list[tuple[str, str]]:
    """Return the problem of a field that needs times, if the data has none; `data` None: not known."""
    if data is None or data.has_times():
        return []
    all_choices = "experiment=no_times makes all such choices"
    return [(field, f"{NEEDS_TIMES}; {remedy} ({all_choices})")]
