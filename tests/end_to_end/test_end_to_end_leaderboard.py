"""scripts/bench/leaderboard.py on a tiny experiment: what is kept of a run, and the table made of that."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from in_process import run_script

from twotower.commands.compose import compose
from twotower.commands.conf import choices
from twotower.config.errors import InputError
from twotower.data.download import DATA_VARIABLE
from twotower.evaluation.user_values import metric_name

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

import leaderboard
from leaderboard import command_of, read

TINY = [
    "data=synthetic",
    "data.num_users=200",
    "data.num_items=100",
    "data.num_interactions=3000",
    "trainer=smoke",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    "index=flat_ip",
]


def in_process(words: Sequence[str]) -> None:
    done = run_script("train", *words[1:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_seeds_are_run_once_kept_as_lines_and_told_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leaderboard, "train", in_process)
    monkeypatch.setitem(leaderboard.TYPED, "tiny", TINY)
    lines, place = (
        tmp_path / "lines.jsonl",
        ["--folder", str(tmp_path), "--lines", str(tmp_path / "lines.jsonl")],
    )
    for _ in range(2):  # the second time there is nothing to do
        leaderboard.main(["--experiments", "tiny", "--seeds", "1", "2", *place])
    first, second = read(lines)
    assert len(lines.read_text().splitlines()) == 2
    (folder,) = tmp_path.glob("seed1/tiny/*")
    result = json.loads((folder / "result.json").read_text())
    assert first["figures"]["test/recall_at_20"] == round(result["metrics"]["test/recall_at_20"], 5)
    assert (first["seed"], second["seed"], first["recipe"]) == (1, 2, second["recipe"])
    assert first["fingerprint"] == result["fingerprint"]
    assert first["command"] == " ".join(["twotower train", *TINY])
    assert first["machine"]["cores"] == result["provenance"]["machine"]["cores"]
    # 100 items and row 0 of 63 columns and more; what is fitted for new items is not among them
    assert 101 * 63 < first["parameters"] < 101 * 63 + 6_000
    capsys.readouterr()
    leaderboard.main(["--table", "--lines", str(lines)])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny"))
    ours = [line["figures"]["test/recall_at_20"] for line in (first, second)]
    assert leaderboard.interval_of(ours) in row
    assert "| - |" in row  # nobody claims anything
    with pytest.raises(InputError, match="says no experiment=; name the row with --as"):
        leaderboard.main(["--add", str(folder), *place])
    leaderboard.main(["--add", str(folder), "--as", "mine", *place])
    assert [line["experiment"] for line in read(lines)] == ["tiny", "tiny", "mine"]


def test_the_interval_of_a_mean_by_hand() -> None:
    # sd .01, t(.975, 2) = 4.3027, so half the interval is 4.3027 x .01 / 3^1/2 = .0248
    assert leaderboard.interval_of([0.30, 0.31, 0.32]) == "0.3100 [0.2852, 0.3348]"
    assert leaderboard.interval_of([0.30]) == "0.3000"


def test_a_claim_is_read_off_the_head_comment() -> None:
    found = leaderboard.claim_of(
        "# @package _global_\n# A split: a model. Claimed: R@20 .1882, N@20\n"
        "# .1584, chosen on test (somebody/BSL, log of 2022: lr 1e-4).\nname: x"
    )
    assert found == leaderboard.Claim(
        {"test/uncapped_recall_at_20": 0.1882, "test/ndcg_at_20": 0.1584}, "somebody/BSL, log of 2022", True
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
