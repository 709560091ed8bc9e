import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.interactions import Interactions

NUM_USERS = 4


def history_of(rows):
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    return Interactions.from_rows(
        *(np.array([row[k] for row in rows], dtype=np.int64) for k in range(3)), NUM_USERS
    )


interactions = st.lists(
    st.tuples(st.integers(1, NUM_USERS), st.integers(1, 9), st.integers(1, 20)), max_size=30
)
users = st.lists(st.integers(0, NUM_USERS), max_size=6).map(lambda rows: np.array(rows, dtype=np.int64))


def of_user(rows, user):
    return [row[1:] for row in sorted(rows, key=lambda row: (row[0], row[2])) if row[0] == user]


@settings(max_examples=50, deadline=None)
@given(interactions, users, st.integers(1, 5))
def test_last_is_right_aligned_and_padded_with_0(rows, asked, length):
    items, times = history_of(rows).last(asked, length)
    assert items.shape == times.shape == (len(asked), length)
    assert items.dtype == times.dtype == np.int64
    for user, item_row, time_row in zip(asked, items.tolist(), times.tolist(), strict=True):
        expected = of_user(rows, user)[-length:]
        padding = [0] * (length - len(expected))
        assert item_row == padding + [item for item, _ in expected]
        assert time_row == padding + [time for _, time in expected]


@settings(max_examples=50, deadline=None)
@given(interactions, users)
def test_flat_gives_all_interactions_of_the_users(rows, asked):
    positions, items = history_of(rows).flat(asked)
    expected = [(position, item) for position, user in enumerate(asked) for item, _ in of_user(rows, user)]
    assert list(zip(positions.tolist(), items.tolist(), strict=True)) == expected


def test_by_hand():
    history = history_of([(1, 4, 1), (1, 5, 2), (1, 6, 3), (3, 7, 4)])
    assert history.offsets.tolist() == [0, 0, 3, 3, 4, 4]
    assert history.counts().tolist() == [0, 3, 0, 1, 0]
    assert history.user_rows().tolist() == [1, 1, 1, 3]
    assert (len(history), history.num_users) == (4, 4)
    assert history.last(np.array([1, 0, 3]), 2)[0].tolist() == [[5, 6], [0, 0], [0, 7]]
