"""Windows of `split=rolling`: cutoffs by hand, and rules that hold for any log."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.interactions import Interactions
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.rolling import Rolling
from twotower.data.splits.split import NONE, TEST, TRAIN, VALID
from twotower.data.splits.temporal import NEVER, Temporal

DAY = 86_400
NAMES = {NONE: "-", TRAIN: "t", VALID: "v", TEST: "e"}


def parts_of(made, window, **settings):
    """Return the parts of a window as one letter for each interaction: train, valid, tEst and none."""
    split = Rolling.Config(window=window, **settings).build().resolve(made)
    return "".join(NAMES[part] for part in split.assign(made).tolist())


# Ten interactions of one user, at the end of days 1 to 10.
DAYS = {"valid": 1, "test": 2, "num_windows": 3}


@pytest.mark.parametrize(
    ("window", "more", "expected"),
    [
        (3, {}, "tttttttvee"),
        (None, {}, "tttttttvee"),  # the newest
        (2, {}, "tttttvee--"),
        (1, {}, "tttvee----"),
        (2, {"step": 1}, "ttttttvee-"),
        (3, {"gap": 1}, "ttttt-v-ee"),
        (1, {"gap": 1}, "t-v-ee----"),
        (2, {"history_length": 3, "num_windows": 2}, "----tttvee"),
        (1, {"history_length": 3, "num_windows": 2}, "--tttvee--"),
        (2, {"gap": 1, "step": 1, "history_length": 2}, "--tt-v-ee-"),
        (2, {"unit": "interactions"}, "tttttvee--"),
        (1, {"unit": "interactions", "gap": 1}, "t-v-ee----"),
        (2, {"unit": "share", "test": 0.2, "valid": 0.1}, "tttttvee--"),
        (2, {"unit": "share", "test": 0.2, "valid": 0.1, "step": 0.1}, "ttttttvee-"),
    ],
)
def test_windows_by_hand(log, window, more, expected):
    made = log([(1, item, item * DAY) for item in range(1, 11)])
    assert parts_of(made, window, **(DAYS | more)) == expected


def test_a_cutoff_never_separates_equal_times_and_the_later_part_has_them(log):
    made = log([(1, item, time) for item, time in enumerate([1, 2, 3, 3, 3, 4, 5, 6, 7, 8], 1)])
    settings = {"unit": "interactions", "valid": 2, "test": 2, "num_windows": 2}
    assert parts_of(made, 2, **settings) == "ttttttvvee"
    # Of the last 6 and 4 interactions, the earliest times are 3 and 5: three have the time 3.
    assert parts_of(made, 1, **settings) == "ttvvvvee--"


def test_a_log_that_is_too_short_says_how_many_windows_fit(log):
    made = log([(1, item, item * DAY) for item in range(1, 11)])
    for settings, number in (
        (DAYS | {"num_windows": 5}, 4),  # of 9 days, 4 windows of 2 days and 1 day of valid leave 1 to train
        (DAYS | {"num_windows": 9, "step": 1}, 7),
        (DAYS | {"num_windows": 4, "history_length": 3}, 2),
        (DAYS | {"num_windows": 4, "unit": "interactions", "gap": 1}, 3),
        (DAYS | {"valid": 10}, 0),
    ):
        with pytest.raises(InputError, match=f"only {number} of {settings['num_windows']} windows fit"):
            Rolling.Config(**settings).build().resolve(made)
    holiday = log([(1, item, day * DAY) for item, day in enumerate([1, 2, 3, 4, 8, 9, 10], 1)])
    with pytest.raises(InputError, match=r"only 1 of 2 windows fit .* with 7 interactions"):
        Rolling.Config(valid=2, test=2, num_windows=2).build().resolve(holiday)


def test_settings_that_contradict_one_another_are_named():
    def problems(**settings):
        return [key for key, _ in Rolling.Config(**settings).problems()]

    assert problems() == []
    assert problems(window=5) == ["window"]
    assert problems(unit="share", test=0.5, valid=0.5) == [""]
    assert list(Rolling.Config(num_windows=3).windows()) == [1, 2, 3]
    assert list(Rolling.Config(num_windows=3, window=3).windows()) == []


@st.composite
def rolling_logs(draw):
    rows = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 40))
    lengths = st.integers(1, 4)
    settings = {"valid": draw(lengths), "test": draw(lengths), "num_windows": draw(st.integers(1, 4))}
    settings |= {"gap": draw(st.integers(0, 2)), "unit": draw(st.sampled_from(["days", "interactions"]))}
    made = sorted(draw(st.lists(rows, min_size=8, max_size=60)), key=lambda row: (row[0], row[2]))
    users, items, days = np.array(made).T
    return Interactions.from_rows(users, items, days * DAY, 4, num_items=9), settings


@hypothesis_settings(max_examples=100, deadline=None)
@given(drawn=rolling_logs())
def test_windows_of_any_log_move_forward_and_their_tests_are_disjoint(drawn):
    made, settings = drawn
    config = Rolling.Config(**settings)
    try:
        resolved = [config.model_copy(update={"window": n}).build().resolve(made) for n in config.windows()]
    except InputError:
        assume(False)
    times, tests, ends = np.asarray(made.times), [], []
    for split in resolved:
        parts = split.assign(made)
        last = {part: times[parts == part].max() for part in (TRAIN, VALID)}
        first = {part: times[parts == part].min() for part in (VALID, TEST)}
        assert last[TRAIN] < first[VALID] <= last[VALID] < first[TEST]
        assert split.cutoffs(made)[0] <= first[VALID]
        assert (parts[times >= (split.end or NEVER)] == NONE).all()
        tests.append(set(np.flatnonzero(parts == TEST).tolist()))
        ends.append(last[TRAIN])
        for day in np.unique(times):
            assert len(set(parts[times == day].tolist())) == 1
    assert ends == sorted(ends)
    assert sum(map(len, tests)) == len(set.union(*tests))
    if not settings["gap"]:
        newest = {key: settings[key] for key in ("valid", "test", "unit")}
        assert (resolved[-1].assign(made) == Temporal.Config(**newest).build().assign(made)).all()


def test_the_data_of_an_older_window_is_that_of_the_log_at_its_end(tmp_path):
    generator = np.random.default_rng(3)
    rows = {"user_id": generator.integers(1, 40, 600), "item_id": generator.integers(1, 200, 600)}
    log = pd.DataFrame(rows | {"timestamp": DAY * generator.integers(100, 160, 600)})
    late = log["timestamp"] >= 150 * DAY
    log.loc[late, "item_id"] += 100  # 200 to 299 occur only late
    newest = log["timestamp"].max()
    paths = {}
    for name, rows in {"whole": log, "early": log[log["timestamp"] <= newest - 10 * DAY]}.items():
        paths[name] = tmp_path / f"{name}.csv"
        rows.to_csv(paths[name], index=False)
    lengths = {"valid": 8, "test": 9, "step": 10}
    sources = {name: TableFiles.Config(interactions_path=str(path)).build() for name, path in paths.items()}
    windows = Rolling.Config(**lengths, num_windows=2, window=1).build()
    older = build_dataset(sources["whole"], windows, tmp_path)
    # A cutoff in days counts from the last interaction; here both logs end with one on their last day.
    cut = build_dataset(sources["early"], Temporal.Config(valid=8, test=9).build(), tmp_path)
    assert older.fingerprint == cut.fingerprint
    assert (
        older.items.values.max()
        < 300
        == 1
        + build_dataset(
            sources["whole"], Rolling.Config(**lengths, num_windows=2).build(), tmp_path
        ).items.values.max()
    )
    assert older.audit["window"] == "1 of 2"
    assert older.audit["future_leak_rate"] == 0
    assert set(older.valid.request_times) == {newest + 1 - 27 * DAY}
    assert set(older.test.request_times) == {newest + 1 - 19 * DAY}
