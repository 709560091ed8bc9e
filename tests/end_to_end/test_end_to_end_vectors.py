"""Results out through the real commands, and into a vector database as the guide says."""

import re
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "bundle"))
import tiny_bundle
from in_process import run_script

GUIDE = Path(__file__).parents[2] / "docs" / "vectors.md"


def test_the_guide_loads_the_vectors_and_finds_what_exact_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "qdrant_client", reason="qdrant-client is not installed: pip install 'twotower[vectors]'"
    )
    tiny_bundle.write(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    for side in ("items", "users"):
        run_script("embed", f"run={tmp_path}", f"side={side}", f"out={side}.parquet")
    run_script("recommend", f"run={tmp_path}", "k=10", "exclude_seen=false", "out=top.parquet")
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    compiled = compile(code, str(GUIDE), "exec")
    exec(compiled, names)
    expected: dict[str, list[tuple[str, Any]]] = {}
    for user, _, item, score in zip(*pq.read_table("top.parquet").to_pydict().values(), strict=True):
        expected.setdefault(user, []).append((item, pytest.approx(score, rel=1e-5, abs=1e-6)))
    assert len(expected) == tiny_bundle.NUM_USERS
    assert names["top"] == expected


def test_mistakes_are_told_in_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle")
    (tmp_path / "there.parquet").touch()
    out, run = tmp_path / "out.parquet", f"run={tmp_path}"
    there = set(tmp_path.iterdir())
    for command, arguments, message in [
        (
            "embed",
            [run, "side=items", f"out={tmp_path}/there.parquet"],
            "exists, and is never overwritten",
        ),
        ("embed", [run, "side=both", f"out={out}"], "unknown choice 'both'; valid: items, users"),
        ("embed", [f"run={tmp_path}/gone", "side=items", f"out={out}"], "there is no such folder"),
        ("embed", [run, "side=items", f"out={tmp_path}/out.csv"], "expected the name of a Parquet file"),
        ("recommend", [run, f"out={tmp_path}/there.parquet"], "exists, and is never overwritten"),
        ("recommend", [run, f"out={out}", "k=0", "exclude_sen=true"], "2 mistakes in the configuration"),
        ("recommend", [run, f"out={out}", "users=nobody.csv"], "a column 'user_id', and there is no file"),
        ("recommend", [run, f"out={out}", "where.prize=3"], "did you mean price"),
    ]:
        done = run_script(command, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert message in done.stderr
        assert set(tmp_path.iterdir()) == there
