"""Hyper-parameters, final metrics and group of a run in TensorBoard's HPARAMS."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.experiments.runs.fingerprint import (
    DEFAULT_MONITOR,
    IRRELEVANT_KEYS,
    configuration_fingerprint,
    override_key,
    unstated_defaults,
)
from twotower.experiments.runs.folder_name import (
    MAX_NAME,
    NUM_DIGITS,
    flatten_with_choices,
    run_label,
    whole_words,
)
from twotower.experiments.runs.higher_is_better import INDEX_COSTS, INDEX_RECALL
from twotower.experiments.runs.result import VALID, Result

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
    "initialization",
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
"""Keys that every run shows if its choices have them: the most important ones, and those that the sweeps of
`conf/` vary. PARALLEL COORDINATES of TensorBoard leaves out a run that lacks one."""

SOME_HAVE = ("index.num_subquantizers", "index.target_recall")
"""As `ALWAYS`, but not every choice has them. They are text: TensorBoard drops the numbers of a column that
contains a text."""

NEVER = IRRELEVANT_KEYS | {"seed", "sweep", "launcher", "hydra"}
"""Root keys that are not hyper-parameters; `seed` varies within a group."""

NAMED_BY = ("data", "loss", "index", "embedding_dim")
FIRST = " "
"""Prefix of the tags of final figures, which pages do not show; see `curve_tags`."""


def hyperparameters(
    settings: Mapping[str, Any], overrides: Sequence[str], varied: Sequence[str] = ()
) -> dict[str, Value]:
    """Return the hyper-parameters to show: typed ones and the most important ones.

    A job of a sweep shows exactly the `varied` keys of the sweep. Those that not every choice has are text.
    """
    stated = flatten_with_choices(settings, overrides)
    values = {key: value for key, value in unstated_defaults(settings).items() if value != "null"} | stated
    if varied:
        texts = {key for key in varied if key.rpartition(".")[0] in varied} | {*SOME_HAVE}
        typed = {override_key(text): text.partition("=")[2] or "(removed)" for text in overrides}
        shown = {key: values.get(key, typed.get(key, "-")) for key in varied if key != "seed"}
        return {key: str(value) if key in texts else value for key, value in shown.items()}
    values |= {key: str(values.get(key, "-")) for key in SOME_HAVE}
    shown = {key: values[key] for key in (*ALWAYS, *SOME_HAVE) if key in values}
    stated |= {key: values[key] for key in SOME_HAVE}
    for override in overrides:
        key, text = override_key(override).partition("@")[0], override.partition("=")[2]
        if key.partition(".")[0] not in NEVER:
            shown[key] = stated[key] if key in stated and settings.get(key) != {} else text or "(removed)"
    return shown


def trial_id(settings: Mapping[str, Any], name: str = "", overrides: Sequence[str] = ()) -> str:
    """Return a name of at most 30 characters that is equal for the seeds of one configuration only.

    The table shows a dozen characters, so the folder's name comes first, then a part of the fingerprint.
    """
    values = flatten_with_choices(settings, overrides)
    words = [str(values[key]) for key in NAMED_BY if key in values]
    label = run_label(name) or whole_words(words, MAX_NAME - NUM_DIGITS - 1, " ")
    digits = min(NUM_DIGITS, MAX_NAME - len(label) - 1)
    return f"{label} {configuration_fingerprint(settings, '')[:digits]}".strip()


def final_metrics(result: Result) -> dict[str, float]:
    """Return the final figures by tag, with the same tags for every run, and the figures of cold start.

    HPARAMS sorts tags by name and shows the first five: validation, index, test. `monitor` is the monitored
    metric, whatever its name: a column per name would be empty for runs that monitor another.
    """
    kind = (result.training.monitor or DEFAULT_MONITOR).removeprefix(VALID)
    figures = result.final_figures()
    sources = {f"{split}/monitor": f"{split}/{kind}" for split in ("best_valid", "test", "test_exact")}
    sources |= {key: key for key in (INDEX_RECALL, *INDEX_COSTS, "timing/total_seconds")}
    first = {f"{FIRST}{tag}": figures[key] for tag, key in sources.items() if key in figures}
    return first | {key: value for key, value in figures.items() if key.startswith("cold_start/")}
