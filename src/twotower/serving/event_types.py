"""What the words of events stand for in a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twotower.bundle.manifest import Manifest
from twotower.config.errors import InputError
from twotower.data.actions import Role
from twotower.serving.requests import choices, listed


@dataclass(frozen=True)
class EventType:
    """What a user did with an item: its role, and what the towers know it as, 0 where they do not."""

    role: Role = "positive"
    code: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether it is written down at all."""
        return self.role != "ignored"

    @property
    def is_of_history(self) -> bool:
        """Whether it enters the user's history."""
        return self.role in ("positive", "train", "history")


class EventTypes:
    """The words a bundle knows: those of its data, and those that its data could have had."""

    def __init__(self, manifest: Manifest) -> None:
        known = {word: EventType("positive", code) for code, word in enumerate(manifest.event_types, start=1)}
        told = {
            word: EventType(role, known[word].code if word in known else 0)
            for word, role in manifest.event_roles.items()
        }
        self._known = known | told

    def types_of(self, words: Sequence[Any] | None, num_items: int) -> list[EventType]:
        """Return what was done with each item of a session; without words, all were chosen."""
        if words is None:
            return [EventType()] * num_items
        found = [self.type_of(word, "history_events") for word in listed(words, "history_events", "words")]
        if len(found) != num_items:
            raise InputError(
                f"history_events: expected {num_items} words, one for each item of history, got {len(found)}"
            )
        return found

    def type_of(self, word: str | None, part: str = "event") -> EventType:
        """Return what a word stands for; None is an item that the user chose. Raises InputError."""
        if word is None:
            return EventType()
        found = self._known.get(word) if isinstance(word, str) else None
        if found is not None:
            return found
        if not self._known:
            raise InputError(f"{part}: the data of this bundle has no events, got {word!r:.80}; leave it out")
        raise InputError(f"{part}: {word!r:.80} is no event of this bundle; {choices(word, self._known)}")
