"""Labels, events, weights and contexts, with numbers worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.actions import HISTORY, NEGATIVE, POSITIVE, Event, distinct_contexts
from twotower.data.build_dataset import build_dataset
from twotower.data.check_tables import check_tables
from twotower.data.load_source import build_interactions
from twotower.data.sources.source import Source
from twotower.data.sources.table_files import TableFiles
from twotower.data.split_interactions import split_interactions
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.split import Split
from twotower.data.splits.temporal import Temporal
from twotower.data.tables import Tables
from twotower.data.vocabulary import Vocabulary

DAY = 86_400
EVENTS = {
    "buy": Event.Config(role="positive", weight=2.0),
    "view": Event.Config(role="history"),
    "shown": Event.Config(role="negative"),
    "noise": Event.Config(role="ignored"),
}
# User 1: views a, is shown b, buys c (train), buys d (valid), views e, is shown f, buys g (test), views h.
STORY = ["view a", "shown b", "buy c", "noise z", "buy d", "view e", "shown f", "buy g", "view h"]


def settings(**values: Any) -> TableFiles.Config:
    return TableFiles.Config(interactions_path="log.csv", **values)


def tables_of(**columns: Any) -> Tables:
    number = len(next(iter(columns.values())))
    frame = {"user_id": [1] * number, "item_id": range(1, number + 1)}
    frame["timestamp"] = [DAY * (day + 2) for day in range(number)]
    context = [name for name in columns if name not in ("label", "weight", "event", *frame)]
    return Tables(pd.DataFrame(frame | columns), context=context)


def story() -> Tables:
    words, items = zip(*(text.split() for text in STORY), strict=True)
    return check_tables(tables_of(event=words, item_id=items), config=settings(events=EVENTS))


def split_of(kind: type[Split], tables: Tables, **values: Any):  # type: ignore[no-untyped-def]
    users, items = Vocabulary.fit(tables.users["user_id"]), Vocabulary.fit(tables.items["item_id"])
    windows = split_interactions(build_interactions(tables, users, items), kind.Config(**values).build())
    return windows, lambda rows: "".join(items.ids(np.asarray(rows)))


def test_labels_are_0_or_1_or_above_a_threshold() -> None:
    tables = check_tables(tables_of(label=[1, 0, 1, 0]))
    assert tables.actions.roles is not None
    assert tables.actions.roles.tolist() == [POSITIVE, NEGATIVE, POSITIVE, NEGATIVE]
    tables = check_tables(tables_of(label=[4.0, 3.5, 5.0, 1.0]), config=settings(label_threshold=4.0))
    assert tables.actions.roles is not None
    assert tables.actions.roles.tolist() == [POSITIVE, NEGATIVE, POSITIVE, NEGATIVE]
    assert check_tables(tables_of(label=[1, 1])).actions.roles is None  # all wanted: a log as any other


@pytest.mark.parametrize(
    ("columns", "config", "said"),
    [
        ({"label": [1, 3]}, settings(), "column 'label', row 2: expected 0 or 1 (for other numbers set"),
        ({"label": [1, None]}, settings(), "column 'label', row 2: expected 0 or 1"),
        ({"label": ["good", 1]}, settings(label_threshold=1.0), "row 1: expected a number, found"),
        ({"label": [0, 0]}, settings(), "no interaction is positive"),
        ({"weight": [1, -1]}, settings(), "column 'weight', row 2: expected a number, 0 or more, found -1"),
        (
            {"event": ["buy", "byu"]},
            settings(events=EVENTS),
            "'byu' is not in data.events (buy, noise, shown",
        ),
        (
            {"event": ["buy", None]},
            settings(),
            "column 'event', row 2: expected an event type, found nothing",
        ),
        ({"weight": [1.0]}, settings(label_threshold=4.0), "data.label_threshold: the interactions have no"),
        ({"weight": [1.0]}, settings(events=EVENTS), "data.events: the interactions have no event"),
    ],
)
def test_invalid_actions_are_refused_with_their_row(
    columns: dict[str, Any], config: Source.Config, said: str
) -> None:
    with pytest.raises(InputError) as error:
        check_tables(tables_of(**columns), config=config)
    assert said in str(error.value)


def test_a_word_comes_before_a_label_and_weights_multiply() -> None:
    columns = {"label": [1, 0, None, 1], "event": ["buy", "buy", "view", "shown"], "weight": [3, 1, 5, 0.5]}
    actions = check_tables(tables_of(**columns), config=settings(events=EVENTS)).actions
    assert actions.roles is not None
    assert actions.roles.tolist() == [POSITIVE, NEGATIVE, HISTORY, NEGATIVE]
    assert actions.weights is not None
    assert actions.weights.tolist() == [6, 2, 5, 0.5]
    assert actions.event_types == ("buy", "shown", "view")
    assert actions.codes is not None
    assert actions.codes.tolist() == [1, 1, 3, 2]


def test_leave_one_out_predicts_positives_only() -> None:
    tables = story()
    assert (len(tables.interactions), tables.actions.num_ignored) == (8, 1)
    windows, names = split_of(LeaveOneOut, tables)
    assert names(windows.train.items) == "ac"
    assert names(windows.train_and_valid.items) == "acde"
    assert (names(windows.valid.target_items), names(windows.valid.history.items)) == ("d", "ac")
    assert (names(windows.test.target_items), names(windows.test.history.items)) == ("g", "acde")
    assert windows.train.example_weights is not None
    assert windows.train.example_weights.tolist() == [0, 2]  # a view is no example
    assert windows.train.is_positive.tolist() == [False, True]
    assert names(windows.train.positives.items) == "c"
    assert windows.train.impressions is not None
    assert names(windows.train.impressions.items) == "b"
    assert windows.train_and_valid.impressions is not None
    assert names(windows.train_and_valid.impressions.items) == "b"  # f was shown when the test target was
    assert windows.valid.labelled is None  # nothing was shown in vain between c and d
    labelled = windows.test.labelled
    assert labelled is not None
    assert (names(labelled.items), labelled.labels.tolist()) == ("fg", [False, True])


def test_windows_in_time_take_whatever_falls_into_them() -> None:
    windows, names = split_of(Temporal, story(), test=3.0, valid=2.0)  # the last positive is g
    assert names(windows.train.items) == "ac"
    assert (names(windows.valid.target_items), names(windows.test.target_items)) == ("d", "g")
    assert names(windows.test.history.items) == "acd"
    assert windows.test.labelled is not None
    assert names(windows.test.labelled.items) == "fg"


def test_a_view_is_no_purchase() -> None:
    """An item that was looked at before it is bought is new, and may be recommended."""
    words = ["buy", "buy", "buy", "view", "buy"]
    tables = check_tables(
        tables_of(event=words, item_id=list("abcdd"), user_id=[1] * 5), config=settings(events=EVENTS)
    )
    windows, names = split_of(LeaveOneOut, tables)
    assert names(windows.test.target_items) == "d"
    assert windows.test.num_repeats == 0
    assert names(windows.test.history.items) == "abcd"
    assert names(windows.test.history.positives.items) == "abc"


def test_an_event_of_role_train_is_an_example_with_a_weight_and_never_a_target() -> None:
    """Views train with a weight of 0.25; purchases are targets, even of an item that was viewed before."""
    events = EVENTS | {"view": Event.Config(role="train", weight=0.25)}
    words = ["view", "buy", "buy", "view", "buy"]
    tables = check_tables(
        tables_of(event=words, item_id=list("abcdd"), user_id=[1] * 5, label=[0, 1, 1, None, 1]),
        config=settings(events=events),
    )
    windows, names = split_of(LeaveOneOut, tables)
    train = windows.train_and_valid
    assert names(windows.valid.target_items) == "c"
    assert names(windows.test.target_items) == "d"
    assert windows.test.num_repeats == 0
    assert (names(train.items), names(train.positives.items)) == ("abcd", "bc")
    assert train.weights is not None
    assert train.weights.tolist() == [0.25, 2, 2, 0.25]  # the label of a view changes nothing
    assert names(train.examples.items) == "abcd"
    assert names(windows.test.history.items) == "abcd"
    plain, _ = split_of(LeaveOneOut, story())
    assert plain.train.examples.items.tolist() == plain.train.positives.items.tolist()


def test_events_of_the_latest_items_stand_where_these_do() -> None:
    windows, _ = split_of(LeaveOneOut, story())
    history = windows.test.history
    words = ["", "buy", "noise", "shown", "view"]
    events = history.last_events(np.array([1]), 5)
    assert events is not None
    assert [words[code] for code in events[0]] == ["", "view", "buy", "buy", "view"]


def test_distinct_contexts() -> None:
    frame = pd.DataFrame({"device": ["phone", "web", "phone", None, None], "hour": [1, 2, 1, 3, 3]})
    contexts = distinct_contexts(frame, ["device", "hour"])
    assert contexts is not None
    assert contexts[1].tolist() == [1, 2, 1, 3, 3]
    assert contexts[0]["hour"].tolist() == [1, 2, 3]
    assert distinct_contexts(frame, []) is None


def write_log(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    number = 400
    log = pd.DataFrame(
        {
            "user_id": rng.integers(1, 21, number),
            "item_id": rng.integers(1, 41, number),
            "timestamp": np.sort(rng.integers(DAY, 100 * DAY, number)),
            "stars": rng.integers(1, 6, number),
            "importance": rng.integers(0, 3, number),
            "what": rng.choice(["buy", "view"], number),
            "device": rng.choice(["phone", "web"], number),
        }
    )
    log.to_csv(folder / "log.csv", index=False)
    return {
        "interactions_path": str(folder / "log.csv"),
        "label_column": "stars",
        "label_threshold": 3.0,
        "weight_column": "importance",
        "event_column": "what",
        "events": {"buy": {}, "view": {"role": "history"}},
        "context_columns": ["device"],
    }


def test_files_with_all_of_it_are_stored_and_opened(tmp_path: Path) -> None:
    arguments = write_log(tmp_path)
    source = TableFiles.Config(**arguments).build()
    split = Temporal.Config(test=20.0, valid=20.0).build()
    dataset = build_dataset(source, split, tmp_path / "cache")
    log = pd.read_csv(arguments["interactions_path"])
    bought, liked = log["what"] == "buy", log["stars"] >= 3
    assert dataset.audit["positive_interactions"] == (bought & liked).sum()
    assert dataset.audit["impressions_without_click"] == (bought & ~liked).sum()
    assert dataset.audit["history_only"] == (~bought).sum()
    assert dataset.audit["event_buy"] == bought.sum()
    assert dataset.events == ["buy", "view"]
    assert dataset.context_table is not None
    assert sorted(dataset.context_table["device"]) == ["phone", "web"]
    for holdout in (dataset.valid, dataset.test):
        assert holdout.labelled is not None
        assert holdout.context is not None
        assert len(holdout.context) == len(holdout.users)
        assert 0 < holdout.labelled.labels.mean() < 1
    assert dataset.train.impressions is not None
    assert dataset.train.impressions.weights is not None
    again = build_dataset(source, split, tmp_path / "cache")
    assert again.fingerprint == dataset.fingerprint
    changed = write_log(tmp_path) | {"label_threshold": 4.0}
    other = build_dataset(TableFiles.Config(**changed).build(), split, tmp_path / "cache")
    assert other.fingerprint != dataset.fingerprint


def test_properties_of_a_source_before_reading(tmp_path: Path) -> None:
    config = TableFiles.Config(**write_log(tmp_path))
    assert config.gives_negatives()
    assert config.events_of_histories() == ["buy", "view"]
    columns = config.columns()
    assert columns is not None
    assert columns["context"] == {"device"}
    plain = TableFiles.Config(interactions_path=config.interactions_path)
    assert not plain.gives_negatives()
    assert plain.events_of_histories() == []
    assert isinstance(plain, Source.Config)
