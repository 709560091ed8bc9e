"""Warm start and rebuilt bundles on data that grows week by week."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from in_process import run_script
from quick import QUICK

from twotower.bundle.notices import notices
from twotower.bundle.read import Bundle, read_bundle
from twotower.config.run_keys import WarmStart
from twotower.data.build_dataset import build_dataset
from twotower.experiments.runs.run import Run
from twotower.jobs.run_config import RunConfig
from twotower.model.towers.user_batch import UserBatch
from twotower.training import warm_start
from twotower.training.order import Replay
from twotower.training.parts import build_module, build_towers, fit_tables
from twotower.training.warm_start import Parent, is_new_interaction, read_parent

DAY, BEGIN = 86_400, 1_600_000_000
KIND = "{_target_: twotower.model.features.categorical.Categorical, column: kind, dim: 4}"
TITLE = "{_target_: twotower.model.features.text.HashedText, column: title, dim: 4}"
TAGS = "{_target_: twotower.model.features.tags.Tags, column: tags, dim: 4}"
LAND = "{_target_: twotower.model.features.categorical.Categorical, column: land, dim: 3}"
WHO = "{_target_: twotower.model.features.id.Id, column: user_id, dim: 4}"
FIRST = [
    "data=table_files",
    "features=table_files",
    f"+features.user={{who: {WHO}, land: {LAND}}}",
    f"+features.item.kind={KIND}",
    f"+features.item.title={TITLE}",
    f"+features.item.tags={TAGS}",
    "data.tag_columns=[tags]",
    "history.items=tower",
    "embedding_dim=8",
    "user_tower.widths=[8]",
    "item_tower.widths=[8]",
    "split.test=7",
    "split.valid=7",
    "trainer.max_epochs=2",
    *QUICK,
    "objective=next_item",
    "objective.batch_size=256",
    "item_bias=recent_popularity",
    "new_items=by_tower",
    "loss.learned_temperature=true",
    "metrics.num_bootstrap=0",
    "metrics.ks=[5,20]",
    "trainer.monitor=valid/recall_at_20",
    "index=flat_ip",
    "console=quiet",
    "name=t",
]


def write_week(folder: Path, days: int) -> list[str]:
    """A log of 100 days up to a day; users, items and values come late whose ids sort before the others."""
    rng = np.random.default_rng(0)
    number = 3_000
    log = pd.DataFrame(
        {
            "user_id": rng.integers(1_000, 1_120, number),
            "item_id": rng.integers(0, 150, number),
            "timestamp": BEGIN + np.sort(rng.integers(0, 100 * DAY, number)),
        }
    )
    early = log.timestamp < BEGIN + 77 * DAY
    log.loc[early, "item_id"] = 30 + log.item_id % 120
    log.loc[early, "user_id"] = 1_020 + log.user_id % 100
    log = log[log.timestamp < BEGIN + days * DAY]
    names, people = np.unique(log.item_id), np.unique(log.user_id)
    items = pd.DataFrame(
        {
            "item_id": names,
            "kind": [f"k{name % 5}" if name >= 30 else "a new kind" for name in names],
            "title": [f"word{name % 7} of {'old' if name >= 30 else 'fresh'} things" for name in names],
            "tags": [f"t{name % 3}|{'seen' if name >= 20 else 'unseen'}" for name in names],
        }
    )
    users = pd.DataFrame(
        {"user_id": people, "land": [f"l{who % 3}" if who > 1_019 else "here" for who in people]}
    )
    folder.mkdir(exist_ok=True)
    for name, table in (("interactions", log), ("users", users), ("items", items)):
        table.to_csv(folder / f"{name}.csv", index=False)
    return [f"data.{name}_path={folder / name}.csv" for name in ("interactions", "users", "items")]


def only_new(place: Path, before: set[Path]) -> Path:
    (found,) = {path.parent for path in place.glob("*/config.yaml")} - before
    return found


def train(place: Path, *arguments: str, status: int = 0) -> tuple[Path, dict[str, Any]]:
    before = {path.parent for path in place.glob("*/config.yaml")}
    done = run_script("train", *arguments)
    assert done.returncode == status, done.stderr
    print(done.stdout)
    folder = only_new(place, before)
    return folder, json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str], list[str]]:
    """The folder of runs, the first run, and what names the data of the two weeks after it."""
    root = tmp_path_factory.mktemp("weeks")
    first, second, third = (write_week(root / str(days), days) for days in (80, 87, 94))
    place = root / "out" / "t"
    run, _ = train(place, *FIRST, *first, f"output_root={root / 'out'}")
    return place, run, second, third


def user_vectors(bundle: Bundle, users: list[int], items: list[int]) -> torch.Tensor:
    """Embed users by id with the same history."""
    rows = torch.from_numpy(bundle.users.rows(users).astype(np.int64))
    history = torch.from_numpy(bundle.items.rows(items).astype(np.int64)).expand(len(users), len(items))
    batch = UserBatch(rows, history, torch.full_like(history, BEGIN), torch.full_like(rows, BEGIN))
    return bundle.model.encode_users(batch)


def item_records(bundle: Bundle, ids: np.ndarray) -> list[dict[str, Any]]:
    table = bundle.item_table.set_index("item_id").loc[ids].reset_index()
    records: list[dict[str, Any]] = table.to_dict("records")
    return records


def assert_nothing_jumps(old: Bundle, new: Bundle) -> None:
    """Known users and items are where they were; new ones where the old bundle puts new ones."""
    known = np.intersect1d(old.items.values, new.items.values)
    late = np.setdiff1d(new.items.values, old.items.values)
    assert len(known) > 100
    assert len(late) > 2
    with torch.inference_mode():
        before = old.model.encode_items(torch.from_numpy(old.items.rows(known)).long())
        after = new.model.encode_items(torch.from_numpy(new.items.rows(known)).long())
        assert torch.equal(before, after)
        as_new = old.model.encode_item_features(old.model.items.encode(item_records(new, late)))
        placed = new.model.encode_items(torch.from_numpy(new.items.rows(late)).long())
        torch.testing.assert_close(placed[:, :-1], as_new[:, :-1])
        # The bias of items that are never trained on is a quantile, of a few biases more.
        torch.testing.assert_close(placed[:, -1], as_new[:, -1], atol=0.01, rtol=0)
        sold = new.model.item_bias.has_occurred[new.items.rows(late) - 1]
        assert torch.equal(placed[sold, -1], as_new[sold, -1])
        people = np.intersect1d(old.users.values, new.users.values).tolist()
        # By rounding: what two items' embeddings add up to may be summed in another order of rows.
        vectors = (user_vectors(bundle, people, [40, 90]) for bundle in (old, new))
        torch.testing.assert_close(*vectors, atol=1e-6, rtol=0)


def assert_everything_is_known(bundle: Bundle, data: list[str]) -> None:
    """A bundle that is made to be served knows the whole log, the window that it was measured on too."""
    log = pd.read_csv(data[0].partition("=")[2])
    assert len(bundle.history) == len(log)
    assert bundle.history.times.max() == log.timestamp.max() == bundle.manifest.request_time - 1


def test_a_refresh_moves_nothing(
    weeks: tuple[Path, Path, list[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    place, first, second, _ = weeks
    folder, result = train(place, f"rebuild_bundle={first}", *second)
    text, shown = (folder / "train.log").read_text(), capsys.readouterr().out
    for row in ("split audit\n", "\npopularity  "):
        assert row in text
        assert row not in shown
    assert "\ntwo towers  " in shown
    old, new = read_bundle(first / "bundle"), read_bundle(folder / "bundle")
    assert_nothing_jumps(old, new)
    assert_everything_is_known(new, second)
    assert len(old.history) < (pd.read_csv(second[0].partition("=")[2]).timestamp < BEGIN + 80 * DAY).sum()
    log = pd.read_csv(Run.open(first).settings["data"]["interactions_path"])
    assert old.manifest.held_out_interactions == len(log) - len(old.history) > 0
    assert (new.manifest.held_out_interactions, notices(folder / "bundle", new.manifest)["warnings"]) == (
        0,
        [],
    )
    assert new.index.num_vectors == len(new.items) > len(old.items)
    assert result["bundle_rebuilt_from"] == str(first)
    ancestry = result["ancestry"]
    assert ancestry.items() >= {"how": "rebuild_bundle", "parent": str(first), "generation": 1}.items()
    assert ancestry["new_items"] == len(new.items) - len(old.items)
    assert "test/recall_at_20" in result["metrics"]
    assert not any(key.startswith("valid/") for key in result["metrics"])  # its towers have seen that window
    # What is gone on from is the run that trained the towers.
    _, again = train(place, f"warm_start={folder}", *second, "warm_start.epochs=1", "warm_start.replay=0.2")
    assert again["ancestry"]["generation"] == 2
    assert again["ancestry"]["new_items"] == ancestry["new_items"]


def begun(folder: Path, parent: Parent) -> Any:
    """A module of a run that went on, as it was before its first step."""
    settings = Run.open(folder).settings
    config = RunConfig.from_settings(settings)
    data = build_dataset(config.data.build(), config.split.build(), Path(config.output_root) / ".cache")
    how = WarmStart.model_validate(settings["warm_start"])
    log = data.train_and_valid
    new = is_new_interaction(parent, data, log)
    replay = Replay(new, how.replay, np.zeros(0, bool))
    towers = build_towers(config, data, log, fit_tables(config, data, log, parent.model))
    module = build_module(config, towers, log, shares=replay.shares)
    warm_start.transfer_parent(parent, data, log, module)
    return module


def test_weeks_go_on(weeks: tuple[Path, Path, list[str], list[str]]) -> None:
    place, first, second, third = weeks
    typed = ["warm_start.epochs=2", "warm_start.replay=0.1"]
    folder, result = train(place, f"warm_start={first}", *second, *typed)
    old, new = read_bundle(first / "bundle"), read_bundle(folder / "bundle")
    grown = result["ancestry"]
    assert_everything_is_known(new, second)
    assert grown["generation"] == 2
    assert grown["new_users"] == len(np.setdiff1d(new.users.values, old.users.values)) > 0
    assert grown["new_items"] == len(np.setdiff1d(new.items.values, old.items.values)) > 0
    assert (grown["epochs"], grown["replay"]) == (2, 0.1)
    assert result["training"]["epochs"] == 2
    assert new.model.items.features["kind"].state.values[-1] == "a new kind"  # type: ignore[attr-defined]

    parent = read_parent(first)
    seen = pd.read_csv(second[0].partition("=")[2])
    train_until = seen.timestamp.max() + 1 - 7 * DAY
    is_new = (seen.timestamp > parent.interactions.times.max()) & (seen.timestamp < train_until)
    assert grown["new_interactions"] == is_new.sum() > 0

    module = begun(folder, parent)
    beginning = dataclasses.replace(new, model=module.model.eval())
    assert_nothing_jumps(old, beginning)
    assert not torch.equal(
        new.model.encode_items(torch.arange(1, 9)), beginning.model.encode_items(torch.arange(1, 9))
    )
    assert module.temperature == pytest.approx(float(parent.loss["scorer.temperature.logarithm"].exp()))

    _, last = train(place, f"warm_start={folder}", *third, "warm_start.epochs=1")
    assert last["ancestry"]["generation"] == 3
    assert last["ancestry"]["parent"] == str(folder)


def test_an_interrupted_one_goes_on_to_the_same_towers(
    weeks: tuple[Path, Path, list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, first, second, _ = weeks
    typed = [*second, "warm_start.epochs=2", "trainer.checkpoint_every_steps=1"]
    whole, _ = train(place, f"warm_start={first}", *typed)

    def stop(*_: Any) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("twotower.training.fit.write_final", stop)
        broken, result = train(place, f"warm_start={first}", *typed, status=1)
    assert result["status"] == "failed"
    assert run_script("train", f"resume={broken}").returncode == 0
    for name in ("towers.safetensors", "item_embeddings.npy"):
        assert (broken / "bundle" / name).read_bytes() == (whole / "bundle" / name).read_bytes()
    assert json.loads((broken / "result.json").read_text())["ancestry"]["generation"] == 2


def refused(*arguments: str) -> str:
    done = run_script("train", *arguments)
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_what_cannot_be_gone_on_from_is_refused(
    weeks: tuple[Path, Path, list[str], list[str]], tmp_path: Path
) -> None:
    place, first, second, _ = weeks
    assert f"warm_start={tmp_path}: not a run" in refused(f"warm_start={tmp_path}")
    assert "a setting of warm_start=RUN_FOLDER" in refused("warm_start.epochs=3")
    typed = "embedding_dim=4", "history.length=3", "user_tower.widths=[8]", "size=small"
    said = refused(f"warm_start={first}", *typed)
    assert "4 mistakes in the overrides of warm_start=" in said
    assert "history.length: defines the towers" in said
    assert "size: defines the towers" in said
    runs = set(first.parent.iterdir())
    said = refused(f"rebuild_bundle={first}", *second, "split.test=20")
    assert "test targets" in said
    assert "up to 2020-" in said
    assert set(first.parent.iterdir()) == runs  # no empty folder stays
    # The targets of a hidden split are compared with the training data when they are revealed.
    hidden = shutil.copytree(first, place / "hidden")
    config = (hidden / "config.yaml").read_text()
    (hidden / "config.yaml").write_text(config.replace("test: read", "test: hidden"))
    rebuilt, _ = train(place, f"rebuild_bundle={hidden}", *second, "split.test=20")
    done = run_script("evaluate", f"run={rebuilt}", "test=reveal")
    assert (done.returncode, "test targets are training data" in done.stderr) == (2, True)
    assert "was trained on all" in refused(f"warm_start={first}")
    assert "warm_start.replay: expected less than or equal to 1, got 3" in refused(
        f"warm_start={first}", "warm_start.replay=3"
    )
    unended = tmp_path / "unended"
    Run.create(unended, Run.open(first).settings)
    assert "has not ended; finish it with twotower train resume=" in refused(f"warm_start={unended}")
    # Two windows may not overlap with what a choice of the epoch would then be made by.
    assert "valid targets are training data" in refused(
        f"warm_start={first}", *second, "trainer.refit=false", "split.valid=9"
    )


def activity(folder: Path) -> pd.DataFrame:
    """Count and age in days of the items of the data that a run was trained on."""
    config = RunConfig.from_settings(Run.open(folder).settings)
    data = build_dataset(config.data.build(), config.split.build(), Path(config.output_root) / ".cache")
    log = data.train_and_valid
    frame = pd.DataFrame({"item": data.items.ids(log.items), "time": log.times})
    by_item = frame.groupby("item").time.agg(["size", "max"])
    return pd.DataFrame({"count": by_item["size"], "age": (frame.time.max() - by_item["max"]) / DAY})


def test_rows_of_ids_that_are_gone_are_given_to_new_ones(
    weeks: tuple[Path, Path, list[str], list[str]], tmp_path: Path
) -> None:
    rules = ["features.item.item_id.min_count=12", "features.item.item_id.max_age_days=6"]
    place, data, root = tmp_path / "t", write_week(tmp_path / "80", 80), f"output_root={tmp_path}"
    first, result = train(place, *FIRST, *rules, *data, root, "trainer.max_epochs=1")
    ages = activity(first)
    is_old = ages.age > 6
    rows = ages[~is_old & (ages["count"] >= 12)].index.tolist()
    rare = len(ages) - len(rows) - int(is_old.sum())
    key = "features.item.item_id"
    counts = {"rows": len(rows), "rare": rare, "old": int(is_old.sum()), "rows_given_back": 0}
    assert result["training"]["id_rows"] == {key: counts}
    assert min(len(rows), rare, is_old.sum()) > 5
    old = read_bundle(first / "bundle").model
    assert old.items.features["item_id"].state.values == rows

    night, result = train(place, f"warm_start={first}", *weeks[2], "warm_start.epochs=1")
    ages = activity(night)
    recent = ages[ages.age <= 6]
    kept = [each for each in rows if each in recent.index]
    new = [each for each in recent[recent["count"] >= 12].index if each not in kept]
    assert min(len(kept), len(new), len(rows) - len(kept)) > 5
    assert result["training"]["id_rows"][key] == {
        "rows": len(kept) + len(new),
        "rare": len(recent) - len(kept) - len(new),
        "old": len(ages) - len(recent),
        "rows_given_back": len(rows) - len(kept),
    }
    read = read_parent(first)
    initial = begun(night, read).model.item_encoders["item_id"].table.weight
    earlier = old.item_encoders["item_id"].table.weight
    places = [0, *(rows.index(each) + 1 for each in kept), *([0] * len(new))]
    assert torch.equal(initial, earlier[places])
