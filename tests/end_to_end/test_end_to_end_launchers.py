import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import forks
import psutil
import pytest
import tiny_bundle

TASKS = str(Path(__file__).parents[1] / "unit" / "experiments" / "launchers")
NO_RAY = importlib.util.find_spec("ray") is None

ON_TWO_NODES = """
import os, sys
from pathlib import Path
from ray.cluster_utils import Cluster

from twotower.config.errors import InputError
from twotower.experiments.launchers.launcher import JobError
from twotower.experiments.launchers.ray import Ray

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
    two = {"settings": {"trainer": {"num_nodes": 2}}, "file": str(folder / "calls")}
    try:
        launcher.submit({"do": "fail_in_rank_1", **two}).result()
        raise SystemExit("no error")
    except InputError as error:
        print(error)
    assert (folder / "calls1").stat().st_size == 1, "an error was repeated"
    killed = {"do": "call_again", "ends": ["be_killed"], **two}
    assert launcher.submit(killed).result() == 2

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
    assert "rank 1: the task raised InputError: as I was told; see /" in ended.stdout
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
            if not killed and logs and "fit 2/6" in logs[0].read_text(encoding="utf-8"):
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
    assert outputs == [f"ray-{number}-rank{rank}.log" for number in (0, 1, 2) for rank in (0, 1)]


def process_that_writes(log: Path) -> int:
    """Return a process that has opened this file."""
    for output in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if output.readlink() == log.resolve():
                return int(output.parts[2])
    raise AssertionError(f"no process writes {log}")


SMALL_TRIALS = (
    *(*SMALL_RUN, "data.num_items=120", "data.num_interactions=5000", "objective.batch_size=256"),
    *("objective.epoch_requests=1024", "metrics.num_bootstrap=0", "metrics.ks=[10,20]"),
)
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextlib.contextmanager
def arguments_of(launcher: str, folder: Path, environment: dict[str, str]) -> Iterator[list[str]]:
    """Yield the arguments of a launcher; with Ray, of a cluster of two nodes that ends with the context."""
    if launcher != "ray":
        limits = {"slurm": ["launcher.cluster=local", "launcher.max_jobs=2", "launcher.cpus_per_task=1"]}
        yield [f"launcher={launcher}", *limits.get(launcher, ["launcher.num_workers=2"])]
        return
    with (folder / "cluster.log").open("wb") as log:
        cluster = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert cluster.stdout is not None
    try:
        yield ["launcher=ray", f"launcher.address={cluster.stdout.readline().strip()}"]
    finally:
        cluster.communicate("", timeout=600)


ONLY_IF_ASKED = pytest.mark.skipif(
    not os.environ.get("TWOTOWER_TEST_ALL"),
    reason="six interpreters that load torch: set TWOTOWER_TEST_ALL=1",
)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", pytest.param("slurm", marks=ONLY_IF_ASKED), "ray"])
def test_the_trial_of_a_killed_worker_is_tried_again(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Ray, its node is killed; the trial goes on on the other node."""
    library = {"slurm": "submitit"}.get(launcher, launcher)
    if launcher != "local" and importlib.util.find_spec(library) is None:
        pytest.skip(f"launcher={launcher} needs the extra: pip install 'twotower[{launcher}]'")
    if importlib.util.find_spec("optuna") is None:
        pytest.skip("sweep=tpe needs the extra: pip install 'twotower[search]'")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_AUTH_MODE": "disabled"}
    environment |= {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    for name in ("PYTHONPATH", "RAY_AUTH_MODE", "HOME", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, environment[name])
    with arguments_of(launcher, tmp_path, environment) as arguments:
        options = ["sweep=tpe", "sweep.num_trials=2", "sweep.pruner=none", "console=quiet", *arguments]
        words = [*SMALL_TRIALS, *options, f"output_root={tmp_path}"]
        sweep: subprocess.Popen[bytes] | forks.Fork
        if launcher != "ray":
            with forks.workers_are_forks():  # those of `local`
                sweep = forks.start(forks.SCRIPTS / "train.py", *words, out=tmp_path / "out")
        else:
            with (tmp_path / "out").open("wb") as output:
                command = [sys.executable, "-m", "twotower", "train", *words]
                sweep = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        killed: Path | None = None
        ends = time.monotonic() + 600
        while sweep.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
            logs = sorted(tmp_path.glob("default/*-sweep/0*/train.log"))
            begun = [log for log in logs if "fit 2/6" in log.read_text(encoding="utf-8")]
            if begun and killed is None:
                killed = begun[0]
                worker = psutil.Process(process_that_writes(killed))
                node = worker.parent()
                assert node is not None
                for process in [node, *node.children(recursive=True)] if launcher == "ray" else [worker]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        sweep.kill()
    printed = (tmp_path / "out").read_text(encoding="utf-8")
    assert sweep.wait() == 0, printed
    assert killed is not None
    assert f"warning: {killed.parent.name} starts again (1 of at most 3 times): " in printed
    assert "fit resumes from" in killed.read_text(encoding="utf-8")
    search = json.loads((killed.parents[1] / "sweep.json").read_text(encoding="utf-8"))["search"]
    assert search["states"] == {"complete": 2}
    assert [trial["number"] for trial in search["trials"]] == [0, 1]  # a repetition is no other trial


@pytest.mark.slow
@pytest.mark.skipif(NO_RAY, reason="launcher=ray needs the extra: pip install 'twotower[ray]'")
def test_ray_writes_the_shards_that_are_typed(tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    embed = [sys.executable, "-m", "twotower", "embed", f"run={tmp_path}", "side=users"]
    for words in (
        ["out=typed", "shard=1/2"],
        ["out=typed", "shard=2/2"],
        ["out=jobs", "shards=2", "launcher=ray"],
    ):
        done = subprocess.run(
            [*embed, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    typed, jobs = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.parquet")}
        for name in ("typed", "jobs")
    )
    assert len(typed) == 2
    assert jobs == typed
