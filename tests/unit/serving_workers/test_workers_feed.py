"""Whoever follows a store step by step has what whoever made every change has."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.feed import Feed


class Catalogue:
    """As much of a retriever as changes are about; an event is of an item that there was."""

    def __init__(self) -> None:
        self.known: set[Any] = set()
        self.offered: dict[Any, Any] = {}
        self.profiles: dict[Any, Any] = {}
        self.events: set[EventAdded] = set()

    def takes(self, change: Change) -> bool:
        match change:
            case ItemRemoved():
                return change.item_id in self.offered
            case UserForgotten():
                return change.user_id in self.profiles
            case EventAdded():
                return change.item_id in self.known
        return True

    def make(self, change: Change) -> None:
        match change:
            case ItemPut():
                self.known.add(change.item_id)
                self.offered[change.item_id] = change.features
            case ItemRemoved():
                self.offered.pop(change.item_id, None)
            case UserPut():
                self.profiles[change.user_id] = change.features
            case UserForgotten():
                self.profiles.pop(change.user_id, None)
            case EventAdded():
                assert change.item_id in self.known
                self.events.add(change)


IDS = st.integers(1, 3)
FEATURES = st.fixed_dictionaries({"price": st.integers(0, 9)})
CHANGES = st.one_of(
    st.builds(ItemPut, IDS, FEATURES),
    st.builds(ItemRemoved, IDS),
    st.builds(UserPut, IDS, FEATURES),
    st.builds(UserForgotten, IDS),
    st.builds(EventAdded, IDS, IDS, st.integers(1, 3), st.none() | st.just("seen")),
)


@settings(max_examples=20)
@given(steps=st.lists(CHANGES | st.none(), max_size=30))  # None: the follower looks
def test_following_in_steps_of_any_length_leads_to_the_same(steps: list[Change | None]) -> None:
    with TemporaryDirectory() as folder, closing(ChangeStore(Path(folder) / "live.db")) as store:
        store.index_numbers()
        made, followed, number = Catalogue(), Catalogue(), 0
        with closing(Feed(store.path)) as feed:
            for change in [*steps, None]:
                if change is None:
                    number, changes = feed.since(number)
                    assert number == store.last == feed.last
                    for each in changes:
                        followed.make(each)
                elif made.takes(change):
                    store.commit([change])
                    made.make(change)
        assert vars(followed) == vars(made)


def test_a_feed_says_once_that_there_is_something_new(tmp_path: Path) -> None:
    with closing(ChangeStore(tmp_path / "live.db")) as store, closing(Feed(store.path)) as feed:
        assert not feed.is_newer()
        store.commit([ItemPut(1, {}), ItemPut(2, {})])
        assert feed.is_newer()
        assert not feed.is_newer()
        assert feed.since(1) == (2, [ItemPut(2, {})])
        assert list(feed.changes()) == [ItemPut(1, {}), ItemPut(2, {})]
        assert feed.reached == 2


def test_the_latest_changes_are_found_by_an_index(tmp_path: Path) -> None:
    with closing(ChangeStore(tmp_path / "live.db")) as store:
        store.index_numbers()
        store.commit([ItemPut(1, {})])
    with closing(ChangeStore(tmp_path / "live.db")) as again:  # which is as sound a store as it was
        again.index_numbers()
        assert list(again.changes()) == [ItemPut(1, {})]
        plan = again._connection.execute(
            "EXPLAIN QUERY PLAN SELECT item_id FROM puts WHERE number > 7 ORDER BY number"
        ).fetchall()
    assert "puts_by_number" in plan[0][-1]
