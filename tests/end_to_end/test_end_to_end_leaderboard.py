"""scripts/bench/leaderboard.py on a tiny experiment: what is kept of a run, and the table made of that."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import leaderboard
import numpy as np
import pandas as pd
import pytest
from in_process import run_script
from leaderboard import command_of, read

from twotower.commands import conf
from twotower.commands.compose import compose
from twotower.commands.conf import choices
from twotower.config.errors import InputError
from twotower.config.exits import USER_INPUT
from twotower.data.download import DATA_VARIABLE
from twotower.evaluation.user_values import metric_name
from twotower.files.atomic import file_sha256

TINY = (
    "trainer=smoke",
    "initialization=random",
    "embedding_dim=8",
    "metrics.num_bootstrap=0",
    "trainer.probe_steps=0",
    "baselines=all_time",
    "index=flat_ip",
)
BENCHMARK = """# @package _global_
# twotower train benchmark=tiny
defaults: [override /data: table_files, override /split: temporal_share, override /metrics: published]
data: {{interactions_path: {log}}}
benchmark: {{name: tiny, num_items: 100, files: [{digest}]}}
"""


def in_process(words: Sequence[str]) -> None:
    done = run_script("train", *words[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log and the contract of a benchmark on it."""
    rng, path = np.random.default_rng(0), tmp_path / "log.csv"
    users, items = rng.integers(0, 200, 3_000), rng.permutation(np.arange(3_000) % 100)
    frame = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": np.arange(1, 3_001) * 86_400})
    frame.to_csv(path, index=False)
    (tmp_path / "conf" / "benchmark").mkdir(parents=True)
    text = BENCHMARK.format(log=path, digest=file_sha256(path))
    (tmp_path / "conf" / "benchmark" / "tiny.yaml").write_text(text)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    monkeypatch.setattr(leaderboard, "ROWS", (leaderboard.Row("tiny"),))
    monkeypatch.setattr(leaderboard, "train", in_process)
    leaderboard.contract_of.cache_clear()
    return path


def test_missing_seeds_are_trained_under_the_contract_and_three_make_a_row(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "lines.jsonl"
    place = ["--folder", str(tmp_path), "--lines", str(lines)]
    monkeypatch.setattr(leaderboard, "SEEDS", (1, 2))
    leaderboard.main(["--run", "--typed", *TINY, *place])
    monkeypatch.setattr(leaderboard, "SEEDS", (1, 2, 3))
    leaderboard.main(["--plan", "--typed", *TINY, *place])
    assert "benchmark=tiny: seeds [3], about" in capsys.readouterr().out
    first, second = read(lines)
    (folder,) = tmp_path.glob("seed1/tiny-default/*")
    result = json.loads((folder / "result.json").read_text())
    assert first["figures"]["test/recall_at_20"] == round(result["metrics"]["test/recall_at_20"], 5)
    assert (first["seed"], second["seed"], first["recipe"]) == (1, 2, second["recipe"])
    assert (first["fingerprint"], first["contract"]) == (
        result["fingerprint"],
        result["benchmark"]["fingerprint"],
    )
    assert first["command"] == " ".join(["twotower train", "benchmark=tiny", *TINY])
    # 100 items and row 0 of 7 columns, and more; what is fitted for new items is not among them
    assert 101 * 7 < first["parameters"] < 101 * 8 + 2_000
    assert first["side_information"] == ["order", "times"]

    leaderboard.main(["--lines", str(lines)])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny"))
    assert row.startswith("| tiny | default | recall@20 / ndcg@20 | - | - | 2 of 3 seeds | 8 |")
    leaderboard.keep({**first, "seed": 3}, lines)
    leaderboard.keep({**first, "seed": 4, "experiment": "old", "contract": "of another day"}, lines)
    leaderboard.main(["--lines", str(lines)])
    out = capsys.readouterr().out
    ours = [line["figures"]["test/recall_at_20"] for line in (first, second, first)]
    assert f"| - | {leaderboard.interval_of(ours)} / " in out
    assert "| 3 | 8 |" in out
    assert "- before the contracts of today: old, 1 seeds" in out

    (tmp_path / "stopped" / "seed3" / "tiny-default").mkdir(parents=True)
    stopped = shutil.copytree(folder, tmp_path / "stopped" / "seed3" / "tiny-default" / "a")
    (stopped / "result.json").unlink()
    told = []
    monkeypatch.setattr(leaderboard, "train", told.append)
    row = leaderboard.ROWS[0]
    assert leaderboard.run(row, first["recipe"], 3, tmp_path / "stopped", TINY) == stopped
    assert told == [["train.py", f"resume={stopped}"]]

    leaderboard.main(["--add", str(folder), "--lines", str(lines)])
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("embedding_dim: 8", "embedding_dim: 4"))
    with pytest.raises(InputError, match=r"config\.yaml: is not that of the run"):
        leaderboard.line_of(folder)
    (folder / "config.yaml").write_text(text)
    result = json.loads((folder / "result.json").read_text())
    ancestry = {"how": "warm_start", "parent": "before", "parent_fingerprint": "", "generation": 2}
    for change, message in (({"seed": 7}, "seed 7; the leaderboard"), ({"ancestry": ancestry}, "of before")):
        (folder / "result.json").write_text(json.dumps(result | change))
        with pytest.raises(InputError, match=message):
            leaderboard.line_of(folder)
    (folder / "result.json").write_text(json.dumps(result))
    revealed = tmp_path / "revealed"  # as `twotower evaluate` of a hidden run, without a bundle
    shutil.copytree(folder, revealed, ignore=shutil.ignore_patterns("bundle"))
    evaluation = {
        "training_reused_from": str(folder),
        "timing": result["timing"] | {"total_seconds": 1e6},
        "overrides": [*result["overrides"], "test=hidden", "test=reveal"],
    }
    (revealed / "result.json").write_text(json.dumps(result | evaluation))
    with pytest.raises(InputError, match=f"its towers are of {folder}; add that run"):
        leaderboard.line_of(revealed)
    hidden = {key: value for key, value in result["metrics"].items() if key.startswith("valid/")}
    (folder / "result.json").write_text(json.dumps(result | {"metrics": hidden}))
    assert leaderboard.line_of(revealed) == first
    with pytest.raises(InputError, match="its test split is hidden; add the run of"):
        leaderboard.line_of(folder)
    (folder / "result.json").write_text(json.dumps(result))
    contract = tmp_path / "conf" / "benchmark" / "tiny.yaml"
    contract.write_text(contract.read_text().replace("num_items: 100", "num_items: 99"))
    leaderboard.contract_of.cache_clear()
    with pytest.raises(InputError, match=r"its contract is not that of conf/benchmark/tiny\.yaml"):
        leaderboard.main(["--add", str(folder), *place])


