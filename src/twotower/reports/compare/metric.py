"""Figures by name: what they are called and how they are written."""

from collections.abc import Iterable, Sequence

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.reports.compare.record import RunRecord

DEFAULT = "test/recall_at_20"
COLD_START = "cold_start/"
OF_COLD_START = ("model/cold", "model/warm", "model/all", "content/cold", "random/cold")
"""Of whom and on which items recall is shown where a run held items out of training."""
OF_THE_INDEX = ("index/recall_at_100", "index/latency_ms_p50", "index/bytes_per_item")


def column_of(key: str) -> str | None:
    """Return the column of per_user.parquet that a key averages, None where users have no such figure."""
    split, _, name = key.rpartition("/")
    return name if split == "test" else None


def validation_key(key: str) -> str:
    """Return the figure to choose by: of a test metric the one on the validation split, else itself."""
    if key.startswith(COLD_START):  # measured on the test split, too
        return f"valid/{key.rpartition('/')[2]}"
    return key.replace("test/", "valid/", 1) if key.startswith("test/") else key


def label(key: str) -> str:
    """Return a key as a column's heading: `recall@20`, `valid recall@20`, `cold recall@20`."""
    shown = key.removeprefix("test/").removeprefix(f"{COLD_START}model/").removeprefix(COLD_START)
    return shown.replace("_at_", "@").replace("/", " ")


def written(key: str, value: float | None, sign: bool = False) -> str:
    """Return a figure with as many digits as it is worth."""
    if value is None:
        return ""
    plus = "+" if sign else ""
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:{plus},.0f}"
    if magnitude >= 10 or "bytes" in key:
        return f"{value:{plus}.1f}"
    return f"{value:{plus}.3f}" if key.startswith("index/latency") else f"{value:{plus}.4f}"


def known_key(asked: str, option: str, records: Iterable[RunRecord]) -> str:
    """Return the full key of a figure that at least one run has; `recall_at_20` means the test split's.

    Raises:
        InputError: no run has it; the message offers the nearest names.
    """
    known: set[str] = set()
    for record in records:
        known.update(record.figures)
    name = asked.strip().replace("@", "_at_")
    for key in (name, f"test/{name}", f"index/{name}", f"{COLD_START}{name}"):
        if key in known:
            return key
    if not known:
        raise InputError("none of these runs has ended with metrics, so there is nothing to compare by")
    raise InputError(f"{option}={asked}: no run has this figure; {nearest(asked, known)}")


def default_metric(records: Sequence[RunRecord]) -> str:
    """Return recall@20 on the test split, or, where no run has it, the first test metric there is."""
    known: list[str] = [key for record in records for key in record.figures]
    test = [key for key in known if key.startswith("test/")]
    return DEFAULT if DEFAULT in known or not test else test[0]
