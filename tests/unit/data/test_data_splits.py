from dataclasses import replace

import numpy as np
import pytest

from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.data.actions import HISTORY, NEGATIVE, POSITIVE
from twotower.data.sources.item_lists import ItemLists
from twotower.data.sources.synthetic import Synthetic
from twotower.data.sources.table_files import TableFiles
from twotower.data.split_interactions import split_interactions
from twotower.data.splits.given import Given
from twotower.data.splits.item_cold import ItemCold
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.sessions import Sessions
from twotower.data.splits.split import NONE, TEST, TEST_HISTORY, TRAIN, VALID, VALID_HISTORY, VALID_ONLY
from twotower.data.splits.temporal import Temporal
from twotower.data.splits.user_holdout import UserHoldout

DAY = 86_400


def items_of(history, user):
    return history.items[history.offsets[user] : history.offsets[user + 1]].tolist()


def holdout_targets(holdout):
    pieces = np.split(holdout.target_items, holdout.target_offsets[1:-1])
    return {user: piece.tolist() for user, piece in zip(holdout.users.tolist(), pieces, strict=True)}


def test_temporal_by_hand(log):
    # The log ends at day 100; test is day 90 (exclusive) and later, valid day 80 (exclusive) and later.
    made = log(
        [(1, 1, 50 * DAY), (1, 2, 80 * DAY), (1, 3, 80 * DAY + 1), (1, 4, 90 * DAY + 1), (2, 5, 100 * DAY)]
    )
    split = Temporal(Temporal.Config(test=10, valid=10))
    assert split.cutoffs(made) == (80 * DAY + 1, 90 * DAY + 1)
    windows = split_interactions(made, split)
    assert windows.parts.tolist() == [TRAIN, TRAIN, VALID, TEST, TEST]
    assert items_of(windows.train, 1) == [1, 2]
    assert items_of(windows.train_and_valid, 1) == [1, 2, 3]
    assert holdout_targets(windows.valid) == {1: [3]}
    assert holdout_targets(windows.test) == {1: [4], 2: [5]}
    assert windows.valid.request_times.tolist() == [80 * DAY + 1]
    assert windows.test.request_times.tolist() == [90 * DAY + 1] * 2
    assert items_of(windows.test.history, 1) == [1, 2, 3]
    assert items_of(windows.test.history, 2) == []


