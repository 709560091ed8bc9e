"""Bad input through the real commands: one clear message, the right exit status, and nothing lost."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import run_script
from tiny_runs import train_in

from twotower.commands.conf import CONF
from twotower.jobs import open_run

SCRIPTS = CONF.parent / "scripts"
NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS = 60, 30, 1200
DAY = 86_400
OWN_DATA = shlex.split("""
data=table_files features=table_files
data.interactions_path=log.csv data.users_path=users.csv data.items_path=items.csv
features.item.price={_target_:twotower.model.features.numeric.Numeric,column:price,missing:refuse}
split.test=20 split.valid=20 objective=next_item objective.batch_size=128
embedding_dim=16 user_tower.widths=[16] item_tower.widths=[16]
trainer=smoke trainer.monitor=valid/recall_at_10 trainer.log_every_steps=1 trainer.progress_bar=false
index=flat_ip metrics.ks=[5,10] metrics.num_bootstrap=0
""")


Left = subprocess.CompletedProcess[str]


def write_tables(folder: Path) -> None:
    rng = np.random.default_rng(0)
    log = {
        "user_id": rng.integers(1, NUM_USERS + 1, NUM_INTERACTIONS),
        "item_id": rng.integers(1, NUM_ITEMS + 1, NUM_INTERACTIONS),
        "timestamp": 1_700_000_000 + rng.integers(0, 120 * DAY, NUM_INTERACTIONS),
    }
    items = {"item_id": np.arange(1, NUM_ITEMS + 1), "price": rng.integers(1, 9, NUM_ITEMS) + 0.5}
    users = {"user_id": np.arange(1, NUM_USERS + 1), "country": ["FR", "DE"] * (NUM_USERS // 2)}
    for name, table in {"log": log, "items": items, "users": users}.items():
        pd.DataFrame(table).to_csv(folder / f"{name}.csv", index=False)


def edit(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(name)).to_csv(name, index=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the user's own data."""
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    (tmp_path / "bare").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the user's own data; use a copy to change anything."""
    folder = tmp_path_factory.mktemp("finished")
    write_tables(folder)
    paths = [f"data.{table}_path={folder}/{file}.csv" for table, file in TABLES.items()]
    run = folder / "outputs" / "default" / "run"
    train_in(run, *OWN_DATA, *paths, f"output_root={folder / 'outputs'}")
    return run


TABLES = {"interactions": "log", "users": "users", "items": "items"}


@pytest.fixture
def copy(finished: Path, here: Path) -> Path:
    """A finished run that may be changed, in the working folder."""
    run = here / "outputs" / "default" / "run"
    shutil.copytree(finished, run)
    return run


def assert_one_message(left: Left, *parts: str) -> None:
    assert left.returncode == 2
    assert left.stderr.startswith("error: ")
    assert left.stderr.count("error: ") == 1
    assert "Traceback" not in left.stderr + left.stdout
    for part in parts:
        assert part in left.stderr


def runs(here: Path) -> list[Path]:
    return sorted(here.glob("outputs/default/*/"))


BEFORE_DATA: dict[str, tuple[str, ...]] = {
    "missing file": ("data.items_path=no.csv", "\n  data.items_path: there is no file no.csv (looked in /"),
    "folder without a table": ("data.items_path=bare", "\n  data.items_path: ", "no file ends in"),
    "path without the quotes it needs": (
        "data.items_path=items(1).csv",
        "\n  data.items_path=items(1).csv: ",
        """cannot be read; write 'data.items_path="items(1).csv"'""",
    ),
    "missing column": (
        "data.timestamp_column=time",
        "\n  data.timestamp_column: log.csv: column 'time' is missing; did you mean 'timestamp'?",
        "user_id, item_id, timestamp",
    ),
    "file for the folder of runs": (
        "output_root=log.csv/runs",
        "/log.csv is not a folder that this user may write to; name another",
    ),
    "wrong file": (
        "data.users_path=items.csv",
        "\n  data.user_column: items.csv: column 'user_id' is missing",
    ),
}


