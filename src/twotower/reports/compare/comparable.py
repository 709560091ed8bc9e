"""Whether figures of two rows may be set against each other."""

from collections import Counter
from collections.abc import Sequence

from twotower.reports.compare.differences import shown_value
from twotower.reports.compare.entries import Entry
from twotower.reports.compare.record import OF_DATA, RunRecord

UNKNOWN = str(None)


def not_comparable(one: Entry, other: Entry) -> str:
    """Say why two rows are not comparable by what their runs recorded, or nothing if they are."""
    return other_data(one.run, other.run)


def other_data(run: RunRecord, other: RunRecord) -> str:
    """Say how the data that two runs were judged on differ, or nothing if they do not."""
    (data, seen), (other_fingerprint, other_seen) = run.data, other.data
    if UNKNOWN in (data, other_fingerprint):
        return "a result does not say which data it was judged on"
    if data != other_fingerprint:
        return _other_settings(run, other) or "other data: its content has changed"
    if seen != other_seen:
        return (
            f"seen items are filtered in one and not in the other (seen_filter {seen} against {other_seen})"
        )
    return ""


def _other_settings(run: RunRecord, other: RunRecord) -> str:
    for part in reversed(OF_DATA):
        keys = [key for key in {**run.settings, **other.settings} if key.split(".")[0] == part]
        different = [key for key in keys if run.settings.get(key) != other.settings.get(key)]
        if different:
            key = different[0]
            values = f"{shown_value(run.settings, key)} against {shown_value(other.settings, key)}"
            return f"other {part}: {key} {values}"
    return ""


def largest_group(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs with metrics of the data that most of them were judged on; of equals, the first."""
    ended = [record for record in records if record.ended and record.data[0] != UNKNOWN]
    counts = Counter(record.data for record in ended)
    if not counts:
        return []
    most = counts.most_common(1)[0][0]
    return [record for record in ended if record.data == most]
