"""scripts/bench/scale.py: the simulation of a training, the plan of a large one, and the page of both."""

import math
from dataclasses import fields

import pytest
import scale
from scale_plan import (
    Constants,
    Machine,
    Workload,
    gathered,
    limits,
    process_bytes,
    reduced,
    stages,
    summed,
    training_cost,
    training_step,
)
from scale_tables import simulated_check
from training_simulation import Cluster, Disturbances, Phase, Step, long_training, mean_step, simulate

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


WORKLOAD = Workload(
    interactions=1000,
    users=100,
    items=1000,
    dim=4,
    batch=100,
    negatives=20,
    dense_weights=20,
    epochs=2,
    validation_users=5,
)
"""120 items in a batch, 10 interactions in a history; 20 steps."""


def constants(**values: float) -> Constants:
    return Constants(**{each.name: 0.0 for each in fields(Constants)} | values)


COMPUTE = constants(
    step_seconds=1.0,
    example_seconds=0.01,
    item_seconds=0.1,
    score_seconds=0.001,
    backward_share=0.4,
    sample_seconds=0.05,
    gather_seconds=0.002,
    optimizer_row_seconds=0.01,
)


def test_bytes_of_a_step() -> None:
    # 100 users of 16 bytes, with 48 of the example and 12 of each of 10 known items; each of two sends half.
    assert gathered(COMPUTE, WORKLOAD, 2).sent == 50 * (16 + 48 + 120)
    assert summed(COMPUTE, WORKLOAD, 4).sent == 100 * 4 * 3
    # The gradients of users and logits and 20 weights, (500 + 20) * 4 bytes, are sent once by each of two. A
    # process has gradients of 500 rows of histories, and of 60 items and 25 positives that are in the other
    # share, of 16 bytes and an index of 8.
    assert reduced(COMPUTE, WORKLOAD, 2, "replicated").sent == 2080 + 585 * 24
    # Of four, each sends its 298.75 rows to three others; in shards, three quarters there and back.
    assert reduced(COMPUTE, WORKLOAD, 4, "replicated").sent == 3120 + 298.75 * 24 * 3
    assert reduced(COMPUTE, WORKLOAD, 4, "sharded").sent == 3120 + 2 * 298.75 * 24 * 0.75
    assert reduced(COMPUTE, WORKLOAD, 1, "replicated").sent == gathered(COMPUTE, WORKLOAD, 1).sent == 0


def test_a_step_by_hand() -> None:
    machine, two = Machine(network=1000, latency=0), Cluster(2, 1, 16)
    step, sent = training_step(COMPUTE, WORKLOAD, machine, two, "replicated")
    # 50 examples, 85 embedded items, the draws of the other 35, 100 * 60 scores.
    embedding = 1 + 0.5 + 8.5 + 1.75
    works = [0.6 * embedding, 2, 4, 0.4 * embedding, 0.01 * 585 * 2]  # the rows of both are updated
    assert [phase.work for phase in step.phases] == pytest.approx(works)
    assert [phase.exchange for phase in step.phases] == pytest.approx([9.2, 0.4, 0, 16.12, 0])
    assert step.gather == pytest.approx(0.1)
    assert sent == 9200 + 400 + 16120
    assert mean_step(step, two, Disturbances(), 3) == pytest.approx(sum(works) + 9.2 + 0.4 + 16.12)
    sharded, _ = training_step(COMPUTE, WORKLOAD, machine, two, "sharded")
    assert sharded.phases[4].work == pytest.approx(0.01 * 585)
    # Within a machine nothing goes over the network; each exchange waits twice for four processes.
    inside, none = training_step(COMPUTE, WORKLOAD, Machine(latency=1), Cluster(1, 4, 16), "replicated")
    assert none == 0
    assert [phase.exchange for phase in inside.phases] == [12, 2, 2, 2, 0]
    alone, _ = training_step(COMPUTE, WORKLOAD, Machine(latency=1), Cluster(1, 1, 16), "replicated")
    assert [phase.exchange for phase in alone.phases] == [0] * 5