@pytest.mark.parametrize("case", BEFORE_DATA.values(), ids=BEFORE_DATA)
def test_told_before_data_is_read(here: Path, case: tuple[str, ...]) -> None:
    overrides, *parts = case
    before = sorted(here.rglob("*"))
    left = run_script("train", *OWN_DATA, *overrides.split())
    assert_one_message(left, *parts)
    assert left.stderr.startswith("error: 1 mistake in the configuration; nothing was read or written\n  ")
    assert len(left.stderr.splitlines()) == 2
    assert left.stdout == ""
    assert sorted(here.rglob("*")) == before


def test_a_quoted_path_may_hold_anything(here: Path) -> None:
    (here / "items.csv").rename(here / "items, old = (1).csv")
    left = run_script("train", *OWN_DATA, 'data.items_path="items, old = (1).csv"', "trainer.monitor=x")
    assert_one_message(left, "error: 1 mistake in ", "\n  trainer.monitor: ")


def test_several_mistakes_are_one_message(here: Path) -> None:
    wrong = "index=ivf_pq index.num_subquantizers=5 metrics.ks=[5] data.items_path=no.csv"
    left = run_script("train", *OWN_DATA, *wrong.split())
    for key in ("index.num_subquantizers", "trainer.monitor", "data.items_path"):
        assert_one_message(left, f"\n  {key}: ")
    assert left.stderr.startswith("error: 3 mistakes in the configuration; nothing was read or written\n")
    assert runs(here) == []


def repeat_an_id() -> None:
    edit("items.csv", lambda items: items.replace({"item_id": {5: 2}}))


def take_milliseconds() -> None:
    edit("log.csv", lambda log: log.assign(timestamp=log["timestamp"] * 1000))


def blank_the_pages() -> None:
    pd.read_csv("log.csv").to_parquet("log.parquet", index=False)
    content = Path("log.parquet").read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    Path("log.parquet").write_bytes(content[:4] + bytes(footer - 4) + content[footer:])


def change_nothing() -> None:
    pass


DATA: dict[str, tuple[Callable[[], None], str, tuple[str, ...]]] = {
    "duplicate ids": (
        repeat_an_id,
        "",
        ("items.csv: column 'item_id', line 6: duplicate id 2, first seen at line 3",),
    ),
    "milliseconds for seconds": (
        take_milliseconds,
        "",
        ("log.csv: column 'timestamp', line 2: ", "between 1970-01-02 and 2100", "data.timestamp_unit=ms"),
    ),
    "damaged file": (
        blank_the_pages,
        "data.interactions_path=log.parquet",
        ("log.parquet: cannot be read as Parquet: ",),
    ),
    "window longer than the log": (
        change_nothing,
        "split.test=200",
        ("split=temporal: train holds none of the 1,200 interactions", "change split.test and split.valid"),
    ),
    "more lists than items": (
        change_nothing,
        "index=ivf_flat index.nlist=31",
        ("\n  index.nlist: 31 lists are more than the 30 vectors to index: choose at most 30",),
    ),
    "k above the catalogue, and more": (
        change_nothing,
        "metrics.ks=[10,31] index=ivf_pq index.num_subquantizers=4",
        ("2 mistakes in ", "\n  metrics.ks: 31 is above the 30 items", "\n  index.num_bits: "),
    ),
}


@pytest.mark.parametrize("case", DATA.values(), ids=DATA)
def test_told_when_data_is_read(here: Path, case: tuple[Callable[[], None], str, tuple[str, ...]]) -> None:
    change, overrides, parts = case
    change()
    files = {path: path.read_bytes() for path in here.iterdir() if path.is_file()}
    left = run_script("train", *OWN_DATA, *overrides.split())
    assert_one_message(left, *parts)
    assert not list(here.glob("outputs/default"))
    assert {path: path.read_bytes() for path in files} == files


def burn(*_: object, **__: object) -> None:
    raise RuntimeError("the disk is on fire")


