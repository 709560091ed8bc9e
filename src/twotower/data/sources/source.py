"""Where data comes from."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from twotower.config.component import Component
from twotower.data.actions import ActionSettings, Event
from twotower.data.interaction_files import InteractionFiles
from twotower.data.tables import Tables
from twotower.files.atomic import sha256_of_file
from twotower.files.plain_values import fingerprint_of


class Source(Component, ABC):
    """A source of interactions and of the tables of users and items: a `Config` and `load`.

    The methods of its `Config` say what is known before data is read; each has an answer that does for any
    source.
    """

    class Config(Component.Config):
        """Settings of every source."""

        missing_users: Literal["unknown", "refuse"] = "unknown"
        """Users of the log that the table of users lacks: with every feature missing, or a mistake."""
        missing_items: Literal["unknown", "refuse"] = "unknown"
        """Likewise of items; unknown ones are in the catalogue."""

        label_threshold: float | None = None
        """A label of at least this is positive, a lower one negative; null where labels are 0 and 1."""
        events: dict[str, Event.Config] = Field(default_factory=dict)
        """Word of the event column -> its `role` (positive, train, history, negative or ignored) and
        `weight`; {}: all are positive."""

        repeats: Literal["drop", "keep"] = "drop"
        """Interactions with an item that the user has: `drop`, they train but are no targets, and nothing a
        user has is recommended; or `keep`, for what is taken again and again, such as groceries and music."""

        def meaning(self) -> ActionSettings:
            """Return how labels and events are read."""
            return ActionSettings(self.label_threshold, self.events)

        def gives_negatives(self) -> bool | None:
            """Tell whether the log says what was shown in vain; None if that is not known without reading."""
            return any(event.role == "negative" for event in self.events.values())

        def build(self) -> "Source":
            """Build the source."""
            return self.make(Source)

        def may_lack(self) -> set[str]:
            """Return which of "users" and "items" may lack ids of the log."""
            chosen = {"users": self.missing_users, "items": self.missing_items}
            return {table for table, choice in chosen.items() if choice == "unknown"}

        def events_of_histories(self) -> list[str] | None:
            """Return the words of events that histories can hold, None if not known without reading."""
            roles = {word: event.role for word, event in self.events.items()}
            return [word for word, role in roles.items() if role in ("positive", "train", "history")]

        def gives_split(self) -> bool:
            """Tell whether the interactions come with a `split` column, for split=given."""
            return False

        def has_times(self) -> bool:
            """Tell whether the interactions have times; otherwise their order is that of the rows, if any."""
            return True

        def catalogue_size(self) -> int | None:
            """Return how many items there are if that is known without reading, else None."""
            return None

        def columns(self) -> dict[str, set[str]] | None:
            """Return "users", "items" and "context" -> columns, if known without reading, else None."""
            return None

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> Tables:
        """Read everything; an InputError names file, column and row of what is wrong."""

    def interaction_files(self) -> InteractionFiles | None:
        """Return the files of a log that is read by batches, since it is long; None: `load` reads it.

        What the batches give is what `load` would.
        """
        return None

    def files(self) -> Iterable[Path]:
        """Return the files that `load` reads: where their content changes, the data is another.

        Here those that a setting names by its path.
        """
        texts = (value for value in self.config.spec().values() if isinstance(value, str))
        return [path for path in map(Path, texts) if path.is_file()]

    def fingerprint(self) -> str:
        """Return a SHA-256 over the settings and the content of the files; the code counts beside it."""
        return fingerprint_of([self.config.spec(), [sha256_of_file(path) for path in self.files()]])
