"""The event types of a bundle, such as `view` or `buy`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twotower.bundle.manifest import Manifest
from twotower.config.errors import InputError
from twotower.data.actions import Role
from twotower.serving.requests import choices, listed


@dataclass(frozen=True)
class EventType:
    """The role of an event and its row in the event embedding, 0 if the towers have none."""

    role: Role = "positive"
    code: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the event is stored."""
        return self.role != "ignored"

    @property
    def is_of_history(self) -> bool:
        """Whether the event enters the history of the user."""
        return self.role in ("positive", "train", "history")


class EventTypes:
    """Event types by name: those in the data of the bundle, and those that its settings define."""

    def __init__(self, manifest: Manifest) -> None:
        known = {word: EventType("positive", code) for code, word in enumerate(manifest.event_types, start=1)}
        told = {
            word: EventType(role, known[word].code if word in known else 0)
            for word, role in manifest.event_roles.items()
        }
        self._known = known | told

    def types_of(self, words: Sequence[Any] | None, num_items: int) -> list[EventType]:
        """Return the event type of each item of a session; None means all are positive interactions."""
        if words is None:
            return [EventType()] * num_items
        found = [self.type_of(word, "history_events") for word in listed(words, "history_events", "words")]
        if len(found) != num_items:
            raise InputError(
                f"history_events: expected {num_items} words, one for each item of history, got {len(found)}"
            )
        return found

    def type_of(self, word: str | None, part: str = "event") -> EventType:
        """Return the event type of a name; None is a positive interaction. Raises InputError."""
        if word is None:
            return EventType()
        found = self._known.get(word) if isinstance(word, str) else None
        if found is not None:
            return found
        if not self._known:
            raise InputError(f"{part}: the data of this bundle has no events, got {word!r:.80}; leave it out")
        raise InputError(f"{part}: {word!r:.80} is no event of this bundle; {choices(word, self._known)}")