def test_a_defect_of_ours_exits_1(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_run, "build_dataset", burn)
    left = run_script("train", *OWN_DATA, "debug=true")
    assert left.returncode == 1
    assert left.stderr.startswith("Traceback")
    assert ", in burn\n" in left.stderr
    assert left.stderr.endswith("failed: RuntimeError: the disk is on fire (debug=true shows where)\n")
    (folder,) = runs(here)
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["error"]) == ("failed", "RuntimeError: the disk is on fire")
    assert "Traceback" in (folder / "train.log").read_text()
    assert not (folder / "bundle").exists()


def test_commands_that_need_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "reindex"
    before = sorted(here.rglob("*"))
    assert_one_message(run_script(script), "\n  run: ")
    for name in ("nowhere", "items.csv", "."):
        assert_one_message(run_script(script, f"run={name}"), f"\n  run: {name}: not a run", "or latest")
    assert sorted(here.rglob("*")) == before
    monkeypatch.setattr(open_run, "build_dataset", burn)
    assert run_script("train", *OWN_DATA).returncode == 1
    (failed,) = runs(here)
    assert_one_message(
        run_script(script, f"run={failed}"), f"run={failed}: this run failed", f"resume={failed}"
    )
    (failed / "result.json").unlink()
    assert_one_message(run_script(script, f"run={failed}"), f"run={failed}: this run has not ended")
    assert runs(here) == [failed]


def test_a_mistaken_index_leaves_no_folder(here: Path, copy: Path) -> None:
    left = run_script("reindex", f"run={copy}", "index=ivf_pq", "index.num_subquantizers=5")
    assert_one_message(left, "\n  index.num_subquantizers: 5 does not divide the embedding dimension 16")
    assert runs(here) == [copy]


def test_data_that_has_gone_since(here: Path, copy: Path) -> None:
    config = (copy / "config.yaml").read_text()
    finished_items = next(line for line in config.splitlines() if "items.csv" in line).split(": ")[1]
    (copy / "config.yaml").write_text(config.replace(finished_items, "gone.csv"))
    left = run_script("reindex", f"run={copy}", "index=flat_ip")
    assert_one_message(left, "\n  data.items_path: there is no file gone.csv")
    assert runs(here) == [copy]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("script", "harm", "file", "said"),
    [
        ("reindex", flip, "item_embeddings.npy", "damaged or changed"),
        ("reindex", Path.unlink, "towers.safetensors", "missing, though the manifest lists it"),
        ("evaluate", cut, "manifest.json", "manifest"),
    ],
)
def test_a_tampered_bundle_is_refused(
    here: Path,
    copy: Path,
    script: str,
    harm: Callable[[Path], None],
    file: str,
    said: str,
) -> None:
    harm(copy / "bundle" / file)
    assert_one_message(run_script(script, f"run={copy}"), f"error: {copy}/bundle/{file}: ", said)
    assert runs(here) == [copy]


def content_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def test_resume_of_what_cannot_be_resumed(here: Path, finished: Path) -> None:
    before = dict(content_of(finished))
    ended = f"error: {finished}: this run has ended (ok); there is nothing to resume"
    assert_one_message(run_script("train", f"resume={finished}"), ended)
    assert_one_message(run_script("train", "resume=nowhere"), "error: resume=nowhere: not a run")
    (here / "empty").mkdir()
    assert_one_message(run_script("train", "resume=empty"), "error: resume=empty: not a run")
    inside = f"error: resume={finished}/bundle: a bundle, not a run; name its parent folder, {finished}"
    assert_one_message(run_script("train", f"resume={finished}/bundle"), inside)
    assert_one_message(
        run_script("reindex", f"run={finished}/bundle"), inside.replace("error: resume=", "run: ", 1)
    )
    left = run_script("train", f"resume={finished}", "seed=3", "index=flat_ip")
    assert_one_message(
        left, f"error: resume={finished} uses the settings of the run", "leave out seed=3, index=flat_ip"
    )
    assert dict(content_of(finished)) == before
    assert runs(here) == []


def test_resume_of_a_run_that_failed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr(open_run, "build_dataset", burn)
        assert run_script("train", *OWN_DATA).returncode == 1
    (folder,) = runs(here)
    left = run_script("train", f"resume={folder}")
    assert (left.returncode, left.stderr) == (0, "")
    assert json.loads((folder / "result.json").read_text())["status"] == "ok"
