"""`twotower init` on files as people have them: what it takes each column for, and what it asks."""

import gzip
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from twotower.commands import conf
from twotower.commands.compose import checked
from twotower.commands.entry_points.init import answer
from twotower.config.errors import InputError

DAY = 86_400
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

STRANGE: dict[str, tuple[dict[str, bytes], list[str], dict[str, Any], list[str]]] = {
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
        [],
    ),
    "tabs, milliseconds and a mark of the byte order": (
        {"log.tsv": b"\xef\xbb\xbf" + csv(log("userId", "movieId", ts=SECONDS * 1000), sep="\t")},
        [],
        {"user_column": "userId", "item_column": "movieId", "timestamp_unit": "ms", "separator": "\\t"},
        [],
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
                "view": {"role": "history"},
                "cart": {"role": "history"},
                "purchase": {"role": "positive"},
            },
            "context_columns": ["device"],
        },
        [],
    ),
    "clicks and a day": (
        {"log.csv": csv(log("customer_id", "article_id", clicked=ITEMS % 2, ts=ISO.str[:10]))},
        [],
        {"label_column": "clicked", "timestamp_column": "ts", "timestamp_unit": "iso"},
        [],
    ),
    "a split of its own": (
        {
            "log.csv": csv(
                log("uid", "sku", ts=SECONDS, split=["train"] * 300 + ["valid"] * 50 + ["test"] * 50)
            )
        },
        [],
        {"split_column": "split"},
        [],
    ),
    "names that say nothing": (
        {"log.csv.gz": gzip.compress(csv(log("a", "b", c=SECONDS)))},
        ["--user", "a", "--item", "b", "--time", "c"],
        {"user_column": "a", "item_column": "b", "timestamp_column": "c", "timestamp_unit": "s"},
        [],
    ),
    "names that YAML and Hydra would read otherwise": (
        {"log.csv": csv(log("user: ${x}", "item #1", **{"time, in s": SECONDS}))},
        [],
        {"user_column": "user: ${x}", "item_column": "item #1", "timestamp_column": "time, in s"},
        [],
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
    files, flags, expected, overrides = STRANGE[case]
    for name, content in files.items():
        (here / name).write_bytes(content)
    assert answer([*files, "--name", "shop", *flags]) == 0
    typed = next_of(capsys.readouterr().out)
    settings = checked("train", typed)
    assert {key: settings["data"].get(key) for key in expected} == expected
    assert set(overrides) <= set(typed)
    for group in ("data", "features"):
        assert len((here / "conf" / group / "shop.yaml").read_text().splitlines()) <= 30
        assert (here / "conf" / group / "shop.yaml").read_text().startswith("# twotower train data=shop")


ASKED: dict[str, tuple[bytes, list[str], list[str]]] = {
    "no names": (b"1,2,3\n4,5,6\n", [], ["its first line is data (1, 2, 3), not column names"]),
    "users unknown": (csv(log("a", "item", ts=SECONDS)), [], ["--user: no column has such a name: 'a' ("]),
    "two users": (
        csv(log("user", "item", client=USERS, ts=SECONDS)),
        [],
        ["--user: several columns may be it: 'user' (", "'client' (", "add --user COLUMN"],
    ),
    "ratings": (
        csv(log("user", "item", rating=ITEMS % 5, ts=SECONDS)),
        [],
        ["--label: 'rating' holds 0 to 4: from which value on is an item positive? add --threshold NUMBER"],
    ),
    "dates of another kind": (
        csv(log("user", "item", datum="31.12.2020")),
        [],
        ["--time: 'datum' ('31.12.2020') holds no times that are read, such as seconds", "2024-05-31"],
    ),
    "microseconds": (
        csv(log("user", "item", time=SECONDS * 10**6)),
        [],
        ["--time: 'time' (", "holds no times"],
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
    "nothing": (b"", [], ["No columns"]),
    "names alone": (b"user,item\n", [], ["column names but no rows"]),
}


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
        "warning: column 'Preis (EUR)' of item is left out: numbers with a comma; write them with a point"
        in printed
    )
    assert "warning: column 'leer' of item is left out: it is empty" in printed
    assert "warning: column 'EAN' of item is left out: a key of its own" in printed


def test_lists_and_tags_of_parquet_and_csv(here: Path) -> None:
    log("user", "item", ts=pd.to_datetime(SECONDS, unit="s")).to_parquet(here / "log.parquet")
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
    assert checked("train", ["data=shop"])["features"]["item"]["genres"]["separator"] == "|"


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
    with pytest.raises(InputError, match="--name: required; add a name"):
        answer(["log.csv"])


def test_tables_are_distinguished_by_their_ids(here: Path) -> None:
    (here / "log.csv").write_bytes(csv(log("user", "item", ts=SECONDS)))
    (here / "things.csv").write_bytes(csv(pd.DataFrame({"thing": [1], "colour": ["red"]})))
    with pytest.raises(InputError, match=r"things.csv: expected one row per user with the column 'user'"):
        answer(["log.csv", "things.csv", "--name", "shop"])
