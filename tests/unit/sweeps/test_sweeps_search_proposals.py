"""From what is typed to Optuna's distributions, from trials to the next one, and the best of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from fake_search import DIM, RATE, request_of, run, settings_of
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from twotower.commands.overrides import parse_axis
from twotower.config.errors import InputError
from twotower.sweeps.random_search import RandomSearch
from twotower.sweeps.search import Objectives
from twotower.sweeps.space import Space
from twotower.sweeps.study import best_trials
from twotower.sweeps.tpe import Tpe

Params = Mapping[str, Any]


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(0.1, 0.9)", FloatDistribution(0.1, 0.9)),
        ("interval(0, 1)", FloatDistribution(0.0, 1.0)),
        ("tag(log, interval(1e-4, 1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(16, 128))", IntDistribution(16, 128)),
        ("tag(log, int(interval(16, 128)))", IntDistribution(16, 128, log=True)),
        ("128,32,64", IntDistribution(0, 2)),  # places in their order
        ("range(1, 5)", IntDistribution(0, 3)),
        ("0.5", IntDistribution(0, 0)),
        ("relu,gelu", CategoricalDistribution(("relu", "gelu"))),
        ("[64],[128]", CategoricalDistribution(("[64]", "[128]"))),
        ("1,none", CategoricalDistribution(("1", "none"))),
        ("1,inf", CategoricalDistribution(("1", "inf"))),
    ],
)
def test_axes_become_distributions(text: str, distribution: object) -> None:
    assert Space([parse_axis("x", text)]).distributions() == {"x": distribution}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("interval(2, 1)", "x: the interval from 2.0 to 1.0 is empty; put the lower end first"),
        ("interval(1, 1)", "x: the interval from 1.0 to 1.0 is empty"),
        ("tag(log, interval(0, 1))", "x: a logarithmic scale cannot contain 0.0; start above 0"),
        ("interval(0, inf)", "x: expected values or an interval with two ends"),
    ],
)
def test_an_invalid_interval_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match="1 mistake in the keys of this search") as refused:
        Space([parse_axis("x", text)])
    assert words in str(refused.value)


def test_the_ends_of_an_interval_are_written_as_fractions() -> None:
    """So that a key that takes whole numbers only refuses them at once, not each of a hundred proposals."""
    space = Space([parse_axis("x", "interval(16, 128)")])
    assert space.corners() == [("x=16.0",), ("x=128.0",)]
    assert space.texts({"x": 64.0}) == ("x=64.0",)
    assert Space([parse_axis("x", "int(interval(16, 128))")]).corners() == [("x=16",), ("x=128",)]


def test_the_interval_in_an_error_message_can_be_searched(tmp_path: Path) -> None:
    def compose(overrides: Any) -> dict[str, Any]:
        settings = settings_of(overrides)
        if not str(settings.get("embedding_dim", "1")).isdigit():
            raise InputError("embedding_dim: expected a valid integer")
        return settings

    with pytest.raises(InputError, match="no key varies") as refused:
        Tpe.Config().build(request_of(tmp_path / "none", {}))
    example = str(refused.value).split("'")[1]
    key, _, text = example.partition("=")
    job = Tpe.Config().build(request_of(tmp_path / "one", {key: text}, compose)).next([])
    assert job is not None
    with pytest.raises(
        InputError, match=r"corners of this search; nothing was run(.|\n)*expected a valid integer"
    ):
        Tpe.Config().build(request_of(tmp_path / "other", {"embedding_dim": "interval(16, 128)"}, compose))


def ended(params: Params, *values: float) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        params=dict(params),
        distributions=Space([parse_axis("a", "1,2,3"), parse_axis("b", "x,y")]).distributions(),
        values=list(values),
    )


class Stubborn(RandomSearch):
    """Always proposes the first configuration."""

    class Config(RandomSearch.Config):
        """No further settings."""

    def sampler(self, seed: int) -> BaseSampler:
        class First(RandomSampler):
            def sample_independent(self, *arguments: Any) -> Any:
                return 0

        return First(seed=seed)


def test_a_sampler_that_repeats_itself_is_followed_by_the_rest_of_a_finite_space(tmp_path: Path) -> None:
    plan = Stubborn.Config(num_trials=6).build(request_of(tmp_path, {RATE: "0.1,0.01", DIM: "16,32,64"}))
    assert len({job.overrides for job in run(plan)}) == 6


def test_a_proposal_depends_on_the_seed_and_the_number_of_trials(tmp_path: Path) -> None:
    def rates(name: str, seed: int) -> list[str]:
        plan = RandomSearch.Config(num_trials=3, seed=seed).build(request_of(tmp_path / name / "s"))
        return [job.overrides[1] for job in run(plan)]

    first = rates("first", 0)
    assert len(set(first)) == 3
    assert rates("again", 0) == first
    assert not set(rates("other", 1)) & set(first)


directions = st.lists(st.sampled_from(["maximize", "minimize"]), min_size=1, max_size=3)


@given(directions, st.data())
def test_the_best_trials_are_not_dominated(
    ways: list[Literal["maximize", "minimize"]], data: st.DataObject
) -> None:
    point = st.tuples(*[st.integers(0, 4).map(float)] * len(ways))
    points = data.draw(st.lists(point, min_size=1, max_size=8))
    objectives: Objectives = {f"index/figure_{place}": way for place, way in enumerate(ways)}
    trials = [ended({"a": 0, "b": "x"}, *each) for each in points]
    found = [tuple(trial.values) for trial in best_trials(trials, objectives)]

    def at_least(one: float, other: float, way: str) -> bool:
        return one >= other if way == "maximize" else one <= other

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(map(at_least, one, other, ways))

    pareto_front = [each for each in points if not any(beats(other, each) for other in points)]
    if len(ways) == 1:
        assert found == pareto_front[:1]
    else:
        assert sorted(found) == sorted(pareto_front)
        firsts = [each[0] for each in found]
        assert firsts == sorted(firsts, reverse=ways[0] == "maximize")


def test_no_trials_have_no_best() -> None:
    assert best_trials([], {"valid/recall_at_20": "maximize"}) == []
