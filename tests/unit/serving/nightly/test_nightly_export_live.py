"""Live changes of a store in the next night's files: nothing lost, nothing twice, all counted."""

import contextlib
import datetime
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.config.errors import InputError
from twotower.data.sources.source import Source
from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.nightly.live_export import export_live, is_exported

T = 1_717_156_800  # 2024-05-31T12:00:00Z
LOG = f"who,note,what,when\nann,x,i1,{T}\nbob,,i2,{T + 10}\nann,y,i2,{T + 20}\n"
ITEMS = "what,name,price,tags,internal\ni1,RED CUP,1.50,home|gift,7\ni2,LAMP,2,,8\n"
EVENTS = [
    EventAdded("ann", "i1", T),  # in the log
    EventAdded("ann", "i1", T + 60),
    EventAdded("cem", "i3", T + 61),
    EventAdded("bob", "i2", T + 10),  # in the log
    EventAdded("bob", "i1", T + 10),
]
PUTS = [
    ItemPut("i3", {"name": "TOY, SMALL", "price": 3, "tags": ["kids", "gift"]}),
    ItemPut("i1", {"name": "RED CUP", "price": 1.5, "tags": ["home", "gift"]}),  # as it was
    ItemPut("i2", {"price": 2.25}),
]


def categories(*columns):
    target = "twotower.model.features.categorical.Categorical"
    return {column: {"_target_": target, "column": column, "dim": 4} for column in columns}


def settings(folder, **data):
    return {
        "features": {"user": categories("age", "city"), "item": categories("name", "price", "tags")},
        "data": {
            "_target_": "twotower.data.sources.table_files.TableFiles",
            "interactions_path": str(folder / "log.csv"),
            "items_path": str(folder / "items.csv"),
            "user_column": "who",
            "item_column": "what",
            "timestamp_column": "when",
            "tag_columns": ["tags"],
            "item_features": ["name", "price", "tags"],
            "item_label": "name",
            **data,
        },
    }


