"""Each mistake of a configuration is told with its key and what to do about it."""

from collections.abc import Callable

import pytest

Refusal = Callable[..., str]
CASES: dict[str, tuple[str, ...]] = {
    "misspelt root key": ("embeding_dim=3", "embeding_dim", "unknown key", "'embedding_dim'?"),
    "misspelt group": ("los=bce", "los", "unknown key", "'loss'?"),
    "misspelt nested key": ("loss.temprature=0.1", "loss.temprature", "unknown key", "'temperature'?"),
    "misspelt key forced in": ("++loss.temprature=1", "loss.temprature", "unknown key", "'temperature'?"),
    "new root key": ("+model=x", "model", "unknown key", "valid: baselines, cache, console"),
    "stale key of another choice": (
        "loss=bce loss.log_q_correction=true",
        "loss.log_q_correction",
        "unknown key",
    ),
    "root of a wrong type": ("seed=abc", "seed", "expected a valid integer", "'abc'"),
    "nested of a wrong type": (
        "loss.temperature=warm",
        "loss.temperature",
        "expected a valid number",
        "'warm'",
    ),
    "fraction for a whole number": (
        "history.length=2.5",
        "history.length",
        "expected a valid integer",
        "2.5",
    ),
    "not a number": ("loss.temperature=nan", "loss.temperature", "expected a finite number"),
    "element of a list": ("user_tower.widths=[64,-2]", "user_tower.widths.1", "greater than 0", "got -2"),
    "unknown choice of a group": (
        "loss=in_batch_softmx",
        "loss",
        "unknown choice 'in_batch_softmx'",
        "'in_batch_softmax'?",
        "bce",
    ),
    "group set to nothing": ("loss=null", "loss", "unknown choice", "valid: bce"),
    "group taken away": ("~loss", "loss", "expected a choice with a _target_"),
    "value for a group": ("objective.batch_size=8 ~negatives", "negatives", "expected a choice"),
    "unknown choice of a key": (
        "user_tower.activation=rellu",
        "user_tower.activation",
        "unknown choice 'rellu'",
        "'relu'?",
        "gelu",
    ),
    "unknown target": (
        "loss._target_=twotower.losses.bce.Bces",
        "loss._target_",
        "there is no class 'twotower.losses.bce.Bces'; did you mean 'Bce'?",
    ),
    "target of another package": (
        "loss=bce loss._target_=twotower.index.flat_ip.FlatIP",
        "loss._target_",
        "is not a Loss",
    ),
    "abstract target": ("loss._target_=twotower.losses.loss.Loss", "loss._target_", "name a subclass"),
    "metric that is none": (
        "metrics.kinds.recall._target_=twotower.losses.bce.Bce",
        "metrics.kinds.recall._target_",
        "is not a Metric",
    ),
    "unknown feature": (
        "features.item.descripton.dim=8",
        "features.item.descripton",
        "expected a choice with a _target_, got {'dim': 8}; did you mean 'description'?",
    ),
    "unknown group of features": ("+features.items=null", "features.items", "did you mean 'item'?"),
    "unknown key of a feature": (
        "features.item.price.buckets=3",
        "features.item.price.buckets",
        "unknown key",
    ),
    "required and not set": ("user_tower.widths=???", "user_tower.widths", "required, but not set"),
    "interpolation to nowhere": (
        "loss.temperature=${no.such.key}",
        "loss.temperature",
        "'no.such.key' not found",
    ),
    "interpolation in a list": ("metrics.ks=[10,${nowhere}]", "metrics.ks.1", "'nowhere' not found"),
    "several values": ("loss.temperature=0.1,0.2", "loss.temperature", "--multirun"),
    "no override at all": ("loss", "loss", "EQUAL"),
    "bracket left open": ("metrics.ks=[10", "metrics.ks=[10", "metrics.ks"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_one_mistake_is_reported(only_line: Refusal, case: tuple[str, ...]) -> None:
    overrides, key, *parts = case
    line = only_line(*overrides.split())
    assert line.startswith(f"{key}: ")
    for part in parts:
        assert part in line


def keys_in(message: str) -> set[str]:
    return {line.strip().split(": ")[0] for line in message.split("\n")[1:]}


def test_all_mistakes_that_need_no_torch_in_one_message(refusal: Refusal) -> None:
    message = refusal(
        "embeding_dim=32",
        "seed=x",
        "loss=bec",
        "loss.temprature=1",
        "metrics.ks=[10,${nope}]",
        "user_tower.activation=rellu",
        "[",
    )
    assert message.startswith("6 mistakes in ")
    names = {"embeding_dim", "seed", "loss", "loss.temprature", "metrics.ks.1", "["}
    assert keys_in(message) == names


def test_all_wrong_values_of_choices_in_one_message(refusal: Refusal) -> None:
    message = refusal(
        "user_tower.activation=rellu",
        "item_tower.dropout=2",
        "split.test=x",
        "index.target_recall=abc",
        "features.item.price.column=7",
    )
    assert message.startswith("5 mistakes in ")
    assert {"item_tower.dropout", "features.item.price.column"} <= keys_in(message)


def test_a_failed_composition_hides_no_other_mistake(refusal: Refusal) -> None:
    message = refusal("loss=bec", "seed=1,2", "data@x=nope")
    assert "\n  loss: unknown choice 'bec'" in message
    assert "\n  seed: several values are a sweep" in message


def test_commands_that_start_from_a_run_have_fewer_keys(refusal: Refusal) -> None:
    assert "run: " in refusal(command="reindex")
    message = refusal("run=x", "seed=3", "index=ivf_pk", command="reindex")
    assert "\n  seed: unknown key" in message
    assert "\n  index: unknown choice 'ivf_pk'; did you mean 'ivf_pq'?" in message
