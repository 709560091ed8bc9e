"""`twotower init` on files as people have them: what it takes each column for, and what it asks.

The last tests are of five logs of kinds that people have: roles and kinds by values as well as by names.
"""

import gzip
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from twotower.commands import conf
from twotower.commands.compose import compose, load_settings
from twotower.commands.entry_points.init import answer
from twotower.commands.init import sample
from twotower.config.errors import InputError

DAY = 86_400
NUM_ROWS, NUM_USERS, NUM_ITEMS = 400, 30, 130
RNG = np.random.default_rng(0)
USERS, ITEMS = RNG.integers(1, 30, 400), RNG.integers(1, 40, 400)
SECONDS = 1_600_000_000 + np.sort(RNG.integers(0, 300 * DAY, 400))
ISO = pd.Series(SECONDS).map(lambda second: str(np.datetime64(int(second), "s")))


def log(user: str, item: str, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({user: USERS, item: ITEMS, **columns})


def csv(frame: pd.DataFrame, **arguments: Any) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n", **arguments).encode()


EVENTS = np.array(["view", "view", "cart", "purchase"])[RNG.integers(0, 4, 400)]
ITEM_TABLE = pd.DataFrame(
    {
        "artikel_nr": range(1, 40),
        "Bezeichnung": [f"Tasse Nummer {n} mit Henkel" for n in range(1, 40)],
        "Preis (EUR)": [f"{n},50" for n in range(1, 40)],
        "Warengruppe": ["Küche", "Bad", "Flur"] * 13,
        "Lager": [n * 1.5 for n in range(1, 40)],
        "EAN": [f"40{n:011d}" for n in range(1, 40)],
        "leer": [""] * 39,
    }
)

STRANGE: dict[str, tuple[dict[str, bytes], list[str], dict[str, Any]]] = {
    "semicolons and German names": (
        {
            "log.csv": csv(log("Kunden-Nr", "artikel_nr", Zeitpunkt=ISO, Menge=1), sep=";"),
            "artikel.csv": csv(ITEM_TABLE, sep=";"),
        },
        [],
        {
            "user_column": "Kunden-Nr",
            "item_column": "artikel_nr",
            "timestamp_column": "Zeitpunkt",
            "timestamp_unit": "iso",
            "items_path": "artikel.csv",
            "item_label": "Bezeichnung",
            "separator": ";",
        },
    ),
    "tabs, milliseconds and a mark of the byte order": (
        {"log.tsv": b"\xef\xbb\xbf" + csv(log("userId", "movieId", ts=SECONDS * 1000), sep="\t")},
        [],
        {"user_column": "userId", "item_column": "movieId", "timestamp_unit": "ms", "separator": "\\t"},
    ),
    "events and a context": (
        {
            "log.csv": csv(
                log("visitorid", "itemid", event=EVENTS, device=["phone", "desktop"] * 200, time=SECONDS)
            )
        },
        [],
        {
            "event_column": "event",
            "events": {
                "view": {"role": "train", "weight": 0.2},
                "cart": {"role": "history"},
                "purchase": {"role": "positive"},
            },
            "context_columns": ["device"],
        },
    ),
    "clicks and a day": (
        {"log.csv": csv(log("customer_id", "article_id", clicked=ITEMS % 2, ts=ISO.str[:10]))},
        [],
        {"label_column": "clicked", "timestamp_column": "ts", "timestamp_unit": "iso"},
    ),
    "a split of its own": (
        {
            "log.csv": csv(
                log("uid", "sku", ts=SECONDS, split=["train"] * 300 + ["valid"] * 50 + ["test"] * 50)
            )
        },
        [],
        {"split_column": "split"},
    ),
    "names that say nothing": (
        {"log.csv.gz": gzip.compress(csv(log("a", "b", c=SECONDS)))},
        ["--user", "a", "--item", "b", "--time", "c"],
        {"user_column": "a", "item_column": "b", "timestamp_column": "c", "timestamp_unit": "s"},
    ),
    "texts of several lines": (
        {"log.csv": csv(log("user", "item", review="good,\n\nand\ncheap", ts=SECONDS))},
        [],
        {"user_column": "user", "item_column": "item", "timestamp_column": "ts", "separator": None},
    ),
    "names of the history encoder": (
        {
            "log.csv": csv(log("user", "item", History=["long", "short"] * 200, ts=SECONDS)),
            "users.csv": csv(pd.DataFrame({"user": range(1, 30), "last_item": ["a"] * 14 + ["b"] * 15})),
        },
        ["--context", "History"],
        {"context_columns": ["History"]},
    ),
    "names that YAML and Hydra would read otherwise": (
        {"log.csv": csv(log("user: ${x}", "item #1", **{"time, in s": SECONDS}))},
        [],
        {"user_column": "user: ${x}", "item_column": "item #1", "timestamp_column": "time, in s"},
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    return tmp_path


def next_of(printed: str) -> list[str]:
    """What the command that is printed last sets."""
    line = printed.rstrip().splitlines()[-1]
    assert line.startswith("next: twotower train ")
    return shlex.split(line)[3:]


@pytest.mark.parametrize("case", STRANGE)
def test_unusual_files_are_handled(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, flags, expected = STRANGE[case]
    for name, content in files.items():
        (here / name).write_bytes(content)
    assert answer([*files, "--name", "shop", *flags]) == 0
    settings = load_settings("train", next_of(capsys.readouterr().out))
    assert {key: settings["data"].get(key) for key in expected} == expected
    for group in ("data", "features"):
        assert len((here / "conf" / group / "shop.yaml").read_text().splitlines()) <= 30
        assert (here / "conf" / group / "shop.yaml").read_text().startswith("# twotower train data=shop")


ASKED: dict[str, tuple[bytes, list[str], list[str]]] = {
    "no names": (b"1,2,3\n4,5,6\n", [], ["its first line is data (1, 2, 3), not column names"]),
    "users unknown": (csv(log("a", "item", ts=SECONDS)), [], ["--user: no column has such a name: 'a' ("]),
    "times of visits are no users": (
        csv(log("cookie", "item", visit_time=SECONDS)),
        [],
        ["--user: no column has such a name: 'cookie' ("],
    ),
    "two users": (
        csv(log("user", "item", client=USERS, ts=SECONDS)),
        [],
        ["--user: several columns may be it: 'user' (", "'client' (", "add --user COLUMN"],
    ),
    "ratings": (
        csv(log("user", "item", rating=ITEMS % 5, ts=SECONDS)),
        [],
        ["--label: 'rating' holds 0 to 4: from which value on is an item positive? add --label rating"],
    ),
    "labels of -1 and 1": (
        csv(log("user", "item", liked=ITEMS % 2 * 2 - 1, ts=SECONDS)),
        [],
        ["--label: 'liked' holds -1 to 1: from which value on is an item positive? add --label liked"],
    ),
    "labels in words": (
        csv(
            log("user", "item", ts=SECONDS, liked=["yes", "no"] * 200, status=["Completed", "refunded"] * 200)
        ),
        [],
        [
            "2 mistakes",
            "--event: 'liked' ('yes', 'no') says how a row ended: which values are positive, negative",
            "add --event liked --events yes=ROLE,no=ROLE, or --without liked if every row is positive",
            "add --event status --events Completed=positive,refunded=ignored, or --without status",
        ],
    ),
    "opinions, in any spelling": (
        csv(log("user", "item", ts=SECONDS, fb=["Thumbs Up", "thumbs-down"] * 200)),
        [],
        ["--event fb --events 'Thumbs Up=positive,thumbs-down=negative', or --without fb if"],
    ),
    "words that are called a label": (
        csv(log("user", "item", ts=SECONDS, liked=["yes", "no"] * 200)),
        ["--label", "liked"],
        ["--event: 'liked' ('yes', 'no')", "--events yes=ROLE,no=ROLE, or --label none if every row"],
    ),
    "returned items": (
        csv(log("user", "item", ts=SECONDS, Quantity=np.resize([3, -1, 50, 7.5], 400))),
        [],
        [
            "--label: 'Quantity' holds -1 to 50: from which value on is an item positive? add --label "
            "Quantity --threshold NUMBER, or --without Quantity if every row is positive"
        ],
    ),
    "dates of another kind": (
        csv(log("user", "item", datum="31.12.2020")),
        [],
        [
            "--time: 'datum' ('31.12.2020') may hold the times of the rows; add --time datum for seconds or",
            "2024-05-31",
        ],
    ),
    "times of an unknown name": (
        csv(log("user", "item", t_dat=ISO.str[:10])),
        [],
        ["--time: 't_dat' (", "may hold the times of the rows; add --time t_dat for"],
    ),
    "microseconds": (
        csv(log("user", "item", time=SECONDS * 10**6)),
        [],
        ["--time: 'time' (", "write others so"],
    ),
    "words of events": (
        csv(log("user", "item", ts=SECONDS, event=["purchase", "zap"] * 200)),
        [],
        ["--events: what do 'zap' mean", "add --events zap=positive"],
    ),
    "no such column": (
        csv(log("user", "item")),
        ["--time", "when"],
        ["--time when: no such column; there are"],
    ),
    "no separator": (
        b"user item\n1 2\n",
        [],
        ["--separator: which character is between the fields?"],
    ),
    "a field beyond what is read": (
        b'user,item,text\n1,2,"' + b"x" * 200_000 + b'"\n',
        [],
        ["log.csv: cannot be read as CSV: field larger than field limit"],
    ),
    "nothing": (b"", [], ["No columns"]),
    "names alone": (b"user,item\n", [], ["column names but no rows"]),
}


@pytest.mark.parametrize("mark", ["", ";;", "\n", '"'])
def test_a_separator_is_one_character(mark: str, here: Path) -> None:
    (here / "log.csv").write_bytes(csv(log("user", "item", ts=SECONDS)))
    with pytest.raises(InputError, match=r"--separator: .* expected one ASCII character"):
        answer(["log.csv", "--name", "shop", "--separator", mark])


@pytest.mark.parametrize("case", ASKED)
def test_ambiguous_columns_require_flags_and_nothing_is_written(case: str, here: Path) -> None:
    content, flags, told = ASKED[case]
    (here / "log.csv").write_bytes(content)
    with pytest.raises(InputError) as refused:
        answer(["log.csv", "--name", "shop", *flags])
    for words in told:
        assert words in str(refused.value)
    assert not (here / "conf").exists()


def features_of(here: Path) -> dict[str, dict[str, str]]:
    """Group -> feature -> its kind and column."""
    found = yaml.safe_load((here / "conf" / "features" / "shop.yaml").read_text())
    return {
        group: {
            name: f"{spec['_target_'].rpartition('.')[2]} {spec['column']}" for name, spec in specs.items()
        }
        for group, specs in found.items()
    }


def test_kinds_of_features(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "log.csv").write_bytes(csv(log("Kunden-Nr", "artikel_nr", Zeit=ISO), sep=";"))
    (here / "artikel.csv").write_bytes(csv(ITEM_TABLE, sep=";"))
    answer(["log.csv", "artikel.csv", "--name", "shop"])
    assert features_of(here) == {
        "user": {},
        "item": {
            "item_id": "Id item_id",
            "bezeichnung": "HashedText Bezeichnung",
            "warengruppe": "Categorical Warengruppe",
            "lager": "Numeric Lager",
        },
    }
    printed = capsys.readouterr().out
    assert (
        "warning: column 'Preis (EUR)' of item is left out: numbers with a comma or the sign of a "
        "currency; write them as 1703.94" in printed
    )
    assert "warning: column 'leer' of item is left out: it is empty" in printed
    assert "warning: column 'EAN' of item is left out: a key of its own" in printed


def test_lists_and_tags_of_parquet_and_csv(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"ts": pd.to_datetime(SECONDS, unit="s"), "seen": [[1, 2], [3]] * 200, "ua": [{"os": 1}] * 400}
    log("user", "item", **columns).to_parquet(here / "log.parquet")
    pd.DataFrame(
        {
            "item": range(1, 40),
            "tags": [["red", "big"], ["blue"], []] * 13,
            "vector": [[0.5, float(n)] for n in range(39)],
            "genres": ["Drama|Comedy", "Drama", "Comedy|Crime"] * 13,
            "forward": [1.0, 2.0, 4000.0] * 13,
        }
    ).to_parquet(here / "items.parquet")
    pd.DataFrame({"user": range(1, 30), "age": range(1, 30), "plan": ["a", "b"] * 14 + ["a"]}).to_parquet(
        here / "users.parquet"
    )
    answer(["log.parquet", "users.parquet", "items.parquet", "--name", "shop"])
    printed = capsys.readouterr().out
    assert "warning: column 'seen' is left out: add --context seen if a request knows it" in printed
    assert "warning: column 'ua' is left out: " in printed
    assert features_of(here) == {
        "user": {"age": "Numeric age", "plan": "Categorical plan"},
        "item": {
            "item_id": "Id item_id",
            "tags": "Tags tags",
            "vector": "Vector vector",
            "genres": "Tags genres",
            "forward_": "Numeric forward",
        },
    }
    assert load_settings("train", ["data=shop"])["features"]["item"]["genres"]["separator"] == "|"


def test_a_separator_applies_to_csv_tables_of_a_parquet_log(here: Path) -> None:
    log("user", "item", ts=SECONDS).to_parquet(here / "log.parquet")
    users = pd.DataFrame({"user": range(1, 30), "price,x": ["1,5", "2,5"] * 14 + ["1,5"]})
    (here / "users.csv").write_text("\n".join(";".join(map(str, row)) for row in [users, *users.values]))
    with pytest.raises(InputError, match="',' and ';' both fit; add --separator ';'"):
        answer(["log.parquet", "users.csv", "--name", "shop"])
    assert answer(["log.parquet", "users.csv", "--name", "shop", "--separator", ";"]) == 0
    assert load_settings("train", ["data=shop"])["data"]["separator"] == ";"


def test_an_index_of_pandas_is_no_column_and_a_name_may_have_two_lines(here: Path) -> None:
    log("user", "item", ts=SECONDS, **{"device\ntype": ["phone", "desk"] * 200}).to_csv(here / "log.csv")
    pd.DataFrame({"item": range(1, 40), "colour": ["red", "blue", "green"] * 13}).to_csv(here / "items.csv")
    assert answer(["log.csv", "items.csv", "--name", "shop"]) == 0
    assert features_of(here)["item"] == {"item_id": "Id item_id", "colour": "Categorical colour"}
    assert load_settings("train", ["data=shop"])["data"]["item_column"] == "item"


def test_dates_are_features(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log("user", "item", ts=SECONDS).to_csv(here / "log.csv", index=False)
    days = pd.Series(pd.date_range("2019-12-20", periods=39))
    items = {
        "released": days.dt.strftime("%Y-%m-%d"),
        "checked": days.dt.strftime("%d.%m.%Y"),
        "sold": days.dt.strftime("%m/%d/%Y"),
        "made": [f"0{n % 9 + 1}/0{n % 7 + 1}/2020" for n in range(39)],  # the day first, or the month
        "listed": days.dt.strftime("%Y/%m/%d"),
        "packed": days,
        "seen": days.dt.date,
    }
    pd.DataFrame({"item": range(1, 40), **items}).to_parquet(here / "items.parquet")
    assert answer(["log.csv", "items.parquet", "--name", "shop"]) == 0
    written = load_settings("train", ["data=shop"])["features"]["item"]
    formats = {name: feature.get("format") for name, feature in written.items() if name != "item_id"}
    iso = dict.fromkeys(("released", "listed", "packed", "seen"))
    assert formats == iso | {"checked": "%d.%m.%Y", "sold": "%m/%d/%Y"}
    assert "'made' of item is left out: it holds dates of another form" in capsys.readouterr().out


@pytest.mark.parametrize("log_name", ["log.csv", "log.parquet"])
def test_files_of_two_formats(log_name: str, here: Path) -> None:
    frame = log("user", "item", ts=SECONDS)
    frame.to_csv(here / "log.csv", index=False)
    frame.to_parquet(here / "log.parquet")
    items = pd.DataFrame({"item": range(1, 40), "colour": ["red", "blue", "green"] * 13})
    items.to_csv(here / "items.csv", sep=";", index=False)
    items.to_parquet(here / "items.parquet")
    other = "items.parquet" if log_name == "log.csv" else "items.csv"
    assert answer([log_name, other, "--name", "shop"]) == 0
    assert features_of(here)["item"] == {"item_id": "Id item_id", "colour": "Categorical colour"}
    expected = ";" if other == "items.csv" else ","
    assert load_settings("train", ["data=shop"])["data"].get("separator", ",") == expected


def test_kinds_of_texts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = np.arange(39)
    items = {
        "title": [f"{word} (m/w/d)" for word in ["Koch", "Fahrer", "Sales Lead"] * 13],
        "education": ["BSc", "n/a", "MSc"] * 13,
        "price": [f"{each + 1},78 €" for each in row],
        "cost": [f"${each + 1}.53" for each in row],
        "value": [f"1.{each + 100},94" for each in row],
        "sizes": ["1,2,3", "2,3", "1,3,2"] * 13,
        "email": [f"a.b{each}@shop.org" for each in row],
        "path": ["Tools > Saws > Hand saws", "Tools > Saws", "Garden > Hoses"] * 13,
        "labels": ["['new', \"men's\"]", "['new']", "[]"] * 13,
        "amounts": ["[1.5, 20.0]", "[0.0, 3.25]", "[2]"] * 13,
        "steps": [f"['cut {each} onions', 'boil {each} eggs']" for each in row],
        "crew": ["[{'job': 'Editor'}]", "[{'job': 'Actor'}]", "[]"] * 13,
    }
    init({"log.csv": log("user", "item", ts=SECONDS), "items.csv": pd.DataFrame({"item": row + 1, **items})})
    printed = capsys.readouterr().out
    money = "numbers with a comma or the sign of a currency; write them as 1703.94"
    for name, reason in {
        **dict.fromkeys(("price", "cost", "value"), money),
        "email": "it holds addresses, for which there is no kind of feature",
        **dict.fromkeys(("amounts", "steps", "crew"), "lists, written as text, of numbers or of values that"),
    }.items():
        assert f"warning: column {name!r} of item is left out: {reason}" in printed
    specs = yaml.safe_load(yaml_of("features"))["item"].values()
    kinds = {spec["column"]: spec["_target_"].rpartition(".")[2] for spec in specs}
    words = {"title": "Categorical", "education": "Categorical"}
    assert kinds == {"item_id": "Id", **words, **dict.fromkeys(("sizes", "path", "labels"), "Tags")}


def test_with_more_items_than_can_all_be_negatives_the_command_samples_them(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "log.csv").write_bytes(csv(log("user", "item", ts=SECONDS)))
    for num_items, expected in ((50_000, []), (50_001, ["negatives=mixed"])):
        pd.DataFrame({"item": np.arange(num_items)}).to_csv(here / "items.csv", index=False)
        assert answer(["log.csv", "items.csv", "--name", "shop", "--overwrite"]) == 0
        assert [word for word in next_of(capsys.readouterr().out) if "negatives" in word] == expected


def test_files_are_not_overwritten_by_default(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "log.csv").write_bytes(csv(log("user", "item", ts=SECONDS)))

    def run(*flags: str) -> int:
        return answer(["log.csv", "--name", "shop", *flags])

    assert run() == 0
    with pytest.raises(InputError, match=r"shop.yaml: exists; add --overwrite"):
        run()
    assert run("--overwrite") == 0
    assert "metrics.ks=[10,20]" in next_of(capsys.readouterr().out)  # of 39 items
    with pytest.raises(InputError, match=r"data/synthetic.yaml is a built-in choice"):
        answer(["log.csv", "--name", "synthetic"])
    for words, message in (
        (["log.csv", "name=shop"], "required: --name; twotower init --help has the flags"),
        (["--name", "shop"], "required: files"),
        (["log.csv", "--name", "x", "--lable", "y"], "--lable: unknown flag; did you mean '--label'"),
        (["log.csv", "--name", "shop", "--threshold", "x"], "--threshold: invalid float value: 'x'; two"),
    ):
        with pytest.raises(InputError, match=message):
            answer(words)


def test_tables_are_distinguished_by_their_ids(here: Path) -> None:
    (here / "log.csv").write_bytes(csv(log("user", "item", ts=SECONDS)))
    (here / "things.csv").write_bytes(csv(pd.DataFrame({"thing": [1], "colour": ["red"]})))
    with pytest.raises(InputError, match=r"things.csv: expected one row per user with the column 'user'"):
        answer(["log.csv", "things.csv", "--name", "shop"])
    (here / "twice.csv").write_bytes(csv(pd.DataFrame({"item": [1, 2, 2], "colour": ["red", "red", "blue"]})))
    with pytest.raises(InputError, match=r"twice.csv: .* one file of each, .* 'item' is '2' in several rows"):
        answer(["log.csv", "twice.csv", "--name", "shop"])


@dataclass(frozen=True)
class Log:
    """Files of somebody's log, and what `init` should make of them."""

    files: dict[str, pd.DataFrame]
    flags: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)
    split: str = "temporal_share"
    warned: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


def drawn(user: str, item: str, days: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return users and items of a log, and the seconds of its rows, ascending."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {user: rng.integers(1, NUM_USERS + 1, NUM_ROWS), item: rng.integers(1, NUM_ITEMS + 1, NUM_ROWS)}
    )
    return frame, 1_600_000_000 + np.sort(rng.integers(0, days * DAY, NUM_ROWS))


def news() -> Log:
    """Clicks on news: names begin with `click_`; environment and device have two values, as labels have."""
    frame, seconds = drawn("user_id", "click_article_id", 17)
    rng = np.random.default_rng(1)
    codes = {
        "click_environment": [2, 4],
        "click_deviceGroup": [1, 3],
        "click_os": [2, 5, 12, 13, 17, 19, 20],
        "click_country": [0, 1],
        "click_region": list(range(1, 29)),
        "click_referrer_type": list(range(1, 8)),
    }
    frame = frame.assign(
        session_id=seconds * 1000 + 7,
        session_start=seconds * 1000,
        session_size=rng.integers(2, 60, NUM_ROWS),
        click_timestamp=seconds * 1000,
        **{name: rng.choice(values, NUM_ROWS) for name, values in codes.items()},
    )
    return Log(
        {"clicks.csv": frame},
        data={
            "item_column": "click_article_id",
            "timestamp_column": "click_timestamp",
            "timestamp_unit": "ms",
            "label_column": None,
            "event_column": None,
            "context_columns": list(codes),
        },
        features=dict.fromkeys(codes, "Categorical"),
        warned=[
            "column 'session_id' is left out: its name is that of a key",
            "column 'session_start' is left out: it holds times",
        ],
    )


def groceries() -> Log:
    """Households buy 20 of the products again and again; manufacturers are codes, more than 1,000 of them."""
    frame, seconds = drawn("household_id", "product_id", 364)
    rng = np.random.default_rng(2)
    products = np.arange(1, 3 * 1100 + 1)
    frame["product_id"] = rng.integers(1, 21, NUM_ROWS)
    table = pd.DataFrame(
        {
            "product_id": products,
            "manufacturer_id": 5000 + products % 1100,
            "department": np.array(["GROCERY", "PRODUCE", "DELI"])[products % 3],
            "package_size": products % 7 + 1,
        }
    )
    return Log(
        {"transactions.csv": frame.assign(transaction_timestamp=seconds), "products.csv": table},
        data={"timestamp_column": "transaction_timestamp"},
        features={"manufacturer_id": "Categorical", "department": "Categorical", "package_size": "Numeric"},
        split="temporal",
        written=["# repeats: keep   # "],
    )


def films() -> Log:
    """Ratings, and a file of users whose country and occupation are whole numbers."""
    frame, seconds = drawn("userId", "movieId", 900)
    users = np.arange(1, 601)
    table = pd.DataFrame(
        {"userId": users, "country": users % 40, "occupation": users % 21, "age": 18 + users % 50}
    )
    return Log(
        {"ratings.csv": frame.assign(rating=frame["movieId"] % 5 + 1, timestamp=seconds), "users.csv": table},
        flags=["--threshold", "4"],
        data={"label_column": "rating", "label_threshold": 4.0},
        features={"country": "Categorical", "occupation": "Categorical", "age": "Numeric"},
        split="temporal",
    )


def shop() -> Log:
    """A shop's events as numbers, flags of 0 and 1 that are no labels, a parameter of a device."""
    frame, seconds = drawn("visitor", "sku", 60)
    rng = np.random.default_rng(3)
    frame = frame.assign(
        behavior_type=rng.integers(1, 5, NUM_ROWS), is_weekend=rng.integers(0, 2, NUM_ROWS), time=seconds
    )
    return Log(
        {"log.csv": frame},
        flags=["--event", "behavior_type", "--events", "1=history,2=history,3=history,4=positive"],
        data={
            "event_column": "behavior_type",
            "events": {
                key: {"role": role} for key, role in zip("1234", ["history"] * 3 + ["positive"], strict=True)
            },
            "label_column": None,
        },
        warned=["column 'is_weekend' is left out: add --label is_weekend if"],
    )


def lists() -> Log:
    """No times: the last item of each user is the test."""
    frame, _ = drawn("user", "item", 1)
    return Log({"log.csv": frame}, data={"timestamp_column": None}, split="leave_one_out")


def visits() -> Log:
    """Anonymous visits of a minute or two, with four clicks each; one goes on into the test window."""
    _, seconds = drawn("visit", "item", 30)
    frame, place = pd.DataFrame({"session_id": np.arange(NUM_ROWS) // 4}), np.arange(NUM_ROWS) % 4
    frame = frame.assign(
        product_id=np.random.default_rng(4).integers(1, 40, NUM_ROWS),
        time=seconds[frame["session_id"] * 4] + 30 * place,
    )
    frame.loc[3, "time"] = seconds[-1]
    return Log({"clicks.csv": frame}, data={"user_column": "session_id"}, split="sessions")


LOGS = {each.__name__: each for each in (news, groceries, films, shop, lists, visits)}


def init(files: Mapping[str, pd.DataFrame], *flags: str) -> None:
    for name, frame in files.items():
        frame.to_csv(name, index=False)
    answer([*files, "--name", "own", *flags])


def test_what_comes_after_the_sample(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sample, "NUM_ROWS", 300)
    first = np.arange(400) < 350
    action = np.where(first, np.resize(["buy", "view"], 400), "wish")
    columns = {"ts": SECONDS, "action": action, "part": np.where(first, "a", "b")}
    init({"log.csv": log("user", "item", **columns)}, "--events", "buy=positive,view=history,wish=history")
    printed = capsys.readouterr().out
    assert "column 'part' is left out: it holds nothing but 'a' in the first 300 rows" in printed
    assert load_settings("train", ["data=own"])["data"]["events"]["wish"] == {"role": "history"}


def test_an_index_that_pandas_saves_as_a_range_is_a_column(here: Path) -> None:
    log("user", "item", ts=SECONDS).to_csv("log.csv", index=False)
    colours = pd.DataFrame({"colour": ["red", "blue", "green"] * 13}, pd.RangeIndex(1, 40, name="item"))
    colours.to_parquet("items.parquet")
    answer(["log.csv", "items.parquet", "--name", "shop"])
    assert features_of(here)["item"] == {"item_id": "Id item_id", "colour": "Categorical colour"}


def test_a_column_named_like_ids_is_left_out_with_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = {"item": range(1, 40), "user_id": np.arange(39) % 5, "size": np.arange(39) % 3}
    log("user", "item", ts=SECONDS).to_csv("log.csv", index=False)
    cases = {"price": [Decimal(each) / 4 for each in range(39)], "new": pd.Series([True, None, False] * 13)}
    pd.DataFrame(items | cases).to_parquet("items.parquet")
    answer(["log.csv", "items.parquet", "--name", "shop"])
    printed = capsys.readouterr().out
    assert "column 'user_id' of item is left out: it has the name of the ids of users or items" in printed
    kinds = {"item_id": "Id item_id", "size": "Numeric size"}
    assert features_of(here)["item"] == kinds | {"price": "Numeric price", "new": "Categorical new"}
    with pytest.raises(InputError, match="'user_id' is the internal name of another column; rename it"):
        load_settings("train", ["data=shop", "data.item_features=[user_id,size]"])


def test_a_label_that_is_constant_in_the_sample_is_a_question(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "NUM_ROWS", 300)
    files = {"log.csv": log("user", "item", ts=SECONDS, clicked=np.int64(np.arange(400) < 350))}
    with pytest.raises(
        InputError, match="--label: 'clicked' holds 1 to 1: from which value on is an item positive"
    ):
        init(files)
    init(files, "--label", "clicked", "--threshold", "1")
    assert load_settings("train", ["data=own"])["data"]["label_threshold"] == 1
    init(files, "--label", "none", "--overwrite")
    assert load_settings("train", ["data=own"])["data"].get("label_column") is None


def test_flags_without_a_column_are_questions(here: Path) -> None:
    with pytest.raises(InputError) as refused:
        init(
            {"log.csv": log("user", "item", ts=SECONDS)},
            *("--events", "buy=positive", "--threshold", "4", "--unordered"),
        )
    for text in (
        "--events: no column holds event types; add --event COLUMN, or leave --events out",
        "--threshold: no column holds labels; add --label COLUMN, or leave --threshold out",
        "--unordered: the times of 'ts' order the rows; add --time none, or leave --unordered out",
    ):
        assert text in str(refused.value)
    assert not Path("conf").exists()


def yaml_of(group: str) -> str:
    return Path("conf", group, "own.yaml").read_text()


@pytest.mark.parametrize("name", LOGS)
def test_init_on_a_log(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = LOGS[name]()
    init(log.files, *log.flags)
    printed = capsys.readouterr().out
    typed = next_of(printed)
    for group in ("data", "features"):
        assert shlex.split(yaml_of(group).splitlines()[0]) == ["#", "twotower", "train", *typed]
    settings = load_settings("train", typed)
    assert ("experiment=sessions" in typed) == (log.split == "sessions")
    assert {key: settings["data"].get(key) for key in log.data} == log.data
    alone = compose("train", ["data=own"])["split"]  # the YAML of the data chooses the split
    assert alone == settings["split"] == compose("train", [f"split={log.split}"])["split"]
    features = {
        name: spec["_target_"] for group in settings["features"].values() for name, spec in group.items()
    }
    for column, kind in log.features.items():
        assert features[column.lower()].endswith(f".{kind}")
    warnings = [line for line in printed.splitlines() if line.startswith("warning: ")]
    for text in log.warned:
        assert any(text in line for line in warnings)
    for text in log.written:
        assert text in yaml_of("data")


KINDS = {
    "os": ("Categorical", "7 codes: 'os' in its name"),
    "deviceGroup": ("Categorical", "'group' in its name"),
    "cat2": ("Categorical", "'cat' in its name"),
    "age_group": ("Categorical", "'group' in its name"),
    "anything": ("Categorical", "only 7 whole numbers in 600 rows"),
    "flag": ("Categorical", "only 2 whole numbers in 600 rows"),
    "zip": ("", "a key of its own for almost every row: 500 in 600 rows"),
    "brand_count": ("Numeric", "a quantity: 'count' in its name"),
    "num_brands": ("Numeric", "a quantity: 'num' in its name"),
    "pricePaid": ("Numeric", "a quantity: 'paid' in its name"),
    "n": ("Numeric", "a quantity: 'n' in its name"),
    "year": ("Numeric", "a quantity: 'year' in its name"),
    "duration": ("Numeric", "a quantity: 'duration' in its name"),
    "points": ("Numeric", "numbers"),
}
"""Column of whole numbers -> its kind, and the reason that is printed."""


def test_codes_and_quantities(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, seconds = drawn("user", "item", 60)
    row = np.arange(1, 601)
    values = dict.fromkeys(KINDS, row % 7) | {"flag": row % 2, "zip": row % 500, "points": row % 60}
    init({"log.csv": log.assign(ts=seconds), "items.csv": pd.DataFrame({"item": row, **values})})
    lines = capsys.readouterr().out.splitlines()
    for name, (kind, reason) in KINDS.items():
        said = (
            f"  feature  of item, {name}: {kind}" if kind else f"warning: column {name!r} of item is left out"
        )
        assert any(line.startswith(said) and reason in line for line in lines), name
    targets = {
        spec["column"]: spec["_target_"].rpartition(".")[2]
        for spec in yaml.safe_load(yaml_of("features"))["item"].values()
    }
    assert targets == {"item_id": "Id"} | {name: kind for name, (kind, _) in KINDS.items() if kind}


def test_decimals_with_two_texts_of_one_number_are_codes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, seconds = drawn("user", "item", 60)
    columns = dict.fromkeys(("version", "price"), np.resize(["1.1", "1.10", "1.2"], 60))
    init({"log.csv": log.assign(ts=seconds), "items.csv": pd.DataFrame({"item": range(1, 61), **columns})})
    printed = capsys.readouterr().out
    assert "of item, version: Categorical   (codes: 1.1 and 1.10 are among them)" in printed
    assert "of item, price: Numeric   (a quantity: 'price' in its name)" in printed
    assert yaml.safe_load(yaml_of("data"))["text_columns"] == ["version"]


EVEN = RNG.integers(0, 2, NUM_ROWS)
WORDS = np.array(["phone", "desktop"])[EVEN]
CLEAR: dict[str, tuple[dict[str, Any], str, str]] = {
    "a click among names that begin with it": (
        {"is_click": EVEN, "click_os": EVEN + 1, "click_wifi": EVEN},
        "label_column",
        "is_click",
    ),
    "two values, and no name of a label": (
        {"click_os": EVEN + 1, "reward_group": EVEN},
        "label_column",
        "None",
    ),
    "the item, not its category": ({"item_category_id": EVEN + 5}, "item_column", "item"),
    "the time of the click": (
        {"click_time": SECONDS + 5, "session_time": SECONDS, "upload_date": SECONDS - 9},
        "timestamp_column",
        "click_time",
    ),
    "labels and types of events that a flag could name": (
        {"event_id": np.arange(NUM_ROWS), "is_weekend": WORDS == "phone", "delta": EVEN - 0.5},
        "event_column",
        "None",
    ),
    "types of devices are no events": (
        {"device_type": WORDS, "referrer_type": WORDS},
        "event_column",
        "None",
    ),
    "types of actions are": (
        {"device_type": WORDS, "action_type": np.array(["view", "buy"])[EVEN]},
        "event_column",
        "action_type",
    ),
}


@pytest.mark.parametrize("case", CLEAR)
def test_of_several_columns_the_clear_one_is_taken(case: str, here: Path) -> None:
    columns, key, expected = CLEAR[case]
    time = {} if "click_time" in columns else {"ts": SECONDS}
    init({"log.csv": pd.DataFrame({"user": USERS, "item": ITEMS, **time, **columns})})
    assert str(load_settings("train", ["data=own"])["data"].get(key)) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"session_id": USERS, "user_agent": WORDS, "session_number": EVEN}, "session_id"),
        ({"visit": USERS, "customer_segment": WORDS}, "visit"),
        ({"web_user_id": USERS, "session_id": EVEN}, "web_user_id"),
        ({"user": USERS, "session_id": EVEN}, "user"),
        ({"user_hash": USERS, "session_id": EVEN}, "user_hash"),
        ({"username": USERS, "session_id": EVEN}, "username"),
        ({"candidate_id": USERS, "session_id": EVEN}, "candidate_id"),
    ],
)
def test_a_key_of_sessions_is_the_user_if_no_column_names_users(
    columns: dict[str, Any], expected: str, here: Path
) -> None:
    init({"log.csv": pd.DataFrame({"item": ITEMS, "ts": SECONDS, **columns})})
    assert load_settings("train", ["data=own"])["data"]["user_column"] == expected


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["--without", "thumb"], None),
        (["--label", "none"], None),
        (["--event", "none"], None),
        (["--event", "thumb", "--events", "up=positive,down=negative"], "event_column"),
        (["--context", "thumb"], "context_columns"),
    ],
)
def test_a_label_in_words_is_context_only_by_flag(
    flags: list[str], key: str | None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {"ts": SECONDS, "thumb": np.array(["up", "down"])[EVEN], "bought_units": EVEN + 1}
    init({"log.csv": log("user", "item", **columns)}, *flags)
    printed, data = capsys.readouterr().out, yaml.safe_load(yaml_of("data"))
    assert [each for each in ("event_column", "label_column", "context_columns") if data.get(each)] == (
        [key] if key else []
    )
    assert "column 'bought_units' is left out: add --context bought_units if a request knows it" in printed
    assert "thumb" not in yaml_of("features") or key == "context_columns"


def test_context_is_active_or_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, seconds = drawn("user", "item", 60)
    log["item"] = log["item"] // 3 * 3 + log["user"] % 3
    rng = np.random.default_rng(4)
    log = log.assign(
        ts=seconds,
        country=rng.integers(1, 9, NUM_ROWS),
        mood=rng.integers(1, 9, NUM_ROWS),
        page=log["item"] % 11,
        region=log["user"] % 3,  # and users of a region take items of their own
        price=log["item"] % 13 + (rng.random(NUM_ROWS) < 0.02),
        rated_type=3,
        nothing="",
        action=rng.integers(1, 4, NUM_ROWS),
    )
    users = pd.DataFrame({"user": range(1, NUM_USERS + 1), "country": np.arange(NUM_USERS) % 3 + 1})
    init({"log.csv": log, "users.csv": users})
    printed = capsys.readouterr().out
    assert load_settings("train", ["data=own"])["data"]["context_columns"] == ["country", "region"]
    features = yaml.safe_load(yaml_of("features"))
    assert list(features["user"]) == ["country"]
    assert list(features["context"]) == ["country_", "region"]  # names of user features and context differ
    assert "warning: column 'mood' is left out: add --context mood if a request knows it" in printed
    for name in ("page", "price"):
        assert f"column {name!r} is left out: rows of an item share its value" in printed
    assert "column 'nothing' is left out: it is empty" in printed
    assert "column 'rated_type' is left out: it holds nothing but '3'" in printed
    assert "column 'action' is left out: add --event action --events " in printed
    init({}, "log.csv", "users.csv", "--overwrite", "--context", "mood")
    assert list(yaml.safe_load(yaml_of("features"))["context"]) == ["mood"]


def test_nothing_is_written_if_a_column_is_refused(here: Path) -> None:
    """A price beyond the rows that `init` looks at is no number, so the data set is refused."""
    frame, seconds = drawn("user", "item", 60)
    number = np.arange(1, 20_102)
    prices = [*(number[:20_000] % 90 + 0.5), *["n/a"] * 101]
    items = pd.DataFrame({"item": number, "price": prices, "size": number % 9 * 1.5})
    with pytest.raises(InputError, match="'price'") as refused:
        init({"log.csv": frame.assign(ts=seconds), "items.csv": items})
    assert "nothing was written" in str(refused.value)
    assert not (here / "conf").exists()
    init({}, "log.csv", "items.csv", "--without", "price")
    assert list(yaml.safe_load(yaml_of("features"))["item"]) == ["item_id", "size"]
    with pytest.raises(InputError, match="--without: no column 'prise'; did you mean 'price'"):
        init({}, "log.csv", "items.csv", "--without", "prise", "--overwrite")
