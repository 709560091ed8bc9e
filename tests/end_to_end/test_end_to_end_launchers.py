import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TASKS = str(Path(__file__).parents[1] / "unit" / "launchers")
NO_RAY = importlib.util.find_spec("ray") is None

ON_TWO_NODES = """
import os, sys
from pathlib import Path
from ray.cluster_utils import Cluster

from twotower.config.errors import InputError
from twotower.launchers.launcher import JobError
from twotower.launchers.ray import Ray

folder = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
def start(**arguments):
    return Ray.Config(address=cluster.address, **arguments).build("launcher_tasks.run", folder)

with start() as launcher:
    import ray

    assert launcher.num_workers == 2, ray.cluster_resources()
    meeting = folder / "meeting"
    meeting.mkdir(parents=True)
    together = {"do": "meet", "meeting": str(meeting), "wanted": 2, "seconds": 600}
    running = [launcher.submit(together | {"name": f"job-{number}"}) for number in range(2)]
    assert [handle.result() for handle in running] == [2, 2]
    nodes = ray.nodes()
    assert len(nodes) == 2
    dying = [launcher.submit({"do": "be_killed"}), launcher.submit({"do": "answer", "status": 3})]
    try:
        dying[0].result()
        raise SystemExit("it lives")
    except JobError as error:
        print(error)
    assert dying[1].result() == 3

with start() as launcher:  # the cluster is there as before
    (folder / "again" / "meeting").mkdir(parents=True)
    node = {"do": "node", "meeting": str(folder / "again" / "meeting"), "wanted": 2, "seconds": 600}
    spread = [
        launcher.submit(node | {"folder": os.getcwd(), "name": f"job-{number}"}) for number in range(2)
    ]
    nodes = {handle.result() for handle in spread}
    assert len(nodes) == 2, f"both on one node: {nodes}"
try:
    with start(num_cpus=2):
        raise SystemExit("a job of 2 cores on nodes of 1")
except InputError as error:
    print(error)
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.skipif(NO_RAY, reason="launcher=ray needs the extra: pip install 'twotower[ray]'")
def test_a_ray_cluster_of_two_nodes(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([TASKS, *sys.path]),
        "RAY_AUTH_MODE": "disabled",
        "HOME": str(tmp_path),
    }
    ended = subprocess.run(
        [sys.executable, "-c", ON_TWO_NODES, str(tmp_path / "sweep")],
        env=environment | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "WorkerCrashedError: The worker died unexpectedly" in ended.stdout
    assert "; see /" in ended.stdout
    assert "more than any node has" in ended.stdout


SMALL_RUN = (
    *("trainer=smoke", "trainer.max_epochs=6", "data=synthetic", "features=synthetic", "data.num_users=300"),
    *("baselines=none", "metrics.importance_repeats=0", "initialization=random"),
)


@pytest.mark.slow
@pytest.mark.skipif(NO_RAY, reason="launcher=ray needs the extra: pip install 'twotower[ray]'")
def test_a_job_of_two_processes_resumes_after_one_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twotower", "train", "-m", "seed=1,2", "launcher=ray", *SMALL_RUN]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "output").open("wb") as output:
        sweep = subprocess.Popen(
            [*command, "trainer.devices=2", f"output_root={tmp_path}"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        killed = False
        ends = time.monotonic() + 600
        while sweep.poll() is None and time.monotonic() < ends:
            time.sleep(0.1)
            logs = list(tmp_path.glob("default/*-sweep/seed1/train.log"))
            if not killed and logs and "epoch 2/6" in logs[0].read_text(encoding="utf-8"):
                os.kill(
                    process_that_writes(logs[0].parents[1] / "workers" / "ray-0-rank1.log"), signal.SIGKILL
                )
                killed = True
        sweep.kill()
    assert sweep.wait() == 0, (tmp_path / "output").read_text(encoding="utf-8")
    assert killed
    assert "fit resumes from" in logs[0].read_text(encoding="utf-8")
    folder = logs[0].parents[1]
    for job in ("seed1", "seed2"):
        assert json.loads((folder / job / "result.json").read_text(encoding="utf-8"))["status"] == "ok"
    outputs = sorted(path.name for path in (folder / "workers").iterdir())
    assert outputs == [f"ray-{number}-rank{rank}.log" for number in (0, 1) for rank in (0, 1)]


def process_that_writes(log: Path) -> int:
    """Return the process with this file as its standard output."""
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if output.readlink() == log.resolve():
                return int(output.parts[2])
    raise AssertionError(f"no process writes {log}")
