import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.runs.result import Result
from twotower.sweeps.search import Objectives, objective_problems, objective_values
from twotower.sweeps.space import Axis, Space

RATE = Axis("optimizer.learning_rate", low=1e-4, high=1e-2, is_log=True)
DIM = Axis("embedding_dim", ("128", "32", "64"))
LOSS = Axis("loss", ("in_batch_softmax", "bce"))
LAYERS = Axis("layers", low=1, high=3, is_int=True)


def test_listed_numbers_are_places_in_their_order() -> None:
    space = Space([DIM, LOSS])
    distributions = space.distributions()
    assert (distributions["embedding_dim"].low, distributions["embedding_dim"].high) == (0, 2)  # type: ignore[attr-defined]
    assert space.texts({"embedding_dim": 0, "loss": "bce"}) == ("embedding_dim=32", "loss=bce")
    assert space.texts({"embedding_dim": 2, "loss": "bce"}) == ("embedding_dim=128", "loss=bce")
    assert distributions["loss"].choices == ("in_batch_softmax", "bce")  # type: ignore[attr-defined]


def test_intervals_keep_their_scale_and_kind() -> None:
    distributions = Space([RATE, LAYERS]).distributions()
    rate, layers = distributions["optimizer.learning_rate"], distributions["layers"]
    assert type(rate).__name__ == "FloatDistribution"
    assert rate.log  # type: ignore[attr-defined]
    assert type(layers).__name__ == "IntDistribution"
    assert (layers.low, layers.high, layers.log) == (1, 3, False)  # type: ignore[attr-defined]


@given(st.floats(1e-6, 1e6), st.floats(0, 1), st.floats(1.0001, 1e3))
def test_a_value_as_text_stays_in_its_interval(low: float, share: float, factor: float) -> None:
    high = low * factor
    axis = Axis("x", low=low, high=high)
    value = min(low + share * (high - low), high)
    (text,) = Space([axis]).texts({"x": value})
    written = float(text.removeprefix("x="))
    assert low <= written <= high
    assert math.isclose(written, value, rel_tol=1e-5)


def test_every_choice_and_every_end_is_in_a_corner() -> None:
    corners = Space([RATE, LOSS, DIM]).corners()
    assert corners[0] == ("embedding_dim=32", "loss=in_batch_softmax", "optimizer.learning_rate=0.0001")
    assert corners[-1] == ("embedding_dim=128", "loss=bce", "optimizer.learning_rate=0.01")
    assert len(corners) == len(set(corners)) == 5
    texts = {text for corner in corners for text in corner}
    assert texts == {*corners[0], *corners[-1]}


def test_a_space_without_real_intervals_is_finite() -> None:
    assert Space([DIM, LOSS, LAYERS]).size() == 18
    assert len({tuple(params.items()) for params in Space([DIM, LOSS, LAYERS]).every()}) == 18
    assert Space([DIM, RATE]).size() is None
    assert Space([Axis("embedding_dim", ("32", "32"))]).size() == 1


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (Axis("x", low=1.0, high=0.5), "x: the interval from 1.0 to 0.5 is empty"),
        (Axis("x", low=0.0, high=0.5, is_log=True), "x: a logarithmic scale cannot contain 0.0"),
        (Axis("x", low=0.0), "x: expected values or an interval with two ends"),
        (Axis("x", low=0.0, high=math.inf), "x: expected values or an interval with two ends"),
        (Axis("seed", ("1", "2")), "seed: a search over seeds finds a lucky seed"),
    ],
)
def test_an_invalid_space_is_refused(axis: Axis, words: str) -> None:
    with pytest.raises(InputError, match="the keys of this search") as error:
        Space([axis, DIM])
    assert words in str(error.value)


SETTINGS = {
    "metrics": {
        "_target_": "twotower.evaluation.evaluator.Evaluator",
        "ks": [10, 20],
        "kinds": {"recall": {"_target_": "twotower.metrics.recall.Recall"}},
    }
}


def test_objectives_are_read_from_a_result() -> None:
    objectives: Objectives = {"valid/recall_at_20": "maximize", "index/latency_ms_p50": "minimize"}
    assert list(objective_problems(objectives, SETTINGS)) == []
    result = Result(
        status="ok",
        metrics={"valid/recall_at_20": 0.25, "test/recall_at_20": 0.5},
        index={"latency_ms_p50": 2},
    )
    assert objective_values(objectives, result) == [0.25, 2.0]
    assert objective_values(objectives, result.update(index={})) is None
    assert objective_values(objectives, result.update(metrics={"valid/recall_at_20": math.nan})) is None
    assert objective_values(objectives, Result(status="failed")) is None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("test/recall_at_20", "a search must not use the test split"),
        ("test/recall_at_20", "use valid/recall_at_20"),
        ("valid/recall_at_30", "did you mean 'valid/recall_at_20'?"),
        ("index/latency_ms_p5", "did you mean 'index/latency_ms_p50'?"),
        ("recall_at_20", "no run reports it"),
    ],
)
def test_an_objective_that_no_run_reports_is_refused(key: str, words: str) -> None:
    (problem,) = objective_problems({key: "maximize", "valid/recall_at_10": "maximize"}, SETTINGS)
    assert problem.key == f"sweep.objectives.{key}"
    assert words in problem.message


def test_an_objective_of_labels_needs_data_with_labels() -> None:
    kinds = {"auc": {"_target_": "twotower.metrics.auc.Auc"}}
    data = {"_target_": "twotower.data.sources.synthetic.Synthetic"}
    settings = {"metrics": SETTINGS["metrics"] | {"kinds": kinds}, "data": data | {"labels": "clicks"}}
    assert list(objective_problems({"valid/auc": "maximize"}, settings)) == []
    (problem,) = objective_problems({"valid/auc": "minimize"}, settings)
    assert "higher" in problem.message
    (problem,) = objective_problems({"valid/auc": "maximize"}, settings | {"data": data})
    assert "valid/auc needs impressions without a click" in problem.message