@pytest.fixture
def place(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text(ITEMS)
    return tmp_path


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(ChangeStore(tmp_path / "live.sqlite")) as kept:
        kept.commit([*PUTS, *EVENTS, ItemRemoved("i1")])
    return tmp_path / "live.sqlite"


def lines(path):
    return path.read_text().splitlines()


def test_three_exports_neither_lose_nor_repeat_events(place, store):
    assert not is_exported(settings(place), store)
    counts = export_live(settings(place), store, place / "night-1", {})
    assert lines(place / "night-1" / "interactions.csv") == [
        "who,note,what,when",
        f"ann,,i1,{T + 60}",
        f"cem,,i3,{T + 61}",
        f"bob,,i1,{T + 10}",
    ]
    assert lines(place / "night-1" / "items.csv") == [
        "what,name,price,tags,internal",
        "i1,RED CUP,1.5,home|gift,7",
        "i2,,2.25,,8",
        'i3,"TOY, SMALL",3,kids|gift,',
    ]
    assert counts.data == {
        "interactions_path": [str(place / "log.csv"), str(place / "night-1" / "interactions.csv")],
        "items_path": [str(place / "items.csv"), str(place / "night-1" / "items.csv")],
    }
    first = settings(place, **counts.data)
    tables = Source.Config.from_spec(first["data"], "data").build().load()
    assert len(tables.interactions) == 6
    assert tables.items.to_numpy().tolist() == [
        ["i1", "RED CUP", 1.5, ["home", "gift"]],
        ["i2", pytest.approx(float("nan"), nan_ok=True), 2.25, pytest.approx(float("nan"), nan_ok=True)],
        ["i3", "TOY, SMALL", 3.0, ["kids", "gift"]],
    ]
    assert is_exported(first, store)
    assert counts.message(place / "night-1") == (
        "ok  3 of 5 live events added (2 were in the log), 3 -> 6 rows; items: 1 new, 2 replaced; "
        f"1 removed items stay in the table  {place / 'night-1'}"
    )
    assert json.loads((place / "night-1" / "exported.json").read_text())["events_added"] == 3
    with contextlib.closing(ChangeStore(store)) as running:  # which the service has open
        running.commit([EventAdded("dan", "i2", T + 99), ItemPut("i3", {"name": "TOY", "price": 4})])
        second = export_live(first, store, place / "night-2", {})
        assert not is_exported(first, store)
        running.commit([EventAdded("dan", "i2", T + 100)])  # and goes on to write to
    assert (second.rows_before, second.events, second.events_in_log, second.events_added) == (6, 6, 5, 1)
    assert lines(place / "night-2" / "interactions.csv")[-1] == f"dan,,i2,{T + 99}"
    assert "i3,TOY,4,," in lines(place / "night-2" / "items.csv")
    (place / "log.csv").write_text(LOG + f"eve,z,i1,{T + 200}\n")  # the user's own rows
    assert not is_exported(settings(place, **second.data), store)
    (place / "log.csv").write_text(LOG)
    third = export_live(settings(place, **second.data), store, place / "night-3", {})
    assert (third.rows_before, third.events_added, third.rows) == (7, 1, 8)
    assert third.items == {"added": 0, "replaced": 3}
    assert (place / "night-3" / "items.csv").read_bytes() == (place / "night-2" / "items.csv").read_bytes()
    assert third.data["interactions_path"] == [
        str(place / "log.csv"),
        str(place / "night-3" / "interactions.csv"),
    ]
    # a night that was left out, or a log of somebody's who logs the events too, makes no difference
    late = export_live(settings(place), store, place / "late", {})
    assert sorted(lines(place / "late" / "interactions.csv")) == sorted(
        lines(place / "night-3" / "interactions.csv")
    )
    assert late.events_added == 5
    assert ((place / "log.csv").read_text(), (place / "items.csv").read_text()) == (LOG, ITEMS)


def test_profiles_are_rows_of_the_users(place):
    (place / "users.csv").write_text("who,age,city\nann,30,ROME\nbob,,\n")
    with contextlib.closing(ChangeStore(place / "live.sqlite")) as kept:
        profiles = {"ann": {"age": 31, "city": "ROME"}, "eve": {"city": "BONN"}, "bob": {}, "fay": {"age": 1}}
        kept.commit([UserPut(user, profile) for user, profile in profiles.items()])
        kept.commit([UserForgotten("fay")])
    run = settings(place, users_path=str(place / "users.csv"))
    counts = export_live(run, place / "live.sqlite", place / "night", {})
    assert lines(place / "night" / "users.csv") == ["who,age,city", "ann,31,ROME", "bob,,", "eve,,BONN"]
    assert (counts.users, counts.items) == ({"added": 1, "replaced": 2}, {"added": 0, "replaced": 0})
    assert counts.data == {  # a table without changes has no file
        "interactions_path": [str(place / "log.csv")],
        "items_path": [str(place / "items.csv")],
        "users_path": [str(place / "users.csv"), str(place / "night" / "users.csv")],
    }


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_no_feature_reads_keep_their_values(kind, place):
    (place / "users.csv").write_text("who,age,city\nann,30,ROME\n")
    for name in ("items", "users") if kind == "parquet" else ():
        pd.read_csv(place / f"{name}.csv").to_parquet(place / f"{name}.parquet", index=False)
    paths = {name: str(place / f"{name}.{kind}") for name in ("items", "users")}
    with contextlib.closing(ChangeStore(place / "live.sqlite")) as kept:
        kept.commit([ItemPut("i1", {"internal": 9}), ItemPut("i2", {"price": 3}), UserPut("ann", {})])
    run = settings(place, item_features=None, users_path=paths["users"])
    run["features"] = {"user": categories("age"), "item": categories("price")}
    export_live(run, place / "live.sqlite", place / "night", paths)
    tables = {
        name: (pd.read_csv if kind == "csv" else pd.read_parquet)(place / "night" / f"{name}.{kind}")
        for name in paths
    }
    # The features read the age and the price: without a value in the request these are empty.
    assert tables["items"].astype(object).where(tables["items"].notna(), None).to_numpy().tolist() == [
        ["i1", "RED CUP", None, "home|gift", 9],
        ["i2", "LAMP", 3, None, 8],
    ]
    assert tables["users"]["city"].tolist() == ["ROME"]
    assert tables["users"]["age"].isna().all()


def test_several_files_of_the_log_are_read(place):
    (place / "more.csv").write_text(f"who,note,what,when\nann,,i1,{T + 60}\n")
    with contextlib.closing(ChangeStore(place / "live.sqlite")) as kept:
        kept.commit(EVENTS)
    log = [str(place / "log.csv"), str(place / "more.csv")]
    counts = export_live(settings(place, interactions_path=log), place / "live.sqlite", place / "night", {})
    assert (counts.rows_before, counts.events_added) == (4, 2)
    assert counts.data["interactions_path"] == [*log, str(place / "night" / "interactions.csv")]


@pytest.mark.parametrize("unit", ["ms", "iso"])
def test_units_and_parquet(place, store, unit):
    frame = pd.read_csv(place / "log.csv")
    frame["when"] = frame["when"] * 1000 + 999 if unit == "ms" else pd.to_datetime(frame["when"], unit="s")
    frame.to_parquet(place / "log.parquet")
    items = pd.read_csv(place / "items.csv")
    items["tags"] = [["home", "gift"], None]
    items.to_parquet(place / "items.parquet", index=False)
    paths = {
        name: str(place / f"{file}.parquet") for name, file in (("interactions", "log"), ("items", "items"))
    }
    counts = export_live(settings(place, timestamp_unit=unit), store, place / "night", paths)
    assert (counts.events_added, counts.events_in_log, counts.rows) == (3, 2, 6)
    new = pq.read_table(place / "night" / "interactions.parquet").to_pylist()
    when = T + 60
    expected = when * 1000 if unit == "ms" else pd.Timestamp(when, unit="s").to_pydatetime()
    assert [(row["who"], row["note"], row["what"]) for row in new] == [
        ("ann", None, "i1"),
        ("cem", None, "i3"),
        ("bob", None, "i1"),
    ]
    assert new[0]["when"] == expected
    rows = pq.read_table(place / "night" / "items.parquet").to_pylist()
    assert rows[1] == {"what": "i2", "name": None, "price": 2.25, "tags": None, "internal": 8}
    assert rows[2]["tags"] == ["kids", "gift"]
    assert counts.items == {"added": 1, "replaced": 2}
    run = settings(place, timestamp_unit=unit, **counts.data)
    assert export_live(run, store, place / "again", {}).events_added == 0
    for name in ("interactions", "items"):
        assert pq.read_table(place / "again" / f"{name}.parquet").equals(
            pq.read_table(place / "night" / f"{name}.parquet")
        )
    tables = Source.Config.from_spec(run["data"], "data").build().load()
    assert (len(tables.interactions), tables.items["item_id"].tolist()) == (6, ["i1", "i2", "i3"])


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("ms", "UTC"), pa.date32()], ids=str)
def test_dates_of_live_items_enter_a_column_of_dates(kind, place):
    released = pa.array([datetime.date(2024, 5, 31), None]).cast(pa.timestamp("us")).cast(kind)
    pq.write_table(pa.table({"what": ["i1", "i2"], "released": released}), place / "items.parquet")
    with contextlib.closing(ChangeStore(place / "live.sqlite")) as kept:
        kept.commit([ItemPut("i2", {"released": "2024-05-31"}), ItemPut("i3", {"released": None})])
    run = settings(place, item_features=["released"], item_label=None, tag_columns=[])
    export_live(run, place / "live.sqlite", place / "night", {"items": str(place / "items.parquet")})
    table = pq.read_table(place / "night" / "items.parquet")
    assert table.schema.field("released").type == kind
    assert table["released"].to_pylist() == [released[0].as_py(), None]


