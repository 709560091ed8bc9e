"""The contract of splits, for each choice of `split`: a partition, and no history that knows its target."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from variants import specs_of

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.data.split_interactions import split_interactions
from twotower.data.splits.split import NONE, TEST, TRAIN, VALID, VALID_ONLY, Split, is_in

SMALL = {"days": {"test": 4.0, "valid": 4.0}, "share": {"test": 0.3, "valid": 0.3}}
SHARES = {"share": 0.4, "fold_in": 0.5, "num_windows": 2}


def cases() -> dict[str, Split.Config]:
    """Every choice of `split`, with windows and shares that suit a log of three weeks."""
    found = {}
    for name, spec in specs_of("split").items():
        settings = SMALL[spec.get("unit", "days")] | SHARES
        small = {key: value for key, value in settings.items() if key in spec}
        found[name] = Split.Config.from_spec(spec | small, f"split={name}")
    return found


CASES = cases()


@st.composite
def logs(draw):
    """Draw interactions of users who stay for three days, or for three weeks."""
    last_day = draw(st.sampled_from([2, 19]))
    rows = draw(
        st.lists(
            st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, last_day), st.integers(0, 2)),
            min_size=3,
            max_size=40,
        )
    )
    first_days = np.array(draw(st.lists(st.integers(1, 20 - last_day), min_size=5, max_size=5)))
    users, items, days, names = (np.array(column) for column in zip(*rows, strict=True))
    days += first_days[users - 1]
    order = np.lexsort((days, users))
    given_parts = names[order].astype(np.int8)
    return Interactions.from_rows(
        users[order], items[order], days[order] * 86_400, 5, num_items=6, given=given_parts
    )


def test_there_are_splits() -> None:
    assert {
        "given",
        "item_cold",
        "leave_one_out",
        "rolling",
        "sessions",
        "temporal",
        "user_holdout",
    } <= CASES.keys()


@pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
@settings(max_examples=50, deadline=None)
@given(log=logs())
def test_parts_are_a_partition_and_no_history_knows_its_target_or_anything_after(config, log):
    parts = config.build().assign(log)
    assert parts.shape == log.user_rows().shape
    assert parts.dtype == np.int8
    assert ((parts >= TRAIN) & (parts <= NONE)).all()
    try:
        windows = split_interactions(log, config.build())
    except InputError:
        assume(False)
    assert (windows.parts == parts).all()
    for holdout, codes in ((windows.valid, (VALID, VALID_ONLY)), (windows.test, (TEST,))):
        is_target = is_in(windows.parts, codes)
        assert len(holdout.target_items) + holdout.num_repeats == is_target.sum()
        assert (np.diff(holdout.target_offsets) > 0).all()
        assert (np.diff(holdout.users) > 0).all()
        for query, user in enumerate(holdout.users):
            first = np.flatnonzero(is_target & (log.user_rows() == user))[0]
            before = list(log.items[(log.user_rows() == user) & (np.arange(len(log)) < first)])
            start, end = holdout.history.offsets[user : user + 2]
            known = holdout.history.items[start:end].tolist()
            targets = holdout.target_items[slice(*holdout.target_offsets[query : query + 2])].tolist()
            assert len(known) <= len(before)
            assert not set(known) & set(targets)
            assert len(set(targets)) == len(targets)
            assert (np.diff(holdout.history.times[start:end]) >= 0).all()
            remaining = iter(before)
            assert all(item in remaining for item in known)  # a subsequence of what came before
            if len(known):
                assert holdout.history.times[end - 1] <= holdout.request_times[query]
    train = windows.parts == TRAIN
    assert windows.train.items.tolist() == log.items[train].tolist()
    assert windows.train.user_rows().tolist() == log.user_rows()[train].tolist()
    assert windows.train.times.tolist() == log.times[train].tolist()
    assert len(windows.train_and_valid) >= len(windows.train)
    counted = windows.train_and_valid.counts() - windows.train.counts()
    assert (counted >= 0).all()
    test_positions = np.flatnonzero(is_in(windows.parts, (TEST,)))
    assert len(windows.train_and_valid) <= len(log) - len(test_positions)


@pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
def test_the_settings_that_give_more_users_are_its_own(config: Split.Config) -> None:
    for part in ("valid", "test"):
        assert set(config.size_settings(part)) <= type(config).model_fields.keys()
        few = config.model_copy(update={"user_share": 0.5})
        assert few.size_settings(part) == ["user_share"]
