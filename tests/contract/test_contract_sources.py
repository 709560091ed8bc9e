"""What every source of data promises, for each entry of `conf/data/` whose data is here."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from variants import specs_of

from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.sources.source import Source
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.tables import ITEM_ID, TIMESTAMP, USER_ID, Tables

SPECS = specs_of("data")
SMALL = {"num_users": 300, "num_items": 100, "num_interactions": 4_000}


@pytest.fixture(scope="module", params=SPECS)
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source.Config:
    given: dict[str, Any] = {key: value for key, value in SMALL.items() if key in SPECS[request.param]}
    if "interactions_path" in SPECS[request.param]:
        path = tmp_path_factory.mktemp("log") / "log.csv"
        log = {USER_ID: [1, 1, 1, 2], ITEM_ID: ["a", "b", "c", "a"], TIMESTAMP: [1_700_000_000] * 4}
        pd.DataFrame(log).to_csv(path, index=False)
        given["interactions_path"] = str(path)
    elif "path" in SPECS[request.param]:
        path = tmp_path_factory.mktemp("ids") / "ids.txt"
        path.write_text("1 a\n1 b\n1 c\n2 a\n")
        given["path"] = str(path)
    return Source.Config.model_validate(SPECS[request.param] | given)


@pytest.fixture(scope="module")
def tables(config: Source.Config) -> Tables:
    assert list(config.problems()) == []
    try:
        return config.build().load()
    except InputError as error:
        pytest.skip(f"its data is not here: {error!s:.80}")


def test_there_are_sources() -> None:
    assert {"online_retail", "synthetic", "table_files", "night_shop"} <= SPECS.keys()


def test_its_settings_can_be_written_and_read(config: Source.Config) -> None:
    assert Source.Config.model_validate(config.spec()) == config


def test_what_is_known_before_it_is_read_is_so(config: Source.Config, tables: Tables, tmp_path: Path) -> None:
    dataset = build_dataset(config.build(), LeaveOneOut.Config().build(), tmp_path)
    assert config.catalogue_size() in (None, len(dataset.items))
    columns = config.columns()
    if columns is not None:
        assert columns["users"] == set(dataset.user_table.columns)
        assert columns["items"] == set(dataset.item_table.columns)
    assert len(dataset.train_and_valid.items) < int(dataset.audit["interactions"]) <= len(tables.interactions)
    assert config.has_times() == tables.has_times == (TIMESTAMP in tables.interactions.columns)
    assert config.gives_split() == ("split" in tables.interactions.columns)


def test_it_says_the_same_each_time(config: Source.Config, tables: Tables) -> None:
    again = config.build()
    pd.testing.assert_frame_equal(again.load().interactions, tables.interactions)
    assert again.fingerprint() == config.build().fingerprint()