def test_live_numbers_enter_a_categorical_column_of_numbers(place):
    codes = pa.array([7, 9]).dictionary_encode()
    pq.write_table(pa.table({"what": ["i1", "i2"], "brand": codes}), place / "items.parquet")
    with contextlib.closing(ChangeStore(place / "live.sqlite")) as kept:
        kept.commit([ItemPut("i2", {"brand": 7}), ItemPut("i3", {"brand": 8})])
    run = settings(place, item_features=["brand"], item_label=None, tag_columns=[])
    export_live(run, place / "live.sqlite", place / "night", {"items": str(place / "items.parquet")})
    assert pq.read_table(place / "night" / "items.parquet")["brand"].to_pylist() == [7, 8]


def test_lists_of_live_items_enter_columns_of_lists_and_of_texts(place):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), 2)
    pq.write_table(
        pa.table({"what": ["i1"], "v": vectors, "genres": ["['a', 'b']"]}), place / "items.parquet"
    )
    with contextlib.closing(ChangeStore(place / "live.sqlite")) as kept:
        kept.commit([ItemPut("i3", {"v": [3.0, 4.5], "genres": ["a|b", "ü"]})])
    run = settings(place, item_features=["v", "genres"], item_label=None, tag_columns=[])
    export_live(run, place / "live.sqlite", place / "night", {"items": str(place / "items.parquet")})
    new = pq.read_table(place / "night" / "items.parquet").to_pylist()[-1]
    assert new == {"what": "i3", "v": [3.0, 4.5], "genres": '["a|b", "ü"]'}


def test_labels_weights_and_types_of_events_are_filled_in(place, store):
    log = LOG.replace("note", "stars,weight,action").replace(",x,", ",4,1,buy,").replace(",y,", ",1,1,view,")
    (place / "log.csv").write_text(log.replace("bob,,", "bob,5,2,buy,"))
    data = {
        "label_column": "stars",
        "label_threshold": 4.0,
        "weight_column": "weight",
        "event_column": "action",
    }
    buy = {"buy": {"role": "positive"}, "view": {"role": "history"}}
    export_live(settings(place, **data, events=buy), store, place / "one", {})
    assert lines(place / "one" / "interactions.csv")[1] == f"ann,4,1,buy,i1,{T + 60}"
    both = {"view": {"role": "positive"}, "buy": {"role": "positive"}}
    export_live(settings(place, **data, events=both), store, place / "two", {})
    assert lines(place / "two" / "interactions.csv")[1] == f"ann,4,1,view,i1,{T + 60}"


