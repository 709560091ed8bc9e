"""Batches of whole sequences: every example is there, with the history that a loop over the log gives it."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training_examples import DAY, NUM_ITEMS, history_of

from twotower.data.actions import HISTORY, POSITIVE
from twotower.data.interactions import Interactions
from twotower.model.scoring.batch import Batch
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.objectives.next_item import NextItem
from twotower.training.objectives.objective import Objective
from twotower.training.objectives.sequence import Sequence

EVENTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, NUM_ITEMS)), max_size=9).map(sorted)
LOGS = st.lists(EVENTS, min_size=1, max_size=6).filter(any)
SIZES = {"size": st.integers(1, 9), "length": st.integers(1, 12), "strict": st.booleans()}


def batches_of(
    kind: type[Objective], interactions: Interactions, size: int, length: int, strict: bool, **how: Any
) -> Any:
    objective = kind.Config(batch_size=size).build()
    return objective.batches(
        interactions, history=MeanPooling.Config(length=length, strict=strict), seed=5, **how
    )


def examples_of(batch: Batch) -> list[tuple[int, int, int, tuple[tuple[int, int], ...]]]:
    """User, item, time and history, of (time, item), of each example."""
    items = torch.cat([batch.positives, batch.impressions]).tolist()
    users = batch.users
    width, found = users.history_rows.shape[1], []
    for p, item in enumerate(items):
        queries = users.query_positions
        row, place = (p, width - 1) if queries is None else divmod(int(queries[p]), width)
        history = zip(users.history_times[row].tolist(), users.history_rows[row].tolist(), strict=True)
        seen = tuple(each for each in list(history)[: place + 1] if each[1])
        found.append((int(users.rows[p]), item, int(users.request_times[p]), seen))
    return found


@given(log=LOGS, **SIZES)
def test_examples_are_those_of_next_item_and_see_the_end_of_what_these_see(
    log: list[list[tuple[int, int]]], size: int, length: int, strict: bool
) -> None:
    history = history_of(log)
    whole = batches_of(NextItem, history, size, 12, strict)
    expected = Counter(each for batch in whole for each in examples_of(batch))
    batches = batches_of(Sequence, history, size, length, strict)
    found = [each for batch in batches for each in examples_of(batch)]
    if max(map(len, log)) <= length:
        assert Counter(found) == expected
    assert Counter(each[:3] for each in found) == Counter(each[:3] for each in expected.elements())
    full = {(each[:3], each[3][max(0, len(each[3]) - len(seen[3])) :]) for each in expected for seen in found}
    assert {(each[:3], each[3]) for each in found} <= full


def test_the_places_of_a_batch_are_known_where_few_are_examples() -> None:
    """As in a warm start: a new interaction of each user, after a history of nine items."""
    log = history_of([[(time, time % NUM_ITEMS + 1) for time in range(1, 11)]] * 8)
    is_new = np.tile(np.arange(10) == 9, 8)
    few = replace(log, roles=np.where(is_new, POSITIVE, HISTORY).astype(np.int8))
    for interactions, size in ((log, 20), (few, 2)):
        batches = batches_of(Sequence, interactions, size, 10, False)
        places = [batch.users.history_rows.numel() for batch in batches]
        assert max(places) <= batches.num_history_items() <= 2 * max(places)


@given(log=LOGS, **SIZES)
def test_the_latest_example_of_a_user_sees_as_much_as_serving_does(
    log: list[list[tuple[int, int]]], size: int, length: int, strict: bool
) -> None:
    seen = {}
    for batch in batches_of(Sequence, history_of(log), size, length, strict):
        for user, _, time, history in examples_of(batch):
            seen[user] = max(
                seen.get(user, (0, ())), (time, history), key=lambda each: (each[0], len(each[1]))
            )
    for user, (time, history) in seen.items():
        events = log[user - 1]
        before = [each for each in events if each[0] < time] if strict else events[:-1]
        assert (
            len(history) >= min(len(before), length) - 1
        )  # the empty place of a first stretch counts as one


def test_an_epoch_repeats_and_goes_on_from_any_batch() -> None:
    log = history_of([[(day * DAY, day % 5 + 1) for day in range(17)], [(day * DAY, 8) for day in range(4)]])
    first, second = (batches_of(Sequence, log, 4, 4, False) for _ in range(2))
    whole = [examples_of(batch) for _ in range(3) for batch in first]
    second.load_state_dict({"number": 7})
    rest = [examples_of(batch) for batch in second]
    while second.number < len(whole):
        rest += [examples_of(batch) for batch in second]
    assert len(first) == 5
    assert rest == whole[7:]
    assert whole[:5] != whole[5:10]


def test_shown_negatives_look_at_what_came_before_them() -> None:
    shown = history_of([[(15, 6), (99, 7)], [(1, 8)]])
    log = history_of([[(10, 1), (20, 2), (30, 3)], [(5, 4)]], impressions=shown)
    found = {
        kind: batches_of(kind, log, 99, 3, False, with_impressions=True) for kind in (NextItem, Sequence)
    }
    (one,), (other,) = (list(each) for each in found.values())
    assert len(one.impressions) == len(other.impressions) == 3
    assert Counter(examples_of(one))[1, 7, 99, ((10, 1), (20, 2), (30, 3))] == 1
    short = Counter({(1, 7, 99, ((10, 1), (20, 2), (30, 3))): 1, (1, 1, 10, ()): 1})
    assert Counter(examples_of(other)) >= short


def test_a_pooled_user_is_the_same_by_either_objective() -> None:
    torch.manual_seed(0)
    log = history_of([[(1, 1), (2, 2), (2, 3), (5, 4)], [(1, 2), (9, 4)]])
    table, encoder = torch.randn(9, 3), MeanPooling(MeanPooling.Config(length=4, power=0.5), 3)
    pooled = []
    for kind in (NextItem, Sequence):
        (batch,) = batches_of(kind, log, 9, 4, True)
        users = batch.users
        blocks = encoder.tower_blocks(table, users)
        order = np.lexsort((batch.positives, batch.users.rows))
        pooled.append(torch.cat(list(blocks.values()), 1)[order])
    torch.testing.assert_close(*pooled)


def test_little_is_padded() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.geometric(0.05, 2000)
    log = history_of([[(place, 1) for place in range(length)] for length in lengths])
    rows = [batch.users.history_rows for batch in batches_of(Sequence, log, 512, 50, False)]
    assert sum(each.numel() for each in rows) < 1.15 * lengths.sum()
    sizes = [len(batch.positives) for batch in batches_of(Sequence, log, 512, 50, False)]
    assert min(sizes) > 512 - 50
    assert max(sizes) < 512 + 100
