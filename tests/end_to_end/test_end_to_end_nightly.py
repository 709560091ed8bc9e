"""A service that lives through three nights: train, serve, live changes, export, continue, gate, publish."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forks
import httpx
import pandas as pd
import pytest
import yaml
from in_process import run_script
from quick import POPULARITY_ONLY

from twotower.config.exits import GATE_REFUSED
from twotower.data.sources.synthetic import Synthetic
from twotower.experiments.runs.run_files import GATE, resolve_latest
from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import replay
from twotower.serving.retriever import Retriever

CATEGORICAL = "_target_: twotower.model.features.categorical.Categorical"
SETTINGS = [
    "data=table_files",
    "features=table_files",
    f"+features.user.segment={{{CATEGORICAL}, column: segment, dim: 4}}",
    f"+features.item.category={{{CATEGORICAL}, column: category, dim: 4}}",
    "split=temporal",
    "split.unit=share",
    "split.test=0.05",
    "split.valid=0.05",
    "index=flat_ip",
    "trainer.max_epochs=1",
    "trainer.initial_share=0",
    "user_tower.widths=null",
    "item_tower.widths=null",
    "optimizer.learning_rate=0.001",
    "objective.horizon_days=28",
    "trainer.refit=true",
    "metrics.num_bootstrap=0",
    *POPULARITY_ONLY,
    "console=quiet",
]
NEW_ITEM, NEW_USER = 900, 901
COLUMNS = ["user_id", "item_id", "timestamp"]


@pytest.fixture
def days(tmp_path: Path) -> list[pd.DataFrame]:
    """The log of the first morning, on the disk with its tables, and what happens on three days."""
    tables = Synthetic(Synthetic.Config(num_users=200, num_items=100, num_interactions=4000)).load()
    log = tables.interactions[COLUMNS].drop_duplicates().sort_values("timestamp", kind="stable")
    first = int(0.94 * len(log))
    log[:first].to_csv(tmp_path / "log.csv", index=False)
    tables.users[["user_id", "segment"]].to_csv(tmp_path / "users.csv", index=False)
    tables.items[["item_id", "title", "category"]].to_csv(tmp_path / "items.csv", index=False)
    size = (len(log) - first) // 3
    return [log[:first], *(log[start : start + size] for start in range(first, first + 3 * size, size))]


@contextmanager
def service(run: Path, store: Path) -> Iterator[httpx.Client]:
    with (
        forks.serving(run, f"store='{store}'") as url,
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        yield client


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def happens(client: httpx.Client, events: pd.DataFrame) -> None:
    for user, item, time in events.itertuples(index=False):
        ok(client.post(f"/users/{user}/events", json={"item_id": int(item), "time": int(time)}))


def rows_of(logs: Sequence[pd.DataFrame]) -> Counter[tuple[int, ...]]:
    return Counter(row for log in logs for row in log[COLUMNS].itertuples(index=False, name=None))


def everybody_has_everything_once(run: Path, store: Path, logs: Sequence[pd.DataFrame]) -> None:
    """A service that starts from the last night's bundle knows the live events, and each of them once.

    Of the log the bundle knows what came before its test window.
    """
    retriever = Retriever.open(run / "bundle")
    with contextlib.closing(ChangeStore(store)) as kept:
        assert replay(kept.changes(), retriever) == []
    before = logs[0][logs[0]["timestamp"] < retriever.bundle.manifest.request_time]
    expected = pd.concat([before, *logs[1:]])
    assert len(retriever.bundle.history) > len(before)  # so some events are in both
    for user, theirs in expected.groupby("user_id")["item_id"]:
        assert Counter(retriever.history(int(user))) == Counter(theirs.tolist())


def test_three_nights_lose_nothing_and_a_worse_model_is_refused(
    tmp_path: Path, days: list[pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [
        f"data.{table}_path={tmp_path / name}.csv"
        for table, name in (("interactions", "log"), ("users", "users"), ("items", "items"))
    ]
    done = run_script(
        "train", *SETTINGS, *files, "data.item_label=title", f"output_root={tmp_path}", "name=runs"
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    store, log = tmp_path / "live.sqlite", (tmp_path / "log.csv").read_bytes()

    begin = ["bundles=runs", f"store={store}", "epochs=1"]

    def version() -> str:
        return str(ok(client.get("/readyz"))["version"])

    def night(*changes: str) -> tuple[int, dict[str, Any], Path]:
        nights = {*(tmp_path / "nights").iterdir()}
        done = run_script("nightly", *begin, f"service={client.base_url}", *changes)
        assert done.returncode in (0, GATE_REFUSED), done
        (new,) = {path for path in (tmp_path / "nights").iterdir() if path.is_dir()} - nights
        return done.returncode, json.loads((new / "night.json").read_text()), new

    def nothing_new(*changes: str) -> None:
        before = {*(tmp_path / "runs").iterdir()}, {*(tmp_path / "nights").iterdir()}
        done = run_script("nightly", *begin, f"service={client.base_url}", *changes)
        assert (done.returncode, "nothing new since" in done.stdout) == (0, True), done
        assert ({*(tmp_path / "runs").iterdir()}, {*(tmp_path / "nights").iterdir()}) == before

    def read_log(record: dict[str, Any]) -> pd.DataFrame:
        own, exported = record["exported"]["data"]["interactions_path"]
        assert own == str(tmp_path / "log.csv")
        return pd.concat([pd.read_csv(own), pd.read_csv(exported)])

    def latest() -> str:
        return Path(resolve_latest("latest", tmp_path / "runs", "bundle")).name

    with service(run, store) as client:
        first = version()
        assert first.startswith(run.name)
        for mistake, message in [
            ("metric=coverage_at_20", "has no column coverage_at_20"),
            ("changes.history.length=3", "history: defines the towers"),
            ("store=gone.sqlite", "there is no store of live changes"),
            ("bundles=gone", f"serves {first}, which is no run in this folder"),
        ]:
            done = run_script("nightly", *begin, f"service={client.base_url}", mistake)
            assert (done.returncode, message in done.stderr) == (2, True), done
        nothing_new()  # nothing is exported, so the log is read as a training reads it
        happens(client, days[1])
        ok(client.put(f"/items/{NEW_ITEM}", json={"features": {"title": "LAMP", "category": "category 1"}}))
        ok(client.put(f"/users/{NEW_USER}", json={"features": {"segment": "segment 1"}}))
        theirs = pd.DataFrame([(NEW_USER, NEW_ITEM, int(days[1]["timestamp"].max()))], columns=COLUMNS)
        happens(client, theirs)

        status, record, folder = night()
        assert (status, record["gate"]["passed"]) == (0, True)
        second = version()
        assert second == record["version"] != first
        assert second.startswith(Path(record["trained"]).name)
        so_far = [*days[:2], theirs]
        assert rows_of([read_log(record)]) == rows_of(so_far)
        assert pd.read_csv(folder / "items.csv")["item_id"].tolist()[-1] == NEW_ITEM
        assert pd.read_csv(folder / "users.csv")["user_id"].tolist()[-1] == NEW_USER
        result = json.loads((Path(record["trained"]) / "result.json").read_text())
        assert (result["ancestry"]["generation"], result["ancestry"]["new_items"]) == (2, 1)
        asked = {"user_id": NEW_USER, "k": 200, "exclude_seen": False}
        found = [each["item_id"] for each in ok(client.post("/recommend", json=asked))["items"]]
        assert NEW_ITEM in found

        happens(client, days[2])
        status, record, folder = night("changes.optimizer.learning_rate=1.0", "alpha=0.4")
        assert (status, record["gate"]["passed"]) == (GATE_REFUSED, False)
        assert record["gate"]["new"] < record["gate"]["old"]
        typed = yaml.safe_load((Path(record["trained"]) / "overrides.yaml").read_text())
        assert "optimizer.learning_rate=1.0" in typed
        assert version() == record["version"] == second
        assert second.startswith(
            latest()
        )  # neither the refused towers nor the served ones with tonight's data
        assert record["gate"] == json.loads((Path(record["trained"]) / GATE).read_text())
        assert rows_of([read_log(record)]) == rows_of([*so_far, days[2]])

        happens(client, days[3])
        ok(client.delete(f"/items/{NEW_ITEM}"))
        status, record, folder = night()
        assert status == 0
        third = version()
        assert third.startswith(latest())
        assert third == record["version"] not in (first, second)
        so_far += days[2:]
        assert rows_of([read_log(record)]) == rows_of(so_far)
        assert (record["exported"]["events"], record["exported"]["removed_items"]) == (
            sum(map(len, days[1:])) + 1,
            1,
        )
        result = json.loads((Path(record["trained"]) / "result.json").read_text())
        assert result["ancestry"]["generation"] == 3
        found = [each["item_id"] for each in ok(client.post("/recommend", json=asked))["items"]]
        assert len(found) == 100
        assert NEW_ITEM not in found
        nothing_new()
        read_log(record).to_csv(tmp_path / "all.csv", index=False)
        nothing_new(f"interactions={tmp_path}/all.csv")
        assert (tmp_path / "log.csv").read_bytes() == log
        assert len([*(tmp_path / "runs").iterdir()]) == 4  # the first one, and one a night
    everybody_has_everything_once(Path(record["trained"]), store, so_far)

    known = {*(tmp_path / "runs").iterdir()}
    done = run_script("evaluate", f"run={run}", "metrics.filter_seen=false")  # of towers that were refitted
    printed = " ".join((done.stdout + done.stderr).split())
    assert re.search("evaluated in another way: .*, validation metrics", printed)
    (evaluated,) = {*(tmp_path / "runs").iterdir()} - known
    figures = json.loads((evaluated / "result.json").read_text())["metrics"]
    assert figures["test/recall_at_20"] > 0
    assert not [key for key in figures if key.startswith("valid/")]
