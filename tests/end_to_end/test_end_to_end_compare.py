"""`twotower compare` on made-up run folders: who is called better than whom, bad input, the page."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_runs import Users, write_run
from in_process import run_script

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare.py"
NUM_SEEDS = 10


def compare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_script("compare", *arguments)


def compared(*arguments: str | Path) -> dict[str, Any]:
    done = compare(*arguments, "json=-")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report["rows"]}


@pytest.fixture(scope="module")
def users() -> Users:
    return Users()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, users: Users) -> Path:
    """Twenty runs: ten seeds, one that is 2 % better than a seed in every user, nine other configurations."""
    folder = tmp_path_factory.mktemp("twenty")
    elsewhere = Users(seed=1)  # validation users
    for seed in range(NUM_SEEDS):
        valid = float(elsewhere.recall(1, 100 + seed).mean())
        changed = {"metrics": metrics_of(valid, users.recall(1, seed))}
        write_run(
            folder / "seeds" / f"seed={seed}",
            users,
            users.recall(1, seed),
            changes={"seed": seed},
            result=changed,
        )
    write_run(folder / "planted", users, users.recall(1, 3) * 1.02, changes={"embedding_dim": 65})
    for width, quality in ((16, 0.8), (32, 0.9), (128, 1.01)):
        values = users.recall(quality, 50 + width)
        for index in ("FlatIP", "IVFSQ", "IVFPQ"):
            changes = {"embedding_dim": width, "index": index}
            write_run(
                folder / "sweep" / f"embedding_dim={width},index={index}", users, values, changes=changes
            )
    return folder


def metrics_of(valid: float, values: np.ndarray) -> dict[str, float]:
    mean = float(values.mean())
    return {"valid/recall_at_20": valid, "test/recall_at_20": mean, "test/ndcg_at_20": mean * 0.9}


@pytest.fixture(scope="module")
def report(outputs: Path) -> dict[str, Any]:
    return compared(outputs, "with_baselines=true")


def test_equal_lists_are_one_test(report: dict[str, Any], outputs: Path) -> None:
    # 10 seeds, the planted one, 9 runs of 3 trainings that serve 6 different lists, 3 baselines: 20.
    assert len(report["rows"]) == 23
    assert report["num_tests"] == 19
    names = [f"sweep/embedding_dim=32,index={index}" for index in ("FlatIP", "IVFSQ", "IVFPQ")]
    rows = rows_of(compared(outputs, f"baseline={names[0]}"))
    assert rows[names[1]]["verdict"] == "the same in every user"
    assert rows[names[2]]["verdict"] == "no difference shown"  # other lists, though recall is the same


def test_by_configuration_averages_seeds_and_counts_them_as_luck(outputs: Path, users: Users) -> None:
    rows = rows_of(compared(outputs, "by=configuration", "baseline=ease"))
    seeds = rows["seeds (10 seeds)"]
    each = [users.recall(1, seed).mean() for seed in range(NUM_SEEDS)]
    assert seeds["test/recall_at_20"] == pytest.approx(np.mean(each))
    assert (seeds["seed_mean"], seeds["seed_sd"], seeds["num_seeds"]) == pytest.approx(
        (np.mean(each), np.std(each, ddof=1), NUM_SEEDS)
    )
    assert seeds["seeds"] == list(range(NUM_SEEDS))
    assert seeds["verdict"] == "better"
    assert "seed" not in seeds


def test_two_configurations_with_seeds_of_their_own(tmp_path: Path, users: Users) -> None:
    for quality, width in ((1.0, 64), (1.0, 65), (1.25, 128)):
        for seed in range(3):
            values = users.recall(quality, width * 10 + seed)
            changes = {"seed": seed, "embedding_dim": width}
            write_run(tmp_path / f"{width}" / f"{seed}", users, values, changes=changes)
    rows = rows_of(compared(tmp_path, "by=configuration", "baseline=64"))
    equal = rows["65/0 (3 seeds)"]
    assert equal["verdict"] == "no difference shown"
    # More than the half interval, which is t(.975) standard errors; .84 more of them give a power of 80 %.
    assert equal["detectable_difference"] > 1.2 * (equal["high"] - equal["low"]) / 2
    assert rows["128/0 (3 seeds)"]["verdict"] == "better"
    assert rows["128/0 (3 seeds)"]["low"] > 0


def bad_runs(folder: Path, users: Users) -> None:
    values = users.recall(1, 1)
    write_run(folder / "good", users, values)
    write_run(folder / "better", users, users.recall(1.3, 2), changes={"embedding_dim": 128})
    write_run(folder / "going_on", users, None)
    write_run(
        folder / "failed", users, values, result={"status": "failed", "error": "RuntimeError: no memory"}
    )
    write_run(folder / "pruned", users, values, result={"status": "pruned", "training": {"epochs": 4}})
    write_run(folder / "other_split", users, values, data="e" * 64, changes={"split": {"test": 14}})
    write_run(folder / "unfiltered", users, values, seen_filter=False)
    other = Users(seed=3)
    write_run(folder / "other_users", other, other.recall(1, 1))
    torn = write_run(folder / "torn", users, values) / "result.json"
    torn.write_text(torn.read_text(encoding="utf-8")[:200], encoding="utf-8")
    (write_run(folder / "torn_config", users, values) / "config.yaml").write_text("a: [1", encoding="utf-8")
    (write_run(folder / "torn_users", users, values, changes={"seed": 7}) / "per_user.parquet").write_bytes(
        b"PAR1"
    )
    bundle = folder / "good" / "bundle"
    bundle.mkdir()
    (bundle / "config.yaml").write_text("a: 1", encoding="utf-8")
    (bundle / "manifest.json").write_text("{}", encoding="utf-8")


def test_what_is_wrong_with_a_run_is_said_and_the_others_are_shown(tmp_path: Path, users: Users) -> None:
    bad_runs(tmp_path, users)
    report = compared(tmp_path, "baseline=good")
    rows = rows_of(report)
    verdicts = {name: f"{row['verdict']}: {row['reason']}" for name, row in rows.items()}
    assert len(rows) == 11
    assert verdicts["better"].startswith("better (one seed):")
    assert verdicts["going_on"] == "has not ended: "
    assert verdicts["failed"] == "failed: RuntimeError: no memory: "
    assert verdicts["pruned"] == "pruned at epoch 4: "
    assert verdicts["other_split"] == "not comparable: other split: split.test 14 against 28"
    assert verdicts["unfiltered"].startswith("not comparable: seen items are filtered in one")
    assert verdicts["other_users"] == "not comparable: other users (also 1,445, but not the same)"
    assert verdicts["torn"].startswith("unreadable: result.json: damaged (")
    assert verdicts["torn_config"].startswith("unreadable: config.yaml is damaged: ")
    assert verdicts["torn_users"].startswith("not tested: per_user.parquet is damaged")
    assert rows["other_split"]["difference"] is None
    assert rows["torn"]["test/recall_at_20"] is None
    for name in ("going_on", "other_split", "unfiltered", "other_users", "torn", "torn_config", "torn_users"):
        assert any(note.startswith(str(tmp_path / name)) for note in report["notes"]), name
    table = compare(tmp_path).stdout
    assert all(name in table for name in rows)
    assert table.count("result.json: damaged") == table.count("config.yaml is damaged") == 1  # in a note


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["metric=test/recal_at_20"], "did you mean 'test/recall_at_20'?"),
        (["columns=nothing"], "columns=nothing: no run has this figure"),
        (["baseline=eas"], "did you mean 'ease'?"),
        (["baseline=seed="], "10 runs have this in their name"),
        (["csv=-", "json=-"], "only one of them can go to standard output"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(outputs: Path, arguments: list[str], told: str) -> None:
    done = compare(outputs, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""


def test_a_run_is_not_written_into(outputs: Path) -> None:
    target = outputs / "planted" / "result.json"
    before = target.read_bytes()
    done = compare(outputs, f"json={target}")
    assert (done.returncode, target.read_bytes()) == (2, before)
    assert "a run folder holds only what the run wrote" in done.stderr


def test_places_without_runs(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, told in (
        (tmp_path / "empty", "no run found"),
        (tmp_path / "missing", "there is no such file or folder"),
        (f"{tmp_path}/x*", "no path fits this pattern"),
    ):
        done = compare(path)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
    notes = compare(outputs, tmp_path / "empty", "tests=false").stdout
    assert "no run is in this folder" in " ".join(notes.split())  # a long path wraps


def test_every_form_of_file(outputs: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / "new" / f"report.{form}" for form in ("html", "csv", "json", "markdown")}
    done = compare(outputs, *(f"{form}={path}" for form, path in files.items()))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text(encoding="utf-8"))))
    assert len(rows) == 20
    assert {"settings.embedding_dim", "settings.index", "settings.seed", "corrected_p_value"} <= set(rows[0])
    assert float(rows[0]["test/recall_at_20"]) >= float(rows[-1]["test/recall_at_20"])
    assert files["markdown"].read_text(encoding="utf-8").count("\n| ") >= 20
    page = files["html"].read_text(encoding="utf-8")
    assert "src=" not in page.split("<script>")[0]
    assert page.count("</script>") == 3
    start = page.index('id="data">') + len('id="data">')
    data = json.loads(page[start : page.index("</script>", start)])
    assert len(data["rows"]) == 20
    assert data["plots"]
    assert all(plot["front"] for plot in data["plots"])


def test_it_takes_no_torch(outputs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), str(outputs), "tests=false"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "FlatIP " in done.stdout
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "twotower.experiments.compare.command" in names
    assert not names & {"torch", "pytorch_lightning", "faiss", "matplotlib", "tensorboard", "plotly"}
