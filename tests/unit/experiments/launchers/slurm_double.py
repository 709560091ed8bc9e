"""A stand-in for the commands of SLURM, called by the name of its copy; jobs are process groups here."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

STATE = Path(os.environ["SLURM_DOUBLE"])


def alive(job: str) -> bool:
    try:
        return psutil.Process(int((STATE / job / "pid").read_text())).status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, psutil.NoSuchProcess):
        return False


def sbatch(script: str) -> None:
    job = str(len(list(STATE.iterdir())) + 1)
    folder = STATE / job
    folder.mkdir()
    (folder / "script").write_text(Path(script).read_text())
    one = {"SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": "node1"}
    zero = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    process = subprocess.Popen(
        ["sh", "-c", f"bash {folder}/script; echo $? > {folder}/code"],
        env={**os.environ, "SLURM_JOB_ID": job, **one, **zero},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (folder / "new").write_text(str(process.pid))
    (folder / "new").rename(folder / "pid")
    print(f"Submitted batch job {job}")


def srun(*arguments: str) -> None:
    files = {"--output": 1, "--error": 2}
    for position, text in enumerate(arguments):
        if text in files:
            path = arguments[position + 1].replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), files[text])
    command = list(arguments[arguments.index(sys.executable) :])
    os.execv(command[0], command)


def scancel(*jobs: str) -> None:
    for job in filter(alive, jobs):
        os.killpg(int((STATE / job / "pid").read_text()), signal.SIGKILL)


def sacct(*arguments: str) -> None:
    print("JobID|State|NodeList")
    for job in sorted(path.name for path in STATE.iterdir()):
        code, pid = STATE / job / "code", STATE / job / "pid"
        ended = {"0": "COMPLETED", "137": "OUT_OF_MEMORY"}
        state = (
            "PENDING"
            if not pid.exists()
            else "RUNNING"
            if alive(job)
            else ended.get(code.read_text().strip(), "FAILED")
            if code.exists()
            else "CANCELLED"
        )
        print(f"{job}|{state}|node1")


if __name__ == "__main__":
    globals()[Path(sys.argv[0]).name](*sys.argv[1:])
