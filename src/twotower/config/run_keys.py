"""The plain keys of a run, beside its choices: cheap to import, so that a mistake in one is told at once."""

from typing import Literal

from twotower.config.component import Config
from twotower.config.spec import Seed, Width


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
    console: Literal["rich", "quiet", "jsonl", "silent"]
    """What is said on the screen; `silent` for a job whose sweep speaks for it."""
    reuse: bool
    """Take towers that a run with the same data, settings and code has trained."""
    cache: bool = True
    """Take the data set that an earlier run built; runs of earlier versions do not say."""
