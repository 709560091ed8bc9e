"""Results out through the real commands, and into a vector database as the guide says."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny_bundle
from in_process import run_script

GUIDE = Path(__file__).parents[2] / "docs" / "vectors.md"


def run_guide_code(library: str) -> dict[str, Any]:
    """Run the code of the guide that imports a library; returns its variables."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if library in block)
    names: dict[str, Any] = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    return names


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
    names = run_guide_code("qdrant_client")
    expected: dict[str, list[tuple[str, Any]]] = {}
    for user, _, item, score in zip(*pq.read_table("top.parquet").to_pydict().values(), strict=True):
        expected.setdefault(user, []).append((item, pytest.approx(score, rel=1e-5, abs=1e-6)))
    assert len(expected) == tiny_bundle.NUM_USERS
    assert names["top"] == expected


def test_the_guide_searches_an_index_of_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bundle.write(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    embed = ["embed", f"run={tmp_path}"]
    for words in (
        *([*embed, "side=items", "out=item_parts", f"shard={number}/3"] for number in (3, 1, 2)),
        *([*embed, "side=users", "out=user_parts", f"shard={number}/2"] for number in (1, 2)),
        [*embed, "side=users", "out=users.parquet"],
        ["recommend", f"run={tmp_path}", "k=10", "exclude_seen=false", "out=top.parquet"],
    ):
        assert run_script(*words).returncode == 0
    build = ["parts=item_parts", "queries=user_parts", "index=ivf_flat", "index.nlist=4", "index.nprobe=4"]
    done = run_script("build_index", *build, "out=item_index")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok  60 items, ivf_flat nprobe=4, recall@60 1.0000, ")
    found = run_guide_code("faiss")
    top = pq.read_table("top.parquet")
    assert found["top_items"].reshape(-1).tolist() == top["item_id"].to_pylist()
    assert found["scores"].reshape(-1).tolist() == pytest.approx(top["score"].to_pylist(), rel=1e-5, abs=1e-6)
    Path("item_parts/part-2-of-3.parquet").unlink()
    done = run_script("build_index", *build, "out=other_index")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: parts=item_parts: 2 of 3 parts are finished; missing: part-2-of-3.parquet; type: "
        "twotower embed run=RUN side=items out=item_parts shard=2/3\n"
    )
    done = run_script("build_index", *build, "out=item_index")
    assert (done.returncode, done.stderr.count("exists, and is never overwritten")) == (2, 1)


def test_a_launcher_writes_all_shards_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle.write(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    embed = ["embed", f"run={tmp_path}", "side=users"]
    for number in (1, 2, 3):
        run_script(*embed, "out=typed", f"shard={number}/3")
    typed = {path.name: path.read_bytes() for path in Path("typed").glob("*.parquet")}
    assert len(typed) == 3
    Path("jobs").mkdir()
    first = Path("typed/part-1-of-3.parquet").rename("jobs/part-1-of-3.parquet")
    changed = first.stat().st_mtime_ns
    jobs = ["shards=3", "launcher=local", "launcher.num_workers=2"]
    done = run_script(*embed, "out=jobs", *jobs)
    assert (done.returncode, done.stderr) == (0, "")
    folder = Path("jobs").absolute()
    *lines, last = done.stdout.splitlines()
    assert sorted(lines) == [f"shard {number}/3  {folder}/part-{number}-of-3.parquet" for number in (2, 3)]
    assert last == f"ok  12 users in 3 parts (1 of an earlier call)  {folder}"
    assert {path.name: path.read_bytes() for path in Path("jobs").glob("*.parquet")} == typed
    assert first.stat().st_mtime_ns == changed
    for words, message in [
        ([*embed, "out=jobs", "shards=13"], "has only 12 users; expected at most that"),
        ([*embed, "out=jobs", "shards=2"], "is one of 3 parts, and shard=1/2 one of 2"),
        ([*embed, "out=jobs", "shards=3", "context.device=phone"], "of another bundle or command; move it"),
        ([*embed, "out=new", "shards=3", "shard=1/3"], "shards=16 writes all 16 shards, and shard=3/16 one"),
        (
            [*embed, "out=new.parquet", "launcher=local"],
            "launcher=local: a launcher runs the shards of shards=n",
        ),
        (
            [*embed, "out=new", *jobs, "context.device=phone"],
            "InputError: context: 'device' is not a feature",
        ),
    ]:
        done = run_script(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    assert not list(Path("new").glob("*.parquet"))


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
        ("embed", [run, "side=items", f"out={out}", "shard=1/2"], "with shard, expected a folder"),
        (
            "embed",
            [run, "side=items", f"out={tmp_path}/parts", "shard=3/2"],
            "shard=3/2: expected k/n, with k",
        ),
        ("embed", [run, "side=items", f"out={tmp_path}/parts", "shard=61"], "shard=61: expected k/n, with k"),
        (
            "embed",
            [run, "side=items", f"out={tmp_path}/parts", "shard=1/61"],
            "has only 60 items; expected n",
        ),
        ("build_index", [f"parts={tmp_path}/no", f"out={out}"], "there is no such file or folder; type: "),
        ("build_index", [f"out={out}", "queries=q", "index=ivf_sk"], "2 mistakes in the configuration"),
        ("recommend", [run, f"out={tmp_path}/there.parquet"], "exists, and is never overwritten"),
        ("recommend", [run, f"out={out}", "k=0", "exclude_sen=true"], "2 mistakes in the configuration"),
        ("recommend", [run, f"out={out}", "users=nobody.csv"], "a column 'user_id', and there is no file"),
        ("recommend", [run, f"out={out}", "where.prize=3"], "did you mean 'price'"),
    ]:
        done = run_script(command, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert message in done.stderr
        assert set(tmp_path.iterdir()) == there
