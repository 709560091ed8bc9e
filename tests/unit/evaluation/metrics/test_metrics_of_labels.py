"""Metrics of labels against numbers worked out by hand, and against loops over all pairs.

Three users. 0: a 1 at 2.0, 0s at 1.0 and 2.0. 1: 1s at 0.0 and 3.0, a 0 at 1.0. 2: a 0 at -1.0.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.evaluation.metrics.auc import Auc
from twotower.evaluation.metrics.calibration import Calibration
from twotower.evaluation.metrics.gauc import Gauc
from twotower.evaluation.metrics.label_metric import LabelMetric, Scored, ordered_pairs
from twotower.evaluation.metrics.log_loss import LogLoss
from twotower.evaluation.user_values import label_intervals, label_values

AUC, GAUC, LOG_LOSS, CALIBRATION = (kind.Config().build() for kind in (Auc, Gauc, LogLoss, Calibration))
EVERY = [AUC, GAUC, LOG_LOSS, CALIBRATION]
SCORED = Scored.from_lists(
    users=[0, 0, 0, 1, 1, 1, 2],
    labels=[1, 0, 0, 1, 1, 0, 0],
    logits=[2, 1, 2, 0, 3, 1, -1],
)
SIGMA_1, SIGMA_2, SIGMA_3 = 0.7310586, 0.8807971, 0.9525741


def test_auc_by_hand() -> None:
    # 3 x 4 pairs. The 1 at 2: 1 and 1 and -1 below, 2 a tie: 3.5. At 0: -1: 1. At 3: all 4.
    assert AUC.value(SCORED) == pytest.approx((3.5 + 1 + 4) / 12)


def test_gauc_by_hand() -> None:
    # User 0: (1 + 1/2) / 2 = .75 of 3 examples; user 1: 1 / 2 of 3; user 2 has no 1.
    assert GAUC.value(SCORED) == pytest.approx((3 * 0.75 + 3 * 0.5) / 6)


def test_log_loss_by_hand() -> None:
    yes = -math.log(SIGMA_2) - math.log(0.5) - math.log(SIGMA_3)
    no = -2 * math.log(1 - SIGMA_1) - math.log(1 - SIGMA_2) - math.log(SIGMA_1)  # 1 - sigma(-1) = sigma(1)
    assert LOG_LOSS.value(SCORED) == pytest.approx((yes + no) / 7, abs=1e-6)


def test_calibration_by_hand() -> None:
    expected = SIGMA_2 + SIGMA_1 + SIGMA_2 + 0.5 + SIGMA_3 + SIGMA_1 + (1 - SIGMA_1)
    assert CALIBRATION.value(SCORED) == pytest.approx(expected / 3, abs=1e-6)


def test_weights_by_hand() -> None:
    # The 1 weighs 3; 0s below it 1 and 2, a tie 4: 3 (1 + 2 + 2) of 3 (1 + 2 + 4).
    scored = Scored.from_lists([0, 0, 0, 0, 1], [1, 0, 0, 0, 1], [5, 1, 2, 5, 0], [3, 1, 2, 4, 0])
    assert AUC.value(scored) == pytest.approx(5 / 7)
    assert GAUC.value(scored) == pytest.approx(5 / 7)
    assert CALIBRATION.value(Scored.from_lists([0, 1], [1, 0], [0, 0], [2, 6])) == pytest.approx(2)
    assert LOG_LOSS.value(Scored.from_lists([0, 1], [1, 0], [0, 7], [2, 0])) == pytest.approx(math.log(2))


def test_what_is_not_defined_is_not_reported() -> None:
    wanted = Scored.from_lists([0, 1], [1, 1], [0.0, 0.0])
    assert label_values(EVERY, wanted) == {
        "log_loss": pytest.approx(math.log(2)),
        "calibration": pytest.approx(0.5),
    }
    shown = Scored.from_lists([0, 1], [0, 0], [0.0, 0.0])
    assert label_values(EVERY, shown).keys() == {"log_loss"}
    apart = Scored.from_lists([0, 1], [0, 1], [0.0, 1.0])  # both labels, but nobody has both
    assert label_values(EVERY, apart).keys() == {"auc", "log_loss", "calibration"}
    assert label_values(EVERY, None) == {}
    assert label_intervals(EVERY, None) == {}
    assert label_intervals(EVERY, shown).keys() == {"log_loss"}
    assert (
        label_intervals(EVERY, Scored.from_lists([0, 0], [0, 1], [0.0, 1.0])) == {}
    )  # one user says nothing of others


LABELS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.booleans(),
        st.sampled_from([-1.0, 0.0, 0.25, 2.0]),
        st.sampled_from([0.5, 1.0, 2.0]),
    ),
    min_size=1,
    max_size=14,
)


def pairs_won(rows: list[tuple[int, bool, float, float]]) -> tuple[float, float]:
    won = total = 0.0
    for _, wanted, above, weight in rows:
        for _, other, below, other_weight in rows:
            if wanted and not other:
                total += weight * other_weight
                won += weight * other_weight * ((above > below) + (above == below) / 2)
    return won, total


@given(rows=LABELS)
@settings(max_examples=200, deadline=None)
def test_auc_and_gauc_are_what_a_loop_over_all_pairs_counts(
    rows: list[tuple[int, bool, float, float]],
) -> None:
    scored = Scored.from_lists(*zip(*rows, strict=True))
    won, total = pairs_won(rows)
    assert AUC.value(scored) == (pytest.approx(won / total) if total else None)
    above = below = 0.0
    for user in range(4):
        own = [row for row in rows if row[0] == user]
        won, total = pairs_won(own)
        if total:
            weight = sum(row[3] for row in own)
            above, below = above + weight * won / total, below + weight
    assert GAUC.value(scored) == (pytest.approx(above / below) if below else None)


def test_ordered_pairs_count_inside_a_group() -> None:
    groups, labels = np.array([1, 0, 0, 1, 1]), np.array([True, True, False, False, False])
    found, others = ordered_pairs(
        groups, labels, np.array([1.0, 0.0, 3.0, 1.0, 0.5]), np.array([1.0, 1, 1, 4, 2])
    )
    assert found.tolist() == [4 / 2 + 2, 0, 0, 1 / 2, 1]
    assert others.tolist() == [6, 1, 1, 1, 1]


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_intervals_are_those_of_a_bootstrap_over_users(metric: LabelMetric) -> None:
    rng = np.random.default_rng(3)
    num_users, each = 300, 8
    users = np.repeat(np.arange(num_users), each)
    taste = np.repeat(rng.normal(size=num_users), each)  # makes the examples of a user alike
    labels = rng.random(len(users)) < 1 / (1 + np.exp(-taste))
    scored = Scored.from_lists(users, labels, 0.5 * labels + 0.8 * taste + rng.normal(size=len(users)))
    rows = np.arange(len(users)).reshape(num_users, each)
    values = []
    for _ in range(400):
        drawn = rows[rng.integers(num_users, size=num_users)].ravel()
        columns = scored.labels[drawn], scored.logits[drawn], scored.weights[drawn]
        values.append(metric.value(Scored(users, *columns)))
    low, high = label_intervals([metric], scored)[metric.name]
    assert low < metric.value(scored) < high
    assert (high - low) / (2 * 1.96) == pytest.approx(np.std(values), rel=0.15)
