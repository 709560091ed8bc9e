"""Trainings of several processes, from the command line: on one machine, by torchrun and by Slurm."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from forks import FORKED, start
from in_process import run_command, run_script
from tiny_runs import TINY

from services import free_port  # isort: skip  # of scripts/bench, which `forks` has added to the path
from twotower.commands.conf import CONF
from twotower.jobs import open_run
from twotower.parallel.row_wise_table import is_torchrec_installed

SCRIPT = CONF.parent / "scripts" / "train.py"
EXACT = ("history.dropout=0", "features.item.item_id.dropout=0", "trainer.refit=false")
"""No random draws of a process by itself, and one phase."""


def result_of(root: Path) -> dict[str, Any]:
    (path,) = root.glob("default/*/result.json")
    return dict(json.loads(path.read_text()))


@pytest.mark.slow
def test_after_the_end_of_a_rank_another_number_of_processes_continues_the_run(tmp_path: Path) -> None:
    plan = [*TINY, *EXACT, "trainer.max_epochs=25", "trainer.patience=25", "trainer.checkpoint_every_steps=1"]
    assert run_script("train", *plan, f"output_root={tmp_path / 'alone'}").returncode == 0
    root = tmp_path / "two"
    root.mkdir()
    with mock.patch("twotower.parallel.processes.CONTEXT", FORKED):
        process = start(SCRIPT, *plan, "trainer.devices=2", f"output_root={root}", out=root / "out")
    while not (found := list(root.glob("default/*/checkpoints/fit/last.ckpt"))):
        assert process.poll() is None, (root / "out").read_text()
        time.sleep(0.01)
    run = found[0].parents[2]
    log = run / "ranks" / "1.log"
    (number,) = re.findall(r"rank 1 of 2, process (\d+)", log.read_text())
    os.kill(int(number), signal.SIGKILL)
    assert process.wait(60) == 1
    logs = log.read_text() + (root / "out").read_text() + (run / "train.log").read_text()
    assert not re.search("GPU available|TPU available|litlogger", logs)  # notices of Lightning
    last = (root / "out").read_text().splitlines()[-1]
    assert f"rank 1 was killed by signal 9 (out of memory?); see {log}; twotower train resume={run} " in last
    assert result_of(root)["status"] == "failed"
    done = run_script("train", f"resume={run}", "trainer.devices=1")
    assert done.returncode == 0, done.stderr
    losses = [result_of(tmp_path / name)["curves"]["train/epoch_loss"] for name in ("alone", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # the same examples in the same order
    again = run_script("evaluate", f"run={run}")
    assert again.returncode == 0, again.stderr


def torchrun(rank: int, port: int, plan: Sequence[str]) -> subprocess.Popen[str]:
    """Start torchrun as on machine `rank` of two, with a process each."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    address = [f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"]
    command = [*words, *address, "-m", "twotower", "train", *plan]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train_on_two_machines(*plan: str) -> list[str]:
    """Train with two torchruns; returns what each printed."""
    port = free_port()
    nodes = [torchrun(rank, port, [*plan, "trainer.num_nodes=2"]) for rank in range(2)]
    said = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    return said


@pytest.mark.slow
def test_torchrun_trains_on_two_machines(tmp_path: Path) -> None:
    whole = [
        "initialization=svd",
        "trainer.probe_steps=10",
        "metrics.importance_repeats=1",
        "trainer.refit=true",
    ]
    said = train_on_two_machines(*TINY, *whole, f"output_root={tmp_path}")
    assert result_of(tmp_path)["status"] == "ok"
    assert "run folder" in said[0]
    assert "run folder" not in said[1]


@pytest.mark.slow
@pytest.mark.skipif(not is_torchrec_installed(), reason="needs torchrec and fbgemm-gpu-cpu")
def test_two_machines_divide_tables_and_train_the_towers_of_one(tmp_path: Path) -> None:
    tables = [f"features.{key}.row_wise=true" for key in ("user.user_id", "item.item_id")]
    plan = [*TINY, "features=ids", *tables, "optimizer=rowwise_adagrad", *EXACT]
    assert run_script("train", *plan, f"output_root={tmp_path / 'alone'}").returncode == 0
    train_on_two_machines(*plan, f"output_root={tmp_path / 'two'}")
    alone, two = (result_of(tmp_path / name) for name in ("alone", "two"))
    names = [name for name in alone["curves"] if name.startswith(("train/epoch_loss", "valid/"))]
    assert {"train/epoch_loss", "valid/recall_at_20"} <= {*names}
    for name in names:
        assert two["curves"][name] == pytest.approx(alone["curves"][name], rel=1e-5), name


@pytest.mark.slow
def test_slurm_starts_a_task_for_each_process(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'twotower[slurm]'")
    launcher = ["launcher=slurm", "launcher.cluster=local", "launcher.cpus_per_task=1", "launcher.mem_gb=2"]
    plan = [*TINY, "seeds=2", "trainer.devices=2", "trainer.refit=false", f"output_root={tmp_path}"]
    done = run_command("train", *plan, *launcher)
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in tmp_path.glob("default/*/*/result.json")]
    assert [each["status"] for each in results] == ["ok", "ok"]
    assert len(list(tmp_path.glob("default/*/.submitit/*_1_log.out"))) == 2  # of rank 1


@pytest.mark.slow
def test_a_rank_with_other_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = open_run.load_dataset

    def load_other(config: Any, rebuild: bool) -> Any:
        data = config.data.model_copy(update={"num_interactions": 1500})
        return load(config.model_copy(update={"data": data}), rebuild)

    monkeypatch.setattr(open_run, "load_dataset", load_other)  # in the process of rank 0
    done = run_command("train", *TINY, "trainer.devices=2", f"output_root={tmp_path}")
    assert done.returncode == 1
    assert (
        "ended with exit status 1 (twotower.config.errors.InputError: data: rank 1 reads other" in done.stderr
    )


def test_settings_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [*TINY, f"output_root={tmp_path}"]
    assert (
        "trainer.num_nodes=2: a launcher starts" in run_command("train", *plan, "trainer.num_nodes=2").stderr
    )
    assert "set trainer.devices or" in run_command("train", *plan, "trainer.strategy=ddp").stderr
    several = [
        *plan,
        "trainer.devices=3",
        "objective.batch_size=2",
        "item_bias=popularity",
        "item_bias.sparse=true",
    ]
    said = run_command("train", *several).stderr
    assert "objective.batch_size: 2 examples do not suffice for 3 processes; raise it" in said
    assert "trainer.devices: several processes cannot train item_bias.sparse=true" in said
    cosines = ["loss=direct_au", "item_bias=none", "user_tower.normalize=l2", "item_tower.normalize=l2"]
    said = run_command("train", *plan, *cosines, "trainer.devices=2").stderr
    assert "loss: compares the examples of a batch, so one process trains it; set trainer.devices=1" in said
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    said = run_command("train", *plan).stderr
    assert "has started 4, 2 on this one; type trainer.devices=2 trainer.num_nodes=2" in said
    four = [*plan, "trainer.devices=2", "trainer.num_nodes=2"]
    assert (
        "split.window: the windows are trained one after"
        in run_command("train", *four, "split=rolling").stderr
    )
    assert "a sweep starts the processes of its jobs" in run_command("train", *four, "seeds=2").stderr
    assert not list(tmp_path.iterdir())