def test_a_changed_byte_of_the_data_is_refused_before_training(tmp_path: Path, log: Path) -> None:
    expected = file_sha256(log)
    log.write_text(log.read_text() + "\n")
    done = run_script("train", "benchmark=tiny", *TINY, f"output_root={tmp_path}")
    assert done.returncode == USER_INPUT
    assert f"its SHA-256 is {file_sha256(log)}, expected {expected}" in done.stderr
    assert not list(tmp_path.glob("default/*"))


def test_the_temporal_benchmark_on_the_bundled_log(tmp_path: Path) -> None:
    words = ("benchmark=online_retail_temporal", *TINY, "baselines=none", "objective.epoch_requests=1000")
    done = run_script("train", *words, "new_items=by_tower", f"output_root={tmp_path}", "console=quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*/*/result.json")
    result = json.loads(path.read_text())
    assert result["benchmark"]["name"] == "online_retail_temporal"
    assert result["benchmark"]["fingerprint"] == leaderboard.contract_of("online_retail_temporal")
    audit = result["data"]["audit"]
    assert result["data"]["items"] == 3_659
    assert (audit["valid_from"][:10], audit["test_from"][:10]) == ("2011-10-14", "2011-11-11")
    assert 0.02 < result["metrics"]["test/recall_at_20"] < 0.2
    assert result["evaluated"]["test"] == {"users": 1_445, "targets": 31_805}


def test_the_interval_of_a_mean_by_hand() -> None:
    # sd .01, t(.975, 2) = 4.3027, so half the interval is 4.3027 x .01 / 3^1/2 = .0248
    assert leaderboard.interval_of([0.30, 0.31, 0.32]) == "0.3100 [0.2852, 0.3348]"
    assert leaderboard.interval_of([0.30]) == "0.3000"


def test_a_claim_is_read_off_the_head_comment() -> None:
    found = leaderboard.claim_of(
        "# @package _global_\n# A split: a model. Claimed on other: R@20 .1882, N@20\n"
        "# .1584, chosen on test (somebody/BSL, log of 2022: lr 1e-4).\nname: x"
    )
    assert found == leaderboard.Claim(
        {"test/uncapped_recall_at_20": 0.1882, "test/ndcg_at_20": 0.1584},
        "somebody/BSL, log of 2022",
        True,
        "other",
    )
    assert leaderboard.claim_of("# no words of that\n") is None
    of_ours = {path: path.read_text() for path in choices("experiment").values()}
    for path, text in of_ours.items():
        claim = leaderboard.claimed(path.stem)
        assert ("Claimed" in text) == (claim is not None)
        # The recipe measures what is claimed as it is claimed.
        kinds = compose("train", [f"experiment={path.stem}"])["metrics"]["kinds"] if claim else {}
        assert {metric_name(key) for key in (claim.figures if claim else ())} <= set(kinds)


def test_a_command_names_no_path_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, "/here/data")
    typed = ["experiment=x", "data.path=/here/data/x.txt", "output_root=/there", "seed=3", "name=y"]
    assert command_of(typed) == "twotower train experiment=x data.path=$TWOTOWER_DATA_DIR/x.txt"
