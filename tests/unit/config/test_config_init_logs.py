"""`twotower init` on five logs of kinds that people have: roles and kinds by values as well as by names."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from twotower.commands import conf
from twotower.commands.compose import checked, compose
from twotower.commands.entry_points.init import answer
from twotower.config.errors import InputError

DAY = 86_400
NUM_ROWS, NUM_USERS, NUM_ITEMS = 400, 30, 130


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
    """Clicks on news: six columns begin with `click_` beside the article and the time."""
    frame, seconds = drawn("user_id", "click_article_id", 17)
    rng = np.random.default_rng(1)
    codes = {
        "click_environment": [1, 2, 4],
        "click_deviceGroup": [1, 3, 4, 5],
        "click_os": [2, 5, 12, 13, 17, 19, 20],
        "click_country": [1, 2, 6, 8, 9, 10, 11],
        "click_region": list(range(1, 29)),
        "click_referrer_type": list(range(1, 8)),
    }
    frame = frame.assign(
        session_id=seconds * 1000 + 7,
        click_timestamp=seconds * 1000,
        **{name: rng.choice(values, NUM_ROWS) for name, values in codes.items()},
    )
    context = ["click_deviceGroup", "click_os", "click_country", "click_region"]
    return Log(
        {"clicks.csv": frame},
        data={
            "item_column": "click_article_id",
            "timestamp_column": "click_timestamp",
            "timestamp_unit": "ms",
            "label_column": None,
            "context_columns": context,
        },
        features=dict.fromkeys(context, "Categorical"),
        warned=["column 'click_environment' is left out: it is called a label, but holds 3 different values"],
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
        warned=["column 'is_weekend' is left out: it holds 0 and 1"],
    )


def lists() -> Log:
    """No times: the last item of each user is the test."""
    frame, _ = drawn("user", "item", 1)
    return Log(
        {"log.csv": frame},
        [],
        {"timestamp_column": None},
        split="leave_one_out",
    )


LOGS = {each.__name__: each for each in (news, groceries, films, shop, lists)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    return tmp_path


def init(files: Mapping[str, pd.DataFrame], *flags: str) -> None:
    for name, frame in files.items():
        frame.to_csv(name, index=False)
    answer([*files, "--name", "own", *flags])


def yaml_of(group: str) -> str:
    return Path("conf", group, "own.yaml").read_text()


@pytest.mark.parametrize("name", LOGS)
def test_init_on_a_log(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = LOGS[name]()
    init(log.files, *log.flags)
    printed = capsys.readouterr().out
    command = printed.rstrip().splitlines()[-1].removeprefix("next: ")
    assert [yaml_of(group).splitlines()[0] for group in ("data", "features")] == [f"# {command}"] * 2
    settings = checked("train", shlex.split(command)[2:])
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
