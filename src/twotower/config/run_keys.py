"""The keys of a run that are no choices; cheap to import, so that mistakes are reported at once."""

from typing import Annotated, Literal

from annotated_types import Le

from twotower.config.component import Config
from twotower.config.spec import Fraction, NonNegativeInt, Seed, Width


class RunKeys(Config):
    """The keys of a run that are no choices."""

    name: str
    """Name of the run's folder below `output_root`."""
    seed: Seed
    """Seed of all random numbers: initial weights, order, negatives, dropout."""
    embedding_dim: Width
    """Width of an embedding, D, with the column of the item bias."""
    output_root: str
    """The folder of all runs."""
    debug: bool
    """Show tracebacks."""
    note: str = ""
    """A note about the run, shown by `compare`."""
    console: Literal["rich", "quiet", "jsonl", "silent"]
    """Output on the screen; `silent` is for jobs of a sweep."""
    reuse: bool
    """Whether to reuse the towers of a run with the same data, settings and code."""
    cache: bool = True
    """Whether to reuse the stored data set of an earlier run."""


WARM_START = "warm_start"
"""Key of the `WarmStart` of a run."""


class WarmStart(Config):
    """Settings of a run that starts from the towers of another run."""

    run: str
    """Folder of the other run."""
    epochs: Annotated[NonNegativeInt, Le(10_000)]
    """Number of epochs of the new examples and the replayed share of the old ones; 0 trains nothing."""
    replay: Fraction
    """Share of the old examples in an epoch, drawn for each epoch."""


class WarmStartKey(Config):
    """The key of a run that starts from the towers of another run."""

    warm_start: WarmStart