def test_temporal_shares(log):
    made = log([(1, item, 1000 + item) for item in range(1, 11)])
    parts = Temporal(Temporal.Config(test=0.2, valid=0.1, unit="share")).assign(made)
    assert parts.tolist() == [TRAIN] * 7 + [VALID] + [TEST] * 2
    ties = log([(1, item, 1000 + item // 8) for item in range(1, 11)])
    assert (Temporal(Temporal.Config(test=0.1, valid=0.1, unit="share")).assign(ties) != VALID).all()
    ((_, said),) = Temporal.Config(test=0.5, valid=0.5, unit="share").problems(
        ChoiceContext({"data": Synthetic.Config()})
    )
    assert said.startswith("test + valid must be below 1")
    assert said.endswith("got 0.5 + 0.5")


def test_user_share_drops_other_users_and_larger_shares_contain_smaller_ones(log):
    made = log([(user, item, 10 * user + item) for user in range(1, 11) for item in range(1, 6)])
    whole = LeaveOneOut(LeaveOneOut.Config()).parts(made)
    before = set()
    for share in (0.1, 0.3, 1.0):
        parts = LeaveOneOut(LeaveOneOut.Config(user_share=share)).parts(made)
        kept = set(made.user_rows()[parts != NONE].tolist())
        assert len(kept) == round(10 * share)
        assert kept >= before
        assert (parts[parts != NONE] == whole[parts != NONE]).all()
        before = kept


def test_leave_one_out_breaks_ties_by_the_order_of_rows(log):
    rows = [(1, 4, 9), (1, 3, 5), (1, 1, 5), (1, 2, 5), (2, 1, 7), (2, 2, 6)]
    windows = split_interactions(log(rows), LeaveOneOut(LeaveOneOut.Config()))
    assert items_of(windows.train, 1) == [3, 1]
    assert items_of(windows.train, 2) == [2, 1]  # two interactions: only train
    assert holdout_targets(windows.valid) == {1: [2]}
    assert holdout_targets(windows.test) == {1: [4]}
    assert windows.valid.request_times.tolist() == [5]
    assert windows.test.request_times.tolist() == [9]
    assert items_of(windows.test.history, 1) == [3, 1, 2]
    assert LeaveOneOut(LeaveOneOut.Config()).audit(log(rows)) == {"users_only_in_train": 1}


def test_user_holdout_by_hand(log):
    rows = [(user, item, 10 * user + item) for user in range(1, 11) for item in range(1, 6)]
    windows = split_interactions(
        log([*rows, (11, 1, 1)]), UserHoldout(UserHoldout.Config(share=0.4, fold_in=0.6, seed=1))
    )
    valid, test = windows.valid, windows.test
    assert (len(valid.users), len(test.users)) == (2, 2)
    assert set(map(tuple, holdout_targets(test).values())) == {(4, 5)}
    for holdout in (valid, test):
        for user in holdout.users:
            assert items_of(windows.train, user) == []
            assert items_of(holdout.history, user) == [1, 2, 3]
    assert valid.request_times.tolist() == [10 * user + 4 for user in valid.users]
    assert items_of(windows.train_and_valid, test.users[0]) == []
    assert items_of(windows.train_and_valid, valid.users[0]) == [1, 2, 3, 4, 5]
    assert items_of(windows.train, 11) == [1]  # a single interaction is never held out


def test_sessions_by_hand(log):
    # The log ends at 100; valid begins at 61 and test at 81.
    times = {
        1: [1, 2, 61],  # goes on after the cutoff
        2: [61, 62, 63, 64, 65],
        3: [70, 71, 81, 99],  # half of it is in the test window
        4: [81, 90, 100],
        5: [95],
        6: [75],
        7: [60, 60],
    }
    rows = [(user, 10 * user + place, DAY * time) for user in times for place, time in enumerate(times[user])]
    split = Sessions(Sessions.Config(test=20, valid=20, unit="days", fold_in=0.6))
    made = log(rows)
    assert split.cutoffs(made) == (80 * DAY + 1 - 20 * DAY, 80 * DAY + 1)
    windows = split_interactions(made, split)
    assert [items_of(windows.train, user) for user in times] == [[10, 11], [], [], [], [], [], [70, 71]]
    assert {user: items_of(windows.valid.history, user) for user in (2, 3)} == {2: [20, 21, 22], 3: [30]}
    assert holdout_targets(windows.valid) == {2: [23, 24], 3: [31]}
    assert windows.valid.request_times.tolist() == [64 * DAY, 71 * DAY]
    assert holdout_targets(windows.test) == {4: [42]}
    assert windows.test.request_times.tolist() == [100 * DAY]
    assert items_of(windows.test.history, 4) == [40, 41]
    assert items_of(windows.train_and_valid, 3) == [30, 31]  # not what comes after the beginning of the test
    assert items_of(windows.train_and_valid, 6) == [60]
    assert [items_of(windows.train_and_valid, user) for user in (4, 5)] == [[], []]
    assert (windows.parts == NONE).sum() == 3
    assert split.audit(made) == {"valid_from": "1970-03-02 00:00:01", "test_from": "1970-03-22 00:00:01"}


def test_views_and_impressions_after_the_window_of_their_session_are_in_no_part(log):
    rows = [(1, 1, 10), (1, 2, 11), (1, 3, 70), (2, 1, 61), (2, 2, 62), (2, 3, 63), (2, 4, 90)]
    rows += [(3, 1, 65), (3, 2, 90), (4, 1, 85), (4, 2, 90), (4, 3, 99), (5, 1, 100), (6, 1, 20)]
    rows = [(user, item, DAY * time) for user, item, time in rows]
    seen = {(1, 70): NEGATIVE, (2, 61): HISTORY, (2, 90): HISTORY, (3, 65): HISTORY, (3, 90): NEGATIVE}
    seen |= {(4, 90): NEGATIVE, (6, 20): HISTORY}
    roles = np.array([seen.get((user, time // DAY), POSITIVE) for user, _, time in rows], dtype=np.int8)
    split = Sessions(Sessions.Config(test=20, valid=20, unit="days", fold_in=0.5))
    parts = dict(
        zip(
            [(user, time // DAY) for user, _, time in rows],
            split.parts(replace(log(rows), roles=roles)),
            strict=True,
        )
    )
    assert [parts[1, time] for time in (10, 11, 70)] == [TRAIN, TRAIN, NONE]
    assert [parts[2, time] for time in (61, 62, 63, 90)] == [VALID_HISTORY, VALID_HISTORY, VALID, NONE]
    assert [parts[3, time] for time in (65, 90)] == [NONE, NONE]  # without a positive, after training
    assert [parts[4, time] for time in (85, 90, 99)] == [TEST_HISTORY, TEST, TEST]
    assert parts[6, 20] == TRAIN


def test_cold_items_are_in_no_log_and_no_history(log):
    rows = [(user, item, DAY * (10 * item + user)) for user in range(1, 6) for item in range(1, 11)]
    rows += [(user, item, DAY * (110 + item)) for user in (6, 7) for item in range(1, 11)]
    made = log(rows)
    split = ItemCold(ItemCold.Config(share=0.3, seed=3, test=5, valid=5))
    windows = split_interactions(made, split)
    cold = set(np.flatnonzero(split._is_cold(made)).tolist())
    assert len(cold) == split.audit(made)["held_out_items"] == 3
    for history in (windows.train, windows.train_and_valid, windows.valid.history, windows.test.history):
        assert not cold & set(history.items.tolist())
    plain = Temporal(Temporal.Config(test=5, valid=5)).assign(made)
    is_cold = np.isin(made.items, list(cold))
    assert (windows.parts[~is_cold] == plain[~is_cold]).all()
    assert (windows.parts[is_cold & (plain == TRAIN)] == NONE).all()
    assert (windows.parts[is_cold & (plain == VALID)] == VALID_ONLY).all()
    assert cold & set(windows.test.target_items.tolist())


def test_given(log):
    made = log([(1, 1, 5), (1, 2, 5), (1, 3, 5), (1, 4, 6)], given=[0, 1, 2, 0])
    windows = split_interactions(made, Given(Given.Config()))
    assert items_of(windows.train, 1) == [1, 4]
    assert items_of(windows.valid.history, 1) == [1]  # 4 comes after the target
    assert items_of(windows.test.history, 1) == [1, 2]
    with pytest.raises(InputError, match=r"split=given: .*data\.split_column"):
        split_interactions(log([(1, 1, 5)]), Given(Given.Config()))
    assert "data.split_column" in Given.Config().problems(ChoiceContext({"data": Synthetic.Config()}))[0][1]
    assert TableFiles.Config(interactions_path="a.csv", split_column="part").gives_split()
    two_files = ItemLists.Config(train_path="train.txt", test_path="test.txt")
    assert Given.Config().problems(ChoiceContext({"data": two_files})) == []
    assert Temporal.Config().problems(ChoiceContext({"data": Synthetic.Config()})) == []


def test_repeats_are_no_targets(log):
    # Test repeats item 1 of train, item 2 of valid, and item 4 within the window.
    rows = [(1, 1, DAY), (1, 2, 85 * DAY), (1, 1, 86 * DAY)]
    rows += [(1, 1, 95 * DAY), (1, 2, 96 * DAY), (1, 4, 97 * DAY), (1, 4, 98 * DAY), (1, 5, 100 * DAY)]
    windows = split_interactions(log(rows), Temporal(Temporal.Config(test=10, valid=10)))
    assert holdout_targets(windows.valid) == {1: [2]}
    assert holdout_targets(windows.test) == {1: [4, 5]}
    assert (windows.valid.num_repeats, windows.test.num_repeats) == (1, 3)
    assert windows.test.target_times.tolist() == [97 * DAY, 100 * DAY]


def test_a_test_target_of_valid_only_is_a_repeat(log):
    split = ItemCold(ItemCold.Config(share=0.5, test=10, valid=10))
    is_cold = split._is_cold(log([(1, 1, 1)], num_items=4))[1:]
    (warm, _), (cold, other) = np.flatnonzero(~is_cold) + 1, np.flatnonzero(is_cold) + 1
    rows = [(1, warm, DAY), (1, cold, 85 * DAY), (1, cold, 95 * DAY), (1, other, 100 * DAY)]
    windows = split_interactions(log(rows, num_items=4), split)
    assert holdout_targets(windows.valid) == {1: [cold]}
    assert holdout_targets(windows.test) == {1: [other]}
    assert windows.test.num_repeats == 1


EMPTY = {
    "short log": (
        Temporal(Temporal.Config()),
        [(1, 1, 0), (1, 2, 10 * DAY)],
        ["split=temporal: train", "10.0 days", "split.test"],
    ),
    "gap": (
        Temporal(Temporal.Config(test=5, valid=5)),
        [(1, 1, 0), (1, 2, 10 * DAY), (1, 3, 20 * DAY)],
        ["temporal: valid"],
    ),
    "few": (
        LeaveOneOut(LeaveOneOut.Config()),
        [(1, 1, 1), (1, 2, 2)],
        ["split=leave_one_out: valid", "no user has 3", "temporal"],
    ),
    "users": (
        UserHoldout(UserHoldout.Config(share=0.1)),
        [(1, 1, 1), (1, 2, 2), (2, 1, 1)],
        ["user_holdout: valid", "1 users", "split.share"],
    ),
    "sessions of one click": (
        Sessions(Sessions.Config(test=3, valid=3, unit="days")),
        [(user, 1, user * DAY) for user in range(1, 11)],
        ["split=sessions: valid", "two positive interactions in one window", "the most of a session is 1"],
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_part_names_the_settings_to_change(log, name):
    split, rows, parts = EMPTY[name]
    with pytest.raises(InputError) as caught:
        split_interactions(log([(user, item, time + 10 * DAY) for user, item, time in rows]), split)
    for part in parts:
        assert part in str(caught.value)


def test_nothing_new_to_recommend(log):
    with pytest.raises(InputError, match="all 1 targets of the validation or test split repeat"):
        split_interactions(log([(1, 1, 1), (1, 1, 2), (1, 1, 3)]), LeaveOneOut(LeaveOneOut.Config()))


def test_given_without_valid_takes_the_last_of_train(log):
    # User 1 has ten train interactions and one test; user 2 two and one; user 3 one, which stays.
    rows = [(1, item, item) for item in range(1, 12)]
    rows += [(2, 1, 1), (2, 2, 2), (2, 3, 3), (3, 1, 1), (3, 2, 2)]
    made = log(rows, given=[0] * 10 + [2, 0, 0, 2, 0, 2])
    split = Given(Given.Config(valid_share=0.3))
    windows = split_interactions(made, split)
    assert holdout_targets(windows.valid) == {1: [8, 9, 10], 2: [2]}
    assert holdout_targets(windows.test) == {1: [11], 2: [3], 3: [2]}
    assert items_of(windows.train, 1) == [1, 2, 3, 4, 5, 6, 7]
    assert items_of(windows.train, 3) == [1]
    assert items_of(windows.test.history, 1) == list(range(1, 11))
    assert split.audit(made) == {"valid_share_of_train": 0.3}
    assert Given(Given.Config()).audit(log(rows, given=[1] * 16)) == {}


def test_impressions_next_to_a_new_validation_target_become_valid(log):
    # Rows 2 and 4 were shown in vain: 2 before the interaction that stays, 4 before the carved one.
    made = replace(
        log([(1, item, item) for item in range(1, 8)], given=[0, 0, 0, 0, 0, 0, 2]),
        roles=np.array([0, 1, 0, 1, 0, 1, 0], dtype=np.int8),
    )
    parts = Given(Given.Config()).parts(made)
    assert parts.tolist() == [TRAIN, TRAIN, TRAIN, VALID, VALID, TRAIN, TEST]


def test_kept_repeats_are_targets_once_per_window(log):
    # Item 1 is taken on days 50, 80, 90 and twice after it; item 2 is new to the user in the test window.
    rows = [(1, 1, 50 * DAY), (1, 1, 85 * DAY), (1, 3, 86 * DAY), (1, 1, 95 * DAY), (1, 1, 96 * DAY)]
    rows += [(1, 2, 97 * DAY), (2, 1, 100 * DAY)]
    split = Temporal(Temporal.Config(test=10, valid=10))
    kept, dropped = split_interactions(log(rows), split, repeats=True), split_interactions(log(rows), split)
    assert holdout_targets(kept.valid) == {1: [1, 3]}
    assert holdout_targets(kept.test) == {1: [1, 2], 2: [1]}
    assert kept.test.is_repeat.tolist() == [True, False, False]
    assert kept.valid.is_repeat.tolist() == [True, False]
    assert (kept.valid.num_repeats, kept.test.num_repeats) == (0, 1)
    assert kept.valid.repeats
    assert items_of(kept.test.history, 1) == items_of(dropped.test.history, 1) == [1, 1, 3]
    assert holdout_targets(dropped.valid) == {1: [3]}
    assert holdout_targets(dropped.test) == {1: [2], 2: [1]}
    assert not dropped.test.repeats
    assert not dropped.test.is_repeat.any()
