"""What a run is compared by: its hyper-parameters, its figures, and the group that its seeds form."""

from collections.abc import Iterable, Mapping
from typing import Any

from twotower.config.errors import InputError
from twotower.config.spec import TARGET, locate
from twotower.runs.fingerprint import DEFAULT_MONITOR, NOT_SHAPING, configuration, flat
from twotower.runs.folder_name import label_of
from twotower.runs.result import VALID, Result

Value = bool | int | float | str

ALWAYS = (
    "data",
    "split",
    "features.item.item_id.dropout",
    "history",
    "history.power",
    "history.dropout",
    "item_bias",
    "new_items",
    "start",
    "objective",
    "objective.batch_size",
    "objective.recency_half_life_days",
    "negatives",
    "loss",
    "loss.temperature",
    "index",
    "embedding_dim",
    "user_tower",
    "user_tower.widths",
    "user_tower.dropout",
    "user_tower.input_dropout",
    "item_tower",
    "item_tower.widths",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "trainer.max_epochs",
    "trainer.monitor",
)
"""Keys that every run shows, typed or not, where its choices have them: those that a user always wants, and
those that the sweeps of `conf/` vary. TensorBoard leaves out of PARALLEL COORDINATES a run that lacks one."""

SOME_HAVE = ("index.num_subquantizers", "index.target_recall")
"""As `ALWAYS`, but not every choice has them. They are text, since TensorBoard loses all numbers of a column
that has a text in it."""

NEVER = NOT_SHAPING | {"seed", "sweep", "launcher", "hydra"}
"""Root keys that are no hyper-parameters; `seed` varies within a group."""

NAMED_BY = ("data", "loss", "index", "embedding_dim")
SIGNS = "+~"
NONE = "-"
BEST_VALID, TEST = "best_valid/monitor", " test/monitor"
"""What is monitored, whatever it is: a column of its name would lack in runs that monitor something else. The
space, which no page shows, sorts the final figure to the front."""

EXACT = "test_exact/monitor"
"""The test metric by exact search, where ` test/monitor` is of the lists that the index serves."""

OF_INDEX = ("recall_at_100", "latency_ms_p50", "bytes_per_item")


def hparams_of(settings: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Value]:
    """Return the hyper-parameters worth a column: those typed, and those that a user always wants.

    A choice is named by its class, so that its column reads the same whether it was typed or not.
    """
    values = flat(settings)
    for key in (*ALWAYS, *SOME_HAVE):
        if key not in values and (default := _default(settings, key)) is not None:
            values |= flat({key: default})
    values |= {key: str(values.get(key, NONE)) for key in SOME_HAVE}
    found = {key: values[key] for key in (*ALWAYS, *SOME_HAVE) if key in values}
    for override in overrides:
        key, _, text = override.partition("=")
        key = key.lstrip(SIGNS).partition("@")[0]
        if key.partition(".")[0] in NEVER:
            continue
        found[key] = values[key] if key in values and settings.get(key) != {} else text or "(removed)"
    return found


def trial_id(settings: Mapping[str, Any], name: str = "") -> str:
    """Return a readable name that is equal for the seeds of one configuration, and for no other.

    The table shows a dozen characters, so what the name of the run's folder says comes first.
    """
    values = flat(settings)
    words = label_of(name) or " ".join(str(values[key]) for key in NAMED_BY if key in values)
    return f"{words} {configuration(settings, '')[:8]}"


def columns_of(result: Result) -> dict[str, float]:
    """Return the figures that HPARAMS has columns of: the same for every run, whatever it monitors.

    TensorBoard orders them by name, and shows the first five: all but the last two.
    """
    kind = (result.training.monitor or DEFAULT_MONITOR).removeprefix(VALID)
    figures = result.final_figures()
    found = {BEST_VALID: figures.get(f"best_valid/{kind}"), TEST: figures.get(f"test/{kind}")}
    found |= {EXACT: figures.get(f"test_exact/{kind}")}
    found |= {
        key: figures.get(key) for key in (*(f"index/{key}" for key in OF_INDEX), "timing/total_seconds")
    }
    return {key: value for key, value in found.items() if value is not None}


def _default(settings: Mapping[str, Any], key: str) -> Any:
    *path, name = key.split(".")
    choice: Any = settings
    try:
        for part in path:
            choice = choice[part]
        kind: Any = locate(choice[TARGET])
        field = kind.Config.model_fields[name]
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    return None if field.is_required() else field.get_default(call_default_factory=True)
