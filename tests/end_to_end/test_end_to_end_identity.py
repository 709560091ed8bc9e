"""What an earlier run left is taken where nothing has changed that counts, and not where something has."""

import json
from pathlib import Path
from typing import Any

import pytest
from forks import SCRIPTS, start

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
        path for path in (outputs / ".cache").iterdir() if path.name not in {"trainings", "baselines"}
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
