"""A log of sessions: `init` finds out, its command learns what follows what, and the default recipe warns."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from in_process import run_command
from quick import POPULARITY_ONLY

from twotower.commands import conf
from twotower.serving.retriever import Retriever

NUM_ITEMS, NUM_SESSIONS, CLICKS = 40, 400, 5
SMALL = (
    *POPULARITY_ONLY,
    "embedding_dim=16",
    "objective.batch_size=128",
    "metrics.num_bootstrap=0",
    "metrics.ks=[3,20]",
    "trainer.monitor=valid/recall_at_3",
    "trainer.max_epochs=4",
    "reuse=false",
)


def clicks() -> pd.DataFrame:
    """Sessions of some minutes: after item k comes k + 1, nine times of ten."""
    rng = np.random.default_rng(0)
    begins = 1_600_000_000 + np.sort(rng.integers(0, 20 * 86_400, NUM_SESSIONS))
    steps = np.where(
        rng.random((NUM_SESSIONS, CLICKS)) < 0.9, 1, rng.integers(0, NUM_ITEMS, (NUM_SESSIONS, CLICKS))
    )
    items = np.cumsum(
        steps + rng.integers(0, NUM_ITEMS, (NUM_SESSIONS, 1)) * (np.arange(CLICKS) == 0), axis=1
    )
    return pd.DataFrame(
        {
            "session_id": [f"s{session:03d}" for session in np.repeat(np.arange(NUM_SESSIONS), CLICKS)],
            "item": (items % NUM_ITEMS).ravel(),
            "time": (begins[:, None] + 40 * np.arange(CLICKS)).ravel(),
        }
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of the user's own after `init`, and the command that it prints."""
    folder = tmp_path_factory.mktemp("sessions")
    clicks().to_csv(folder / "clicks.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(conf, "OTHERS", (folder / "conf",))
        done = run_command("init", "clicks.csv", "--name", "site")
    assert done.returncode == 0, done.stderr
    line = done.stdout.rstrip().splitlines()[-1]
    assert line.startswith("next: twotower train ")
    return folder, shlex.split(line)[2:]


@pytest.fixture(autouse=True)
def in_project(project: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project[0])
    monkeypatch.setattr(conf, "OTHERS", (project[0] / "conf",))


def train(*words: str) -> tuple[dict[str, Any], Path, str]:
    known = set(Path("outputs").glob("*/*/result.json"))
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    (path,) = set(Path("outputs").glob("*/*/result.json")) - known
    return json.loads(path.read_text()), path.parent, done.stdout + done.stderr


def test_the_command_of_init_learns_what_follows(project: tuple[Path, list[str]]) -> None:
    result, folder, said = train(*project[1], *SMALL, "optimizer.learning_rate=0.01")
    audit = result["data"]["audit"]
    assert audit["split"] == "sessions"
    assert audit["cold_users"] == audit["test_users"] >= 0.09 * NUM_SESSIONS
    assert audit["future_leak_rate"] == 0
    assert result["metrics"]["test/recall_at_3"] > 0.7
    assert result["baselines"]["popularity"]["test/recall_at_3"] < 0.3
    assert "have no history" not in said
    retriever = Retriever.open(folder / "bundle")
    for item in (3, 17, 30):
        recommended = retriever.recommend_new({}, history=[item - 1, item], k=1)
        assert [each.item_id for each in recommended] == [item + 1]


def test_requests_before_every_session_are_a_warning() -> None:
    words = ("data=site", "split=sessions", *SMALL, "trainer.max_epochs=1", "trainer.refit=false")
    _, _, said = train("train", *words, "initialization=random")
    assert "100 % of the training examples have no history, 100 % of the validation users have one" in said
    assert "objective.horizon_days=28" in said
    assert "use experiment=sessions with your split" in said
    _, _, said = train("train", *words, "initialization=random", "split=temporal_share")
    assert "have no history" not in said  # no validation user has one
