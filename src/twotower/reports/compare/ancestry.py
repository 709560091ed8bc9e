"""What a comparison says of runs that go on from others."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from twotower.reports.compare.record import RunRecord


def ancestry_notes(records: Iterable[RunRecord], names: Mapping[Path, str]) -> list[str]:
    """Return a line for each run that goes on from another: from which, how, and on how much more data."""
    return [
        f"{names[record.folder]}: {_told(record)}" for record in records if record.result.ancestry is not None
    ]


def _told(record: RunRecord) -> str:
    found = record.result.ancestry
    assert found is not None
    parent = Path(found.parent).name or found.parent
    grown = (
        f"{found.new_users:,} new users, {found.new_items:,} new items, "
        f"{found.new_interactions:,} new interactions"
    )
    if found.how == "rebuild_bundle":
        return f"the towers of {parent} as they are, generation {found.generation}; {grown}"
    how = f"{found.epochs} epochs of what is new and {found.replay:g} of the old"
    return f"generation {found.generation}, goes on from {parent} for {how}; {grown}"
