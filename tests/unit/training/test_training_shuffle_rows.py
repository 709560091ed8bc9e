"""An epoch that is shuffled in a buffer: every example once, from any position, as one order."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.model.negatives.impressions import Impressions
from twotower.model.scoring.batch import Batch
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.parallel.training_parts import own_share
from twotower.training import order
from twotower.training.batches import TrainBatches
from twotower.training.objectives.next_item import NextItem
from twotower.training.order import BlockOrder, Replay

SECONDS = st.lists(st.integers(1, 5), max_size=8).map(sorted)
"""Times of one user's interactions, some equal; the user may have none."""


@pytest.fixture(autouse=True)
def blocks_of_three() -> Iterator[None]:
    with mock.patch.object(order, "BLOCK_EXAMPLES", 3):
        yield


def log_of(times: list[list[int]], **more: Any) -> Interactions:
    users = np.repeat(np.arange(1, len(times) + 1), [len(each) for each in times])
    items = np.arange(1, len(users) + 1)  # each item once, so that it names the example
    return Interactions.from_rows(users, items, np.concatenate(times).astype(np.int64), len(times), **more)


def batches_of(
    log: Interactions, shuffle_rows: int | None, batch_size: int, strict: bool = True, **more: Any
) -> TrainBatches:
    config = NextItem.Config(batch_size=batch_size, shuffle_rows=shuffle_rows)
    return config.build().batches(log, history=MeanPooling.Config(length=3, strict=strict), seed=7, **more)


def examples_of(batches: list[Batch]) -> list[tuple[int, ...]]:
    """Return (item, user, time, weight, history, times of the history) of each example, in order."""
    return [
        (item, user, time, weight, *history, *times)
        for batch in batches
        for item, user, time, weight, history, times in zip(
            batch.positives.tolist(),
            batch.users.rows.tolist(),
            batch.users.request_times.tolist(),
            batch.weights.tolist(),
            batch.users.history_rows.tolist(),
            batch.users.history_times.tolist(),
            strict=True,
        )
    ]


@given(
    times=st.lists(SECONDS, min_size=1, max_size=6).filter(any),
    shuffle_rows=st.integers(1, 12),
    batch_size=st.integers(1, 5),
    strict=st.booleans(),
    data=st.data(),
)
def test_an_epoch_has_the_examples_of_a_permutation_and_goes_on_from_anywhere(
    times: list[list[int]], shuffle_rows: int, batch_size: int, strict: bool, data: st.DataObject
) -> None:
    with mock.patch.object(order, "BLOCK_EXAMPLES", 3):
        log = log_of(times)
        batches, plain = (batches_of(log, rows, batch_size, strict) for rows in (shuffle_rows, None))
        found = [list(batches.epoch_batches(epoch, 0)) for epoch in (0, 1)]
        for each in found:
            assert [len(batch.positives) for batch in each[:-1]] == [batch_size] * (len(batches) - 1)
            assert Counter(examples_of(each)) == Counter(examples_of(list(plain.epoch_batches(0, 0))))
        assert batches.share_without_history() == plain.share_without_history()
        first = data.draw(st.integers(0, len(batches)))
        assert examples_of(list(batches.epoch_batches(1, first))) == examples_of(found[1][first:])
        numbers = [batch.number for batch in found[1][first:]]
        assert [batch.number for batch in batches.epoch_batches(1, first)] == numbers


def test_a_buffer_holds_few_blocks_and_epochs_and_seeds_differ() -> None:
    blocks = BlockOrder(60, shuffle_rows=10, seed=1)  # 12 rows: four blocks of three
    epochs = [blocks.epoch(number)[0:60].tolist() for number in (0, 1)]
    epochs.append(BlockOrder(60, 10, seed=2).epoch(0)[0:60].tolist())
    assert all(sorted(each) == list(range(60)) for each in epochs)
    assert len(set(map(tuple, epochs))) == 3
    for each in epochs:
        buffers = [{position // 3 for position in each[start : start + 12]} for start in range(0, 60, 12)]
        assert [len(buffer) for buffer in buffers] == [4] * 5
    assert len({position // 3 for position in epochs[0][:4]}) > 2  # shuffled beyond a block


def test_the_processes_of_a_training_divide_the_batches_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of([[1, 2, 2, 4], [3], [1, 1, 5, 6, 7]])
    alone = examples_of(list(batches_of(log, 4, 4).epoch_batches(0, 0)))
    parts: list[list[Batch]] = []
    monkeypatch.setattr("twotower.parallel.ranks.world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr("twotower.parallel.ranks.rank", lambda rank=rank: rank)
        batches = batches_of(log, 4, 4)
        batches.share = own_share
        parts.append(list(batches.epoch_batches(0, 0)))
    together = [batch for pair in zip(*parts, strict=True) for batch in pair]
    assert [each[:3] for each in examples_of(together)] == [each[:3] for each in alone]


def test_what_a_buffer_does_not_shuffle_is_refused() -> None:
    log = log_of([[1, 2], [3]])
    weighted = log_of([[1, 2], [3]], weights=np.ones(3, np.float32))
    replay = Replay(np.ones(3, bool), 0.5, np.zeros(0, bool))
    for refused, more in (
        (weighted, {}),
        (log, {"with_impressions": True}),
        (log, {"build_order": replay.order}),
    ):
        with pytest.raises(InputError, match=r"^objective.shuffle_rows: shuffles a first training"):
            batches_of(refused, 4, 2, **more)
    config = NextItem.Config(shuffle_rows=9, recency="sample", recency_half_life_days=3.0, max_age_days=9.0)
    found = dict(config.problems(ChoiceContext({"negatives": Impressions.Config()})))
    assert found["shuffle_rows"] == "impressions without a click are not shuffled in it; set it to null"
    (message,) = (text for key, text in config.problems() if key == "shuffle_rows")
    assert message.endswith("recency_half_life_days, objective.max_age_days, objective.recency=sample")
    assert not list(NextItem.Config(shuffle_rows=9).problems())
    assert torch.equal(*(next(batches_of(log, rows, 3).epoch_batches(0, 0)).weights for rows in (9, None)))
