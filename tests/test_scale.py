"""scripts/bench/scale.py: the plan of a large training, and its page."""

import math

import pytest
import scale
from record import read
from scale import Machine, Step, Workload, exchanges, limits, process_bytes, training_cost, training_step
from scale_constants import MEANINGS


def test_a_step_is_its_work_and_its_exchanges_on_the_cores_of_its_machine() -> None:
    step = Step((0.3, 0.5), (0.2, 0.1))
    assert step.seconds(2, 16) == pytest.approx(0.3 + 0.2 + 0.5 + 0.1)
    assert step.seconds(2, 16, slowest=3.0) == pytest.approx(0.8 * 3 + 0.3)
    assert step.seconds(4, 2) == pytest.approx(0.8 * 4 / 2 + 0.3)


def test_the_next_batch_is_gathered_meanwhile_if_a_core_is_free() -> None:
    step = Step((0.4,), (0.0,), gather=0.3)
    assert step.seconds(1, 2) == pytest.approx(0.4)
    assert step.seconds(1, 1) == pytest.approx(0.7)
    assert Step((0.4,), (0.0,), gather=0.9).seconds(1, 2) == pytest.approx(0.9)


def test_the_slowest_of_many_processes_takes_longer() -> None:
    assert scale.slowest_of(1) == pytest.approx(1 + 0.001 * 4, abs=0.01)  # stragglers
    assert 1.3 < scale.slowest_of(256) < 2.5


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


NAMES = {*MEANINGS, "optimizer_seconds", "exchange_sparse"}


def constants(**values: float) -> dict[str, float]:
    assert values.keys() <= NAMES
    return dict.fromkeys(NAMES, 0.0) | values


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
    users, _, gradients = (sent for sent, _ in exchanges(COMPUTE, WORKLOAD, 2, "replicated"))
    assert users == 50 * (16 + 48 + 120)
    # The gradients of users and logits and 20 weights, (500 + 20) * 4 bytes, are sent once by each of two. A
    # process has gradients of 500 rows of histories, and of 60 items and 25 positives that are in the other
    # share, of 16 bytes and an index of 8.
    assert gradients == 2080 + 585 * 24
    # Of four, each sends its 298.75 rows to three others; in shards, three quarters there and back.
    _, sums, gradients = (sent for sent, _ in exchanges(COMPUTE, WORKLOAD, 4, "replicated"))
    assert (sums, gradients) == (100 * 4 * 3, 3120 + 298.75 * 24 * 3)
    assert exchanges(COMPUTE, WORKLOAD, 4, "sharded")[2][0] == 3120 + 2 * 298.75 * 24 * 0.75
    assert exchanges(COMPUTE, WORKLOAD, 1, "replicated") == [(0, 0)] * 3


def test_a_step_by_hand() -> None:
    machine = Machine(network=1000, latency=0)
    step = training_step(COMPUTE, WORKLOAD, machine, 2, 1, "replicated")
    # 50 examples, 85 embedded items, the draws of the other 35, 100 * 60 scores.
    embedding = 1 + 0.5 + 8.5 + 1.75
    works = [0.6 * embedding, 2, 4, 0.4 * embedding, 0.01 * 585 * 2]  # the rows of both are updated
    assert step.works == pytest.approx(works)
    assert step.exchanges == pytest.approx([9.2, 0.4, 0, 16.12, 0])
    assert step.gather == pytest.approx(0.1)
    assert step.sent == 9200 + 400 + 16120
    assert step.seconds(1, 16) == pytest.approx(sum(works) + 9.2 + 0.4 + 16.12)
    assert training_step(COMPUTE, WORKLOAD, machine, 2, 1, "sharded").works[4] == pytest.approx(0.01 * 585)
    # Within a machine nothing goes over the network; each exchange waits twice for four processes.
    inside = training_step(COMPUTE, WORKLOAD, Machine(latency=1), 1, 4, "replicated")
    assert (inside.sent, inside.exchanges) == (0, (12, 2, 2, 2, 0))
    alone = training_step(COMPUTE, WORKLOAD, Machine(latency=1), 1, 1, "replicated")
    assert alone.exchanges == (0,) * 5


def test_memory_decides_on_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "slowest_of", lambda size: 1.0)
    held = constants(step_seconds=1.0, batch_bytes=7)
    assert process_bytes(held, WORKLOAD, 8, "replicated") == 2 * 1000 * 4 * 5 + 7000
    assert process_bytes(held, WORKLOAD, 8, "sharded") == 47_000 / 8
    machine = Machine(cores=4, memory=100_000, latency=0, network=math.inf, disk=math.inf, price=3.0)
    ordered = constants(step_seconds=1.0, batch_bytes=7, order_seconds=0.36)  # of 2,000 examples: 720 s
    today = training_cost(held, WORKLOAD, machine, 2, "replicated")
    assert (today["processes"], today["sent"] > 0) == (2, True)
    # 20 steps of a second on two machines: 40 of 3.6 million seconds. A failure loses half of 200 steps.
    assert today["failures"] == pytest.approx(40 / 3.6e6)
    assert today["lost"] == pytest.approx(40 / 3.6e6 * (600 + 100) / 3600)
    assert today["hours"] == pytest.approx(20 / 3600 + today["lost"])
    slower = training_cost(ordered, WORKLOAD, machine, 2, "replicated")
    assert slower["hours"] == pytest.approx(740 / 3600 + today["lost"])
    assert today["money"] == pytest.approx(today["hours"] * 2 * 3)
    assert training_cost(held, WORKLOAD, machine, 1, "sharded")["processes"] == 4
    small = training_cost(held, WORKLOAD, Machine(memory=40_000), 1, "replicated")
    assert small == {"processes": 0, "memory": 47_000}


def test_limits_come_in_the_order_in_which_they_break() -> None:
    costs = constants(batch_bytes=7, dense_weight_seconds=1e-6, exact_score_seconds=1e-3)
    found = limits(costs, WORKLOAD, Machine(cores=4, memory=94_000, network=1e6))
    scales = {name.partition(":")[0].partition(" (")[0]: share for name, share, _ in found}
    assert [share for _, share, _ in found] == sorted(share for _, share, _ in found)
    assert scales["tables with row-wise Adagrad and data of one process"] == pytest.approx(2.0)
    assert scales["one process per core with tables and data of its own"] == pytest.approx(0.5)
    # 100 users and 1000 items: 100 s of one core, 25 s of four; both grow.
    assert scales["exact ranking of all users in an hour"] == pytest.approx(math.sqrt(3600 / 25))


def test_the_page_has_the_tables_of_the_stored_figures() -> None:
    assert scale.page() == scale.PAGE.read_text(encoding="utf-8"), "python scripts/bench/scale.py"


def test_the_stored_trainings_sent_the_bytes_of_the_formula() -> None:
    lines = read("scale")
    found = scale.medians(scale.constants_of(lines))
    for size in (2, 4):
        measured = scale.medians(scale.spread([each for each in lines if each.row == f"{size} processes"]))
        assert scale.computed_step(found, size)[1] == pytest.approx(measured["sent"], rel=0.1)


def test_a_page_without_a_marker_is_refused() -> None:
    assert scale.filled("a\n<!-- scale: x -->\nold\n<!-- end -->\nb", {"x": "new"}) == (
        "a\n<!-- scale: x -->\n\nnew\n\n<!-- end -->\nb"
    )
    with pytest.raises(SystemExit, match="has no <!-- scale: y -->"):
        scale.filled("text", {"y": "new"})
