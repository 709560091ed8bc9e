"""scripts/bench/scale.py: the simulation of a training, the plan of a large one, and the page of both."""

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "bench"))

from training_simulation import Cluster, Disturbances, Phase, Step, long_training, simulate

STEP = Step((Phase(0.3, 0.2), Phase(0.5, 0.1)))


def test_without_noise_a_step_is_its_work_and_its_exchanges() -> None:
    outcome = simulate(STEP, Cluster(machines=3, processes=2), 10)
    assert outcome.seconds == pytest.approx(10 * (0.3 + 0.2 + 0.5 + 0.1))
    assert outcome.exchanging == pytest.approx(10 * 0.3)


def test_processes_share_the_cores_of_their_machine() -> None:
    outcome = simulate(STEP, Cluster(machines=2, processes=4, cores=2), 5)
    assert outcome.seconds == pytest.approx(5 * (0.8 * 4 / 2 + 0.3))
    outcome = simulate(STEP, Cluster(processes=3, cores=1.5), 5)
    assert outcome.seconds == pytest.approx(5 * (0.8 * 2 + 0.3))


def test_the_next_batch_is_gathered_meanwhile_if_a_core_is_free() -> None:
    step = Step((Phase(0.4),), gather=0.3)
    assert simulate(step, Cluster(cores=2), 10).seconds == pytest.approx(10 * 0.4)
    assert simulate(step, Cluster(cores=1), 10).seconds == pytest.approx(10 * 0.7)
    # The step waits for a batch that takes longer.
    assert simulate(Step((Phase(0.4),), gather=0.9), Cluster(), 10).seconds == pytest.approx(10 * 0.9)


def test_noise_and_stragglers_cost_time_and_more_with_more_processes() -> None:
    noise = [Disturbances(sigma=0.2), Disturbances(straggler_share=0.1, straggler_factor=3)]
    for each in noise:
        alone, many = (simulate(STEP, Cluster(machines=n), 400, each).seconds for n in (1, 16))
        assert many > 1.1 * alone
        assert alone > 0.95 * 400 * 1.1
    assert simulate(STEP, Cluster(machines=4), 50, noise[0], seed=1).seconds == pytest.approx(
        simulate(STEP, Cluster(machines=4), 50, noise[0], seed=1).seconds
    )


def test_a_straggler_in_every_computation_is_a_factor() -> None:
    always = Disturbances(straggler_share=1.0, straggler_factor=3.0)
    assert simulate(STEP, Cluster(machines=2), 10, always).seconds == pytest.approx(10 * (0.8 * 3 + 0.3))


def test_failures_cost_the_steps_since_the_checkpoint_and_a_restart() -> None:
    plain = Disturbances(checkpoint_steps=10, checkpoint_seconds=0.5)
    assert simulate(STEP, Cluster(), 100, plain).seconds == pytest.approx(100 * 1.1 + 9 * 0.5)
    failing = Disturbances(checkpoint_steps=10, checkpoint_seconds=0.5, failure_seconds=60, restart_seconds=7)
    outcome = simulate(STEP, Cluster(machines=2), 100, failing)
    assert outcome.failures > 0
    assert outcome.lost > 0
    assert outcome.checkpointing == pytest.approx(9 * 0.5)
    whole = 100 * 1.1 + outcome.checkpointing + outcome.failures * 7 + outcome.lost
    assert outcome.seconds == pytest.approx(whole)


def test_a_long_training_is_the_same_in_blocks_of_steps() -> None:
    rare = Disturbances(checkpoint_steps=10, checkpoint_seconds=0.5)
    blocks = long_training(1.1, 100, 1, rare)
    assert blocks.seconds == pytest.approx(simulate(STEP, Cluster(), 100, rare).seconds)
    failing = Disturbances(checkpoint_steps=10, failure_seconds=100, restart_seconds=7)
    assert long_training(1.1, 100, 4, failing).seconds > blocks.seconds
    assert math.isinf(Disturbances().failure_seconds)
