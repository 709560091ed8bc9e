"""What an earlier run left is taken where nothing has changed that counts, and not where something has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forks import SCRIPTS, start
from quick import QUICK
from tiny_runs import job_settings

from twotower.config.errors import InputError
from twotower.experiments.runs.result import Result, read_result
from twotower.jobs.evaluate import reindex
from twotower.jobs.rerun import rerun
from twotower.jobs.run_config import RunConfig
from twotower.jobs.train_run import resume, train
from twotower.training.train_towers import train_towers

SOURCE = """
import dataclasses
from mine_of_a_test.rows import few
from twotower.data.sources.synthetic import Synthetic

class Mine(Synthetic):
    def load(self):
        tables = super().load()
        return dataclasses.replace(tables, interactions=few(tables.interactions))
"""
TYPED = [
    "trainer=smoke",
    "trainer.refit=false",
    *QUICK,
    "metrics.num_bootstrap=0",
    "console=jsonl",
    "data=synthetic",
    "data._target_=mine_of_a_test.source.Mine",
    "data.num_users=200",
    "data.num_items=100",
    "data.num_interactions=3000",
]


@pytest.mark.slow
def test_towers_and_data_are_those_of_the_code_and_the_content_of_today(tmp_path: Path) -> None:
    package, outputs = tmp_path / "mine_of_a_test", tmp_path / "outputs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "source.py").write_text(SOURCE)
    (package / "rows.py").write_text("def few(rows):\n    return rows\n")

    def run() -> tuple[dict[str, Any], str]:
        out = tmp_path / "out"
        ended = start(SCRIPTS / "train.py", *TYPED, f"output_root={outputs}", out=out, path=tmp_path)
        assert ended.wait() == 0, out.read_text()
        newest = max(outputs.rglob("result.json"), key=lambda path: path.stat().st_mtime_ns)
        return json.loads(newest.read_text()), out.read_text()

    first, _ = run()
    assert "training_reused_from" not in first
    [folder] = [
        path
        for path in (outputs / ".cache").iterdir()
        if path.is_dir() and path.name not in {"trainings", "baselines"}
    ]

    # A new file, a comment, and a bit of the stored data set that has turned.
    (package / "more.py").write_text("x = 1\n")
    (package / "source.py").write_text(f"# mine\n{SOURCE}")
    victim = folder / "history_train" / "items.npy"
    content = bytearray(victim.read_bytes())
    content[-4] ^= 1
    victim.write_bytes(content)
    second, said = run()
    assert "this stored data set is damaged, and is built again" in said
    assert second["training_reused_from"]
    assert second["data"]["fingerprint"] == first["data"]["fingerprint"]
    assert second["metrics"] == first["metrics"]

    # What the source imports now keeps a part of the rows.
    (package / "rows.py").write_text("def few(rows):\n    return rows.iloc[:2000]\n")
    third, _ = run()
    assert (first["data"]["interactions"], third["data"]["interactions"]) == (3000, 2000)
    assert third["data"]["fingerprint"] != first["data"]["fingerprint"]
    assert "training_reused_from" not in third


@pytest.fixture
def with_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a run with a feature that reads `v.npy`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    log = [
        f"u{user},i{(user * 7 + step * step) % 30},{10**9 + step}" for user in range(40) for step in range(8)
    ]
    Path("log.csv").write_text("\n".join(["user_id,item_id,timestamp", *log]))
    Path("items.csv").write_text("\n".join(["item_id,row", *(f"i{row},{row}" for row in range(30))]))
    np.save("v.npy", np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32))
    typed = [
        *("data=table_files", "data.interactions_path=log.csv", "data.items_path=items.csv"),
        *("features=item_id", "split=leave_one_out", "trainer=smoke", *QUICK),
        *("item_tower.widths=[8]", "console=silent", "index=flat_ip"),
        *("metrics.ks=[5]", "trainer.monitor=valid/recall_at_5", "metrics.num_bootstrap=0"),
    ]
    settings = job_settings(*typed)
    settings["features"]["item"]["v"] = {
        "_target_": "twotower.model.features.vector.Vector",
        "column": "row",
        "path": "v.npy",
    }
    return settings


def test_a_feature_file_that_changes_is_never_taken_for_the_one_before(
    with_vectors: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def result(name: str) -> Result:
        found = read_result(Path(name))
        assert found is not None
        return found

    train(RunConfig.composed(with_vectors), Path("first"))
    train(RunConfig.composed(with_vectors), Path("again"))
    assert result("again").training_reused_from == "first"
    np.save("v.npy", np.load("v.npy")[::-1])
    ended = Path("first/result.json").read_text()
    Path("first/result.json").unlink()  # as if it had been killed at its end
    with pytest.raises(
        InputError,
        match=r"first: the data has changed .*a file that a feature reads",
    ):
        resume(Path("first"))
    Path("first/result.json").write_text(ended)
    train(RunConfig.composed(with_vectors), Path("second"))
    assert result("second").training_reused_from is None
    assert result("second").data.fingerprint == result("first").data.fingerprint  # still comparable
    assert result("second").data.feature_files != result("first").data.feature_files

    with pytest.raises(InputError, match=r"file of features\.item\.v has changed since these"):
        reindex(Path("first"), {"index": {"_target_": "twotower.index.kinds.flat_ip.FlatIP"}})
    capsys.readouterr()
    assert rerun(Path("first")) == 1
    assert "changed since the run: data.feature_files.item.v (" in capsys.readouterr().err


def test_a_feature_file_that_changes_during_a_run_fails_the_run(
    with_vectors: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def overwritten(*arguments: Any, **more: Any) -> Any:
        np.save("v.npy", np.load("v.npy") * 2)
        return train_towers(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr("twotower.jobs.obtain_towers.train_towers", overwritten)
        with pytest.raises(InputError, match=r"file of features\.item\.v changed during the run"):
            train(RunConfig.composed(with_vectors), Path("run"))
    train(RunConfig.composed(with_vectors), Path("after"))
    found = read_result(Path("after"))
    assert found is not None
    assert found.training_reused_from is None
