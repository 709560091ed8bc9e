"""The contract of baselines, for each entry of each choice of `baselines`, also in `TWOTOWER_CONF`."""

import numpy as np
import pytest
from scipy import sparse
from variants import specs_of

from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData

NUM_USERS, NUM_ITEMS, DAY = 30, 12, 86_400
rng = np.random.default_rng(3)
LOG = Interactions.from_rows(
    np.repeat(np.arange(1, NUM_USERS + 1), 6),
    rng.integers(1, NUM_ITEMS + 1, NUM_USERS * 6),
    np.sort(rng.integers(DAY, 90 * DAY, (NUM_USERS, 6))).ravel(),
    NUM_USERS,
)
CONTENT = sparse.csr_array(np.eye(NUM_ITEMS, 5))
CASES = {
    f"{choice}-{name}": spec
    for choice, specs in specs_of("baselines").items()
    for name, spec in specs.items()
    if isinstance(spec, dict) and "_target_" in spec
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def config(request: pytest.FixtureRequest) -> Baseline.Config:
    return Baseline.Config.model_validate(request.param)


@pytest.fixture
def installed(config: Baseline.Config) -> Baseline.Config:
    if reason := config.skip_reason(BaselineData(LOG, NUM_ITEMS, now=91 * DAY)):
        pytest.skip(reason)
    return config


def scores(config: Baseline.Config, users: np.ndarray) -> np.ndarray:
    baseline = config.build()
    past = BaselineData(LOG, NUM_ITEMS, now=91 * DAY)
    past.once("content", lambda: CONTENT)
    baseline.fit(past)
    return baseline.scores(LOG, users)


def test_scores_are_finite_and_the_same_each_time(installed: Baseline.Config) -> None:
    assert installed.suggestion
    users = np.array([1, 5, NUM_USERS])
    first = scores(installed, users)
    assert first.shape == (3, NUM_ITEMS)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_allclose(first, scores(installed, users), rtol=1e-5)


def test_scores_of_a_user_do_not_depend_on_the_others(installed: Baseline.Config) -> None:
    together = scores(installed, np.array([2, 7, 9]))
    np.testing.assert_allclose(scores(installed, np.array([7]))[0], together[1], rtol=1e-4, atol=1e-6)


def test_the_values_that_tuning_tries_are_valid(config: Baseline.Config) -> None:
    """Also of a baseline whose library is not installed."""
    past = BaselineData(LOG, NUM_ITEMS, now=91 * DAY)
    for name, axis in config.space(past).items():
        assert len({*axis.values}) == len(axis.values)
        for value in (getattr(config, name), *axis.values):
            tried = type(config).model_validate({**config.model_dump(), name: value})
            assert getattr(tried, name) == value
