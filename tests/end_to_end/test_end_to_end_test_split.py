"""Looks at the test split: which commands add one to the ledger, and a split that stays hidden."""

import shlex
import shutil
from pathlib import Path

import pytest
from in_process import run_command
from quick import QUICK
from tiny_runs import result_in

from twotower.experiments.runs.test_ledger import LEDGER, count_looks, read_looks

TINY = [
    "data=synthetic",
    "data.num_users=60",
    "data.num_items=60",
    "data.num_interactions=1200",
    "objective.batch_size=256",
    "objective.epoch_requests=512",
    "trainer.max_epochs=1",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    *QUICK,
    "index=flat_ip",
    "console=quiet",
]
VARIED = ("-m", "embedding_dim=4,8")


def command(*words: str | Path) -> str:
    done = run_command(*map(str, words))
    assert done.returncode == 0, done.stderr
    return done.stdout


def newest(parent: Path, before: set[Path]) -> Path:
    (folder,) = set(parent.iterdir()) - before
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose jobs read the test split, and one whose jobs do not."""
    root = tmp_path_factory.mktemp("looks")
    command("train", *TINY, f"output_root={root}", "name=read", *VARIED)
    said = command(
        "train", *TINY, f"output_root={root}", "name=hidden", "-m", "embedding_dim=4,16", "test=hidden"
    )
    (root / "said.txt").write_text(said)
    return root


def test_each_job_adds_a_look_and_a_repetition_none(root: Path) -> None:
    assert len(read_looks(root / LEDGER)) == 2
    command("train", *TINY, f"output_root={root}", "name=read", *VARIED)
    command("train", *TINY, f"output_root={root}", "name=single", "embedding_dim=4")  # reuses the quality
    job = next((root / "read").glob("*-sweep")) / "dim4"
    (job / "result.json").unlink()
    command("train", f"resume={job}")  # killed between its look and its result
    assert len(read_looks(root / LEDGER)) == 2
    looks = result_in(job)["test_looks"]
    assert (looks["configurations"], looks["looks"], looks["metric"]) == (2, 2, "test/recall_at_20")
    assert looks["optimism"] > 0
    assert "configurations looked at it (2 looks); the best of 2 is expected" in " ".join(
        command("compare", job).split()
    )
    command("reindex", f"run={job}", "index=ivf_sq")  # other lists, so a look of their own
    command("train", f"rerun={job}")  # the same look
    command("evaluate", f"run={job}", "metrics.ks=[10,20,50]")  # of the same configuration, by other metrics
    found = read_looks(root / LEDGER)
    assert (len(found), count_looks(found, found[0].data, found[0].metric).looks) == (5, 3)


def test_test_values_reach_the_disk_with_their_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = read_looks(root / LEDGER)
    with monkeypatch.context() as patch:
        patch.setattr("twotower.job.evaluate_baselines", lambda *_: 1 / 0)
        done = run_command("train", *TINY, f"output_root={root}", "name=killed", "embedding_dim=12")
    (killed,) = (root / "killed").iterdir()
    assert done.returncode == 1
    assert read_looks(root / LEDGER) == looks
    assert not list(killed.glob("per_user*"))
    assert all(b"test/" not in path.read_bytes() for path in killed.rglob("*") if path.is_file())


def test_looks_of_a_moved_output_root_and_of_edited_settings(root: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(root, tmp_path / "moved")
    job = next((moved / "read").glob("*-sweep")) / "dim8"
    looks = read_looks(root / LEDGER)
    command("evaluate", f"run={job}", "metrics.ks=[10,20,40]")
    assert read_looks(root / LEDGER) == looks
    assert len(read_looks(moved / LEDGER)) == len(looks) + 1
    # A look would be that of another configuration.
    config = (job / "config.yaml").read_text()
    (job / "config.yaml").write_text(config.replace("embedding_dim: 8", "embedding_dim: 4"))
    done = run_command("evaluate", f"run={job}")
    assert "embedding_dim changed after the run; restore the file of its bundle" in done.stderr
    assert done.returncode == 2


def test_a_hidden_test_split_is_in_no_file_until_it_is_revealed(root: Path) -> None:
    sweep = next((root / "hidden").glob("*-sweep"))
    reveal = (root / "said.txt").read_text().splitlines()[-1].removeprefix("test hidden ")
    for path in filter(Path.is_file, sweep.rglob("*")):
        assert b"test/" not in path.read_bytes(), path
        assert not path.name.startswith("per_user")
    winner = Path(shlex.split(reveal)[2].removeprefix("run="))
    shown = command("compare", sweep)
    assert "test hidden, so validation ranks it" in shown
    assert winner.name in shown.splitlines()[2]

    looks, runs = read_looks(root / LEDGER), set(sweep.iterdir())
    said = command("evaluate", f"run={winner}", "console=full")
    again = newest(sweep, runs)
    assert f"test split: hidden; twotower evaluate run={winner} test=reveal looks at it" in said
    command("reindex", f"run={winner}", "index=ivf_flat")
    assert all(b"test/" not in path.read_bytes() for path in again.rglob("*.json"))
    assert read_looks(root / LEDGER) == looks

    runs = set(sweep.iterdir())
    command(*shlex.split(reveal)[1:])
    revealed = result_in(newest(sweep, runs))
    assert len(read_looks(root / LEDGER)) == len(looks) + 1
    assert revealed["metrics"].keys() >= {"valid/recall_at_20", "test/recall_at_20"}
    command("train", *TINY, f"output_root={root}", "name=open", f"embedding_dim={winner.name[3:]}")
    read = result_in(next((root / "open").glob("*")))
    assert read["metrics"] == revealed["metrics"]
    assert read["test_looks"] == revealed["test_looks"]  # the same configuration and seed