def test_memory_decides_on_the_processes_of_a_machine() -> None:
    held = constants(step_seconds=1.0, batch_bytes=7)
    assert process_bytes(held, WORKLOAD, 8, "replicated") == 2 * 1000 * 4 * 5 + 7000
    assert process_bytes(held, WORKLOAD, 8, "sharded") == 47_000 / 8
    machine = Machine(cores=4, memory=100_000, latency=0, network=math.inf, disk=math.inf, price=3.0)
    calm = Disturbances()
    ordered = constants(step_seconds=1.0, batch_bytes=7, order_seconds=0.36)  # of 2,000 examples: 720 s
    today = training_cost(held, WORKLOAD, machine, 2, "replicated", calm)
    assert (today.processes, today.sent > 0) == (2, True)
    assert today.hours == pytest.approx(200 / 3600)  # in blocks of 200 steps
    slower = training_cost(ordered, WORKLOAD, machine, 2, "replicated", calm)
    assert slower.hours == pytest.approx(920 / 3600)
    assert today.money == pytest.approx(today.hours * 2 * 3)
    assert training_cost(held, WORKLOAD, machine, 1, "sharded", calm).processes == 4
    small = training_cost(held, WORKLOAD, Machine(memory=40_000), 1, "replicated", calm)
    assert small.processes == 0
    assert math.isnan(small.money)


def test_parts_besides_the_training() -> None:
    costs = constants(
        build_seconds=3.6, build_bytes=2, id_bytes=10, embed_item_seconds=3.6, exact_score_seconds=0.001
    )
    found = {each.name: each for each in stages(costs, WORKLOAD, Machine(cores=4, memory=1e9), 2)}
    log = found["read, sort and split the log"]
    assert (log.hours, log.memory) == (pytest.approx(1.0), 1100 * 10 + 2000)
    embedding = found["embed all users and items"]
    assert embedding.hours == pytest.approx(1 / 8)
    assert embedding.money(2.0) == pytest.approx(0.5)
    assert embedding.memory == 3 * 1000 * 16 + 11_000
    assert found["rank 5 validation users, 2 epochs"].work == pytest.approx(10)


def test_limits_come_in_the_order_in_which_they_break() -> None:
    costs = constants(
        batch_bytes=7, dense_weight_seconds=1e-6, exact_score_seconds=1e-3, build_bytes=1, id_bytes=1
    )
    found = limits(costs, WORKLOAD, Machine(cores=4, memory=94_000, network=1e6))
    assert [each.scale for each in found] == sorted(each.scale for each in found)
    scales = {each.name.partition(":")[0].partition(" (")[0]: each.scale for each in found}
    assert scales["tables with row-wise Adagrad and data of one process"] == pytest.approx(2.0)
    assert scales["one process per core with tables and data of its own"] == pytest.approx(0.5)
    # 100 users and 1000 items: 100 s of one core, 25 s of four; both grow.
    assert scales["exact ranking of all users in an hour"] == pytest.approx(math.sqrt(3600 / 25))


def test_the_page_has_the_tables_of_the_kept_figures() -> None:
    assert scale.page() == scale.PAGE.read_text(encoding="utf-8"), "python scripts/bench/scale.py"


def test_the_kept_trainings_sent_the_bytes_of_the_formula() -> None:
    results = scale.read()
    for size in (2, 4):
        measured = results["check"]["figures"][str(size)]["sent"]["median"]
        assert simulated_check(results, size)[1] == pytest.approx(measured, rel=0.1)


def test_a_page_without_a_marker_is_refused() -> None:
    assert scale.filled("a\n<!-- scale: x -->\nold\n<!-- end -->\nb", {"x": "new"}) == (
        "a\n<!-- scale: x -->\n\nnew\n\n<!-- end -->\nb"
    )
    with pytest.raises(SystemExit, match="has no <!-- scale: y -->"):
        scale.filled("text", {"y": "new"})
