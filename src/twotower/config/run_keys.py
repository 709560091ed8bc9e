"""The plain keys of a run, beside its choices: cheap to import, so that a mistake in one is told at once."""

from typing import Annotated, Literal

from annotated_types import Le

from twotower.config.component import Config
from twotower.config.spec import Fraction, NonNegativeInt, Seed, Width


class RunKeys(Config):
    """What a single run is told beside its choices."""

    name: str
    """Of the folder below `output_root` that the run goes to."""
    seed: Seed
    """Of everything random: first weights, order, negatives, dropout."""
    embedding_dim: Width
    """D, the width of an embedding, the column of the item bias included."""
    output_root: str
    """The folder of all runs."""
    debug: bool
    """Show tracebacks."""
    note: str = ""
    """Whatever is to be remembered of the run: `compare` shows it."""
    console: Literal["rich", "quiet", "jsonl", "silent"]
    """What is said on the screen; `silent` for a job whose sweep speaks for it."""
    reuse: bool
    """Take towers that a run with the same data, settings and code has trained."""
    cache: bool = True
    """Take the data set that an earlier run built; runs of earlier versions do not say."""


WARM_START = "warm_start"
"""The key under which a run that goes on from another has its `WarmStart`."""


class WarmStart(Config):
    """How a run goes on from another's towers."""

    run: str
    """The folder of that run."""
    epochs: Annotated[NonNegativeInt, Le(10_000)]
    """Epochs; one has every new example, and the replayed share of the old ones. 0 trains nothing."""
    replay: Fraction
    """Share of the old examples that an epoch has, drawn anew for each."""


class WarmStartKey(Config):
    """The key of a run that starts from another."""

    warm_start: WarmStart
