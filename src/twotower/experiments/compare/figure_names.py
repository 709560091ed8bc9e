"""Names of figures: their columns, headings and number formats."""

import math
import re
from collections.abc import Collection

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.run_keys import MEAN_VALID
from twotower.experiments.runs.higher_is_better import INDEX_COSTS, INDEX_RECALL
from twotower.experiments.runs.result import EPOCHS_KEPT, TEST_EXACT

DEFAULT = "test/recall_at_20"
COLD_START = "cold_start/"
COLD_START_PARTS = ("model/cold", "model/warm", "model/all", "content/cold", "random/cold")
"""Parts whose recall is shown where a run held items out of training."""

INDEX_COLUMNS = (INDEX_RECALL, *INDEX_COSTS)
SHORT_HEADINGS = {
    EPOCHS_KEPT: "epochs kept",
    "index/latency_ms_p50": "p50 ms",
    "index/latency_ms_p99": "p99 ms",
    "index/bytes_per_item": "bytes/item",
}


def per_user_column(key: str) -> str | None:
    """Return the column of per_user.parquet whose mean is this figure; None if users have no such value."""
    split, _, name = key.rpartition("/")
    return {"test": name, TEST_EXACT: key}.get(split)


def validation_key(key: str) -> str:
    """Return the validation figure that belongs to a test metric; other figures are unchanged."""
    if key.startswith(COLD_START):  # measured on the test split
        return f"valid/{key.rpartition('/')[2]}"
    split, _, name = key.partition("/")
    if split in ("mean_test", "sd_test", "sd_valid"):
        return f"{MEAN_VALID}{name}"
    return f"valid/{name}" if split in ("test", TEST_EXACT) else key


def exact_key(key: str) -> str:
    """Return the key of a test metric by exact search; other figures are unchanged."""
    return key.replace("test/", f"{TEST_EXACT}/", 1) if key.startswith("test/") else key


def heading(key: str) -> str:
    """Return the heading of a figure: `recall@20`, `valid recall@20`, `exact recall@20`, `p50 ms`."""
    if key in SHORT_HEADINGS:
        return SHORT_HEADINGS[key]
    short = (
        key.removeprefix("test/")
        .replace(f"{TEST_EXACT}/", "exact/")
        .removeprefix(f"{COLD_START}model/")
        .removeprefix(COLD_START)
    )
    return re.sub("(^sd|mean)_", r"\1 ", short).replace("_at_", "@").replace("/", " ")


def format_figure(key: str, value: float | None, sign: bool = False) -> str:
    """Return a figure as text; empty for None and NaN."""
    if value is None or math.isnan(value):
        return ""
    plus = "+" if sign else ""
    if key == EPOCHS_KEPT:
        return f"{value:{plus}g}"
    if abs(value) >= 1000:
        return f"{value:{plus},.0f}"
    if abs(value) >= 10 or "bytes" in key:
        return f"{value:{plus}.1f}"
    return f"{value:{plus}.3f}" if key.startswith("index/latency") else f"{value:{plus}.4f}"


def find_figure(name: str, option: str, figures: Collection[str]) -> str:
    """Return the full key of a figure; `recall_at_20` and `recall@20` mean the test split."""
    short = name.strip().replace("@", "_at_")
    for key in (short, f"test/{short}", f"index/{short}", f"{COLD_START}{short}"):
        if key in figures:
            return key
    if not figures:
        raise InputError("none of these runs has ended with metrics, so there is nothing to compare by")
    raise InputError(f"{option}={name}: no run has this figure; {nearest(name, figures)}")
