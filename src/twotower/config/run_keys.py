"""Plain keys of a run. Importing them needs no torch, so mistakes are reported at once."""

from typing import Annotated, Literal

from annotated_types import Le

from twotower.config.component import Config
from twotower.config.spec import Fraction, NonNegativeInt, Seed, Width

ConsoleMode = Literal["brief", "full", "quiet", "jsonl", "silent"]


class RunKeys(Config):
    """Settings of a run that belong to no group."""

    name: str
    """Folder of the runs below `output_root`."""
    seed: Seed
    """Seed of all random numbers: first weights, order, negatives, dropout."""
    embedding_dim: Width
    """D, the width of an embedding, including the column of the item bias."""
    output_root: str
    """Folder of all runs."""
    debug: bool
    """Show tracebacks."""
    note: str = ""
    """A note, which `compare` shows."""
    console: ConsoleMode
    """What is printed: `brief`, `full` (all of `train.log`), `quiet` (one line), `jsonl` (one JSON object per
    event), or `silent` (warnings only), as for jobs of a sweep."""
    reuse: bool
    """Reuse towers of a run with the same data, settings and code."""
    cache: bool = True
    """Reuse cached data sets and lists of slow baselines."""
    test: Literal["read", "hidden"] = "read"
    """`hidden` computes nothing on the test split; `twotower evaluate run=... test=reveal` does it later."""


MEAN_VALID = "mean_valid/"
"""Prefix of the mean of a validation metric over the windows of `split=rolling`."""

WARM_START = "warm_start"
"""Key of the `WarmStart` of a run that trains the towers of another run further."""
REBUILD_BUNDLE = "rebuild_bundle"
"""Key of the run whose towers get a bundle on other data, without training."""


class WarmStart(Config):
    """How a run trains the towers of another run further."""

    run: str
    """Folder of that run."""
    epochs: Annotated[NonNegativeInt, Le(10_000)]
    """Number of epochs; an epoch has all new examples and a share of the old ones. 0 trains nothing."""
    replay: Fraction
    """Share of the old examples in an epoch; each epoch draws other ones."""


class WarmStartKey(Config):
    """Key of a run that starts from another."""

    warm_start: WarmStart
