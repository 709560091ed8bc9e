"""What a run is compared by: its hyper-parameters, and the group that its seeds form."""

from collections.abc import Iterable, Mapping
from typing import Any

from twotower.experiments.fingerprint import NOT_SHAPING, configuration, flat

Value = bool | int | float | str

ALWAYS = (
    "data",
    "split",
    "history",
    "objective",
    "objective.batch_size",
    "negatives",
    "loss",
    "loss.temperature",
    "index",
    "embedding_dim",
    "user_tower",
    "user_tower.widths",
    "item_tower",
    "item_tower.widths",
    "optimizer.learning_rate",
    "trainer.max_epochs",
)
"""Keys that a user wants to see of every run, where its choices have them."""

NEVER = NOT_SHAPING | {"seed", "sweep", "launcher", "hydra"}
"""Root keys that are no hyper-parameters; `seed` varies within a group."""

NAMED_BY = ("data", "loss", "index", "embedding_dim")
SIGNS = "+~"


def hparams_of(settings: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Value]:
    """Return the hyper-parameters worth a column: those typed, and those that a user always wants.

    A choice is named by its class, so that its column reads the same whether it was typed or not.

    Args:
        settings: plain resolved values.
        overrides: as on the command line.
    """
    values = flat(settings)
    found = {key: values[key] for key in ALWAYS if key in values}
    for override in overrides:
        key, _, text = override.partition("=")
        key = key.lstrip(SIGNS).partition("@")[0]
        if key.partition(".")[0] in NEVER:
            continue
        found[key] = values[key] if key in values and settings.get(key) != {} else text or "(removed)"
    return found


def trial_id(settings: Mapping[str, Any]) -> str:
    """Return a readable name that is equal for the seeds of one configuration, and for them only."""
    values = flat(settings)
    words = [str(values[key]) for key in NAMED_BY if key in values]
    # The table shows the first dozen characters.
    return " ".join([configuration(settings, "")[:8], *words])