def test_an_event_has_its_own_type(place, tmp_path):
    log = LOG.replace("note", "action").replace(",x,", ",buy,").replace(",y,", ",view,")
    (place / "log.csv").write_text(log.replace("bob,,", "bob,buy,"))
    roles = {"buy": {"role": "positive"}, "view": {"role": "history"}, "cart": {"role": "negative"}}
    chosen = settings(place, event_column="action", events=roles)
    store = tmp_path / "words.db"
    with contextlib.closing(ChangeStore(store)) as words:
        words.commit(
            [EventAdded("ann", "i1", T, word) for word in ("buy", "cart", None)]
        )  # buy is in the log
        words.commit([EventAdded("ann", "i1", T + 9, word) for word in ("view", "cart", None)])
    none = {"buy": {"role": "history"}, "view": {"role": "history"}, "cart": {"role": "negative"}}
    with pytest.raises(InputError, match="events without a type"):
        export_live(settings(place, event_column="action", events=none), store, place / "no", {})
    counts = export_live(chosen, store, place / "night", {})
    assert (counts.events_in_log, counts.events_added) == (2, 4)
    assert lines(place / "night" / "interactions.csv")[1:] == [
        *(
            f"ann,{word},i1,{time}"
            for word, time in (("cart", T), ("view", T + 9), ("cart", T + 9), ("buy", T + 9))
        )
    ]
    again = settings(place, **{"event_column": "action", "events": roles} | counts.data)
    assert export_live(again, store, place / "again", {}).events_added == 0
    with pytest.raises(InputError, match="the store has events of type"):
        export_live(settings(place), store, place / "none", {})


def test_refused_exports_leave_no_files(place, store):
    (place / "there").mkdir()
    synthetic = {"data": {"_target_": "twotower.data.sources.synthetic.Synthetic"}}
    with contextlib.closing(ChangeStore(place / "odd.sqlite")) as odd:
        odd.commit([ItemPut("i1", {"name": "a", "price": "cheap"})])
    items = pd.DataFrame({"what": ["i1", "i2"], "name": ["a", "b"], "price": [1, 2]})
    items.to_parquet(place / "items.parquet")
    typed = {
        "items_path": str(place / "items.parquet"),
        "item_features": ["name", "price"],
        "tag_columns": [],
    }
    kept = set(place.iterdir())
    for run, at, out, paths, message in [
        ({}, store, "there", {}, "there: exists, and is never overwritten"),
        ({}, place / "no.sqlite", "out", {}, "no.sqlite: there is no store of live changes"),
        ({}, place / "log.csv", "out", {}, "log.csv: not readable as a store"),
        (synthetic, store, "out", {}, "it was trained on Synthetic, whose log is fixed"),
        ({}, store, "out", {"interactions": str(place / "gone.csv")}, "there is no file"),
        ({"split_column": "note"}, store, "out", {}, r"column of splits .note."),
        (
            {"item_features": ["name"]},
            store,
            "out",
            {},
            "items.csv: no column 'price', but the live item 'i3' has",
        ),
        (typed, place / "odd.sqlite", "out", {}, "a live value does not fit its column's type"),
    ]:
        given = run if run is synthetic else settings(place, **run)
        with pytest.raises(InputError, match=message):
            export_live(given, at, place / out, paths)
        assert {path for path in place.iterdir() if not path.name.endswith(("-wal", "-shm"))} == kept


def test_event_types_that_the_log_codes_as_numbers_are_written_as_numbers(place, tmp_path):
    log = pd.DataFrame({"who": ["ann"], "what": ["i1"], "when": [T], "action": [1]})
    log.to_parquet(place / "LOG.PARQUET")
    with contextlib.closing(ChangeStore(tmp_path / "words.sqlite")) as kept:
        kept.commit([EventAdded("bob", "i1", T + 1, "2"), EventAdded("bob", "i2", T + 2)])
    data = {"interactions_path": str(place / "LOG.PARQUET"), "event_column": "action"}
    events = {"1": {"role": "positive"}, "2": {"role": "history"}}
    export_live(settings(place, **data, events=events), tmp_path / "words.sqlite", place / "night", {})
    assert pd.read_parquet(place / "night" / "interactions.parquet")["action"].tolist() == [2, 1]
