"""The settings in which runs differ, the telling ones first."""

from collections import Counter
from collections.abc import Sequence

from twotower.reports.compare.record import RunRecord, Scalar
from twotower.runs.fingerprint import NOT_SHAPING, key_of

MOST_IN_CONSOLE = 6
IGNORED = NOT_SHAPING | {"sweep", "launcher", "resume", "rerun"}
"""Root keys that say how a run was started or shown."""
JUDGING = {"metrics", "baselines"}
"""Root keys that change what is measured of a model, not the model."""


def differing_keys(records: Sequence[RunRecord]) -> list[str]:
    """Return the flattened keys whose values differ between the runs, the telling ones first.

    First what users typed most often, then choices of a group, then the rest by how many values they have;
    what changes the measuring alone comes after that, and the seed last.
    """
    known = [record for record in records if record.settings]
    keys = dict.fromkeys(key for record in known for key in record.settings)
    different = [
        key
        for key in keys
        if key.split(".")[0] not in IGNORED and len({record.settings.get(key) for record in known}) > 1
    ]
    typed = _typed(known)
    groups = {key.rpartition(".")[0] for key in keys}

    def place(key: str) -> tuple[bool, bool, int, bool, int, int]:
        num_values = len({record.settings.get(key) for record in known})
        judging = key.split(".")[0] in JUDGING
        return key == "seed", judging, -typed[key], key not in groups, key.count("."), -num_values

    return sorted(different, key=place)


def telling_keys(keys: Sequence[str], records: Sequence[RunRecord], most: int = MOST_IN_CONSOLE) -> list[str]:
    """Return a few keys: one that an earlier key settles is left out, as `index` settles `index.nlist`."""
    columns: dict[str, list[Scalar | None]] = {
        key: [record.settings.get(key) for record in records if record.settings] for key in keys
    }
    kept: list[str] = []
    for key in keys:
        if len(kept) < most and not any(_settles(columns[other], columns[key]) for other in kept):
            kept.append(key)
    return kept


def _settles(one: Sequence[Scalar | None], other: Sequence[Scalar | None]) -> bool:
    """Say whether the value of one key leaves no choice to the other."""
    return len(set(zip(one, other, strict=True))) == len(set(one))


def _typed(records: Sequence[RunRecord]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(map(key_of, record.result.overrides))
    return counts
