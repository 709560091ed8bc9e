"""Features of the request and events of histories, refused before any data is read."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from twotower.commands.compose import checked

Refusal = Callable[..., str]
CATEGORY = "_target_:twotower.features.categorical.Categorical"
DEVICE = f"+features.context.device={{{CATEGORY},column:device,dim:4}}"


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    log = tmp_path / "log.csv"
    columns = {"user_id": [1], "item_id": [2], "timestamp": [3], "device": ["phone"], "act": ["buy"]}
    pd.DataFrame(columns).to_csv(log, index=False)
    names = ["data=table_files", f"data.interactions_path={log}", "data.context_columns=[device]"]
    return [*names, "features=item_id"]


def test_context_features_can_be_of_any_kind(mine: list[str]) -> None:
    when = "+features.context.when={_target_:twotower.features.request_time.RequestTime,day:2}"
    settings = checked("train", [*mine, DEVICE, when])
    assert settings["features"]["context"].keys() == {"device", "when"}


def test_unknown_context_columns_are_refused(only_line: Refusal, mine: list[str]) -> None:
    hour = only_line(*mine, f"+features.context.hour={{{CATEGORY},column:devices,dim:4}}")
    expected = "features.context.hour.column: the context columns of this data have no column 'devices'"
    assert hour == f"{expected}; did you mean 'device'? valid: device"
    none = only_line("data=synthetic", "features=item_id", DEVICE)
    assert none.startswith("features.context.device.column: ")
    assert none.endswith("none are valid here")
    own = only_line(*mine, "+features.context.own={_target_:twotower.features.id.Id,column:item_id}")
    assert own.startswith("features.context.own: a context has no id")


def test_feature_names_are_unique(only_line: Refusal, mine: list[str]) -> None:
    of_history = only_line(*mine, DEVICE.replace("context.device", "context.history"))
    assert of_history == "features.context.history: this name is used by the history encoder; choose another"
    when = "{_target_:twotower.features.request_time.RequestTime}"
    twice = only_line(*mine, f"+features.user.when={when}", f"+features.context.when={when}")
    assert twice == "features.context.when: this name is used by a feature of users; choose another"


def test_the_item_tower_sees_no_context(only_line: Refusal, mine: list[str]) -> None:
    residual = only_line(*mine, DEVICE, "item_tower.residual=device")
    assert residual.startswith("item_tower.residual: 'device' is no input of this tower")
    checked("train", [*mine, DEVICE, "user_tower.residual=device"])


def test_events_of_histories_require_an_event_column(only_line: Refusal, mine: list[str]) -> None:
    none = only_line(*mine, "+history.events=true")
    assert none.startswith("history.events: this data has no events")
    checked("train", [*mine, "+history.events=true", "data.event_column=act"])
    unread = "history.events: history.length is 0; set history.events=false"
    alone = ("history=none", "user_tower.residual=null", "user_tower.widths=[]")
    assert only_line(*mine, DEVICE, *alone, "+history.events=true") == unread
