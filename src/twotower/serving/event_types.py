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
    def is_stored(self) -> bool:
        """Whether the event is stored."""
        return self.role != "ignored"

    @property
    def is_of_history(self) -> bool:
        """Whether the event enters the history of the user."""
        return self.role in ("positive", "train", "history")


class EventTypes:
    """Event types by name: those in the data of the bundle, and those that its settings define."""

    def __init__(self, manifest: Manifest) -> None:
        codes = {name: code for code, name in enumerate(manifest.event_types, start=1)}
        roles: dict[str, Role] = dict.fromkeys(codes, "positive")
        self._types = {
            name: EventType(role, codes.get(name, 0)) for name, role in (roles | manifest.event_roles).items()
        }

    def types_of(self, names: Sequence[Any] | None, num_items: int) -> list[EventType]:
        """Return the event type of each item of a session; None means all are positive interactions."""
        if names is None:
            return [EventType()] * num_items
        given = listed(names, "history_events", "event types", num_items)
        return [self.type_of(name, "history_events") for name in given]

    def type_of(self, name: str | None, part: str = "event") -> EventType:
        """Return the event type of a name; None is a positive interaction. Raises InputError."""
        if name is None:
            return EventType()
        found = self._types.get(name) if isinstance(name, str) else None
        if found is not None:
            return found
        if not self._types:
            raise InputError(f"{part}: this bundle has no event types, got {name!r:.80}; leave it out")
        raise InputError(
            f"{part}: {name!r:.80} is not an event type of this bundle; {choices(name, self._types)}"
        )
