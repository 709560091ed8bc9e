import os
import sys
import time
from pathlib import Path

import pytest

from twotower.experiments.launchers.launcher import JobError
from twotower.experiments.launchers.slurm import Slurm

HERE = Path(__file__).parent
COMMANDS = ("sbatch", "srun", "scancel", "sacct")

pytest.importorskip("submitit", reason="launcher=slurm needs the extra: pip install 'twotower[slurm]'")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for SLURM on the PATH; returns the folder with a folder a job."""
    commands, state = tmp_path / "commands", tmp_path / "state"
    commands.mkdir()
    state.mkdir()
    for name in COMMANDS:
        command = commands / name
        command.write_text(f"#!{sys.executable}\n" + (HERE / "slurm_double.py").read_text())
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_DOUBLE", str(state))
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE)])
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)
    monkeypatch.setattr("submitit.slurm.slurm.SlurmJob.watcher._delay_s", 0.1)  # not 2, 4, 8 s
    return state


def test_a_host_without_slurm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ((key, message),) = Slurm.Config().problems()
    assert key == "cluster"
    assert "sbatch is not installed" in message
    assert Slurm.Config(cluster="local").problems() == []


@pytest.mark.slow
def test_jobs_go_through_the_cluster_s_commands(cluster: Path, tmp_path: Path) -> None:
    launcher = Slurm(
        Slurm.Config(
            partition="night",
            timeout_min=30,
            cpus_per_task=3,
            mem_gb=1.5,
            gpus=2,
            extra={"qos": "high", "nice": 10},
        ),
        "launcher_tasks.run",
        tmp_path / "sweep",
    )
    with launcher:
        handles = [
            launcher.submit({"do": "answer", "status": 3}),
            launcher.submit({"do": "fail", "message": "as told"}),
            launcher.submit({"do": "be_killed"}),
        ]
        assert handles[0].result() == 3
        with pytest.raises(JobError, match="the task raised ValueError: as told; see /"):
            handles[1].result()
        with pytest.raises(JobError, match=r"job \d ended without an answer \(OUT_OF_MEMORY\); see /"):
            handles[2].result()
        written = tmp_path / "written"
        running = launcher.submit({"do": "write_on", "file": str(written)})
        ends = time.monotonic() + 600
        while not written.is_file():
            assert time.monotonic() < ends
            time.sleep(0.02)
    with pytest.raises(JobError, match="stopped"):
        running.result()
    size = written.stat().st_size
    time.sleep(0.2)
    assert written.stat().st_size == size
    script = (cluster / "1" / "script").read_text()
    for option in ("partition=night", "time=30", "cpus-per-task=3", "mem=1536MB", "gpus-per-node=2"):
        assert f"#SBATCH --{option}\n" in script
    assert "#SBATCH --qos=high\n" in script
    assert "#SBATCH --nice=10\n" in script


@pytest.mark.slow
def test_a_job_that_is_preempted_is_called_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE)])
    with Slurm(Slurm.Config(cluster="local"), "launcher_tasks.run", tmp_path / "sweep") as launcher:
        handle = launcher.submit({"do": "be_preempted_once", "file": str(tmp_path / "calls")})
        assert handle.result() == 2
