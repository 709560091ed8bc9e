"""The commands as a user meets them: help, the whole configuration, a sweep."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import run_script

from twotower.commands import conf
from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import compose, load_settings, load_settings_and_config
from twotower.commands.conf import CONF, OVERLAYS, groups
from twotower.config.run_keys import RunKeys
from twotower.experiments.runs.run import Run

SCRIPTS = CONF.parent / "scripts"
TINY = shlex.split("""
data=synthetic data.num_users=300 data.num_items=120 data.num_interactions=5000
trainer.max_epochs=1 trainer.refit=false objective=next_item objective.batch_size=512
metrics.num_bootstrap=0 initialization=random baselines=all_time baselines.tune=false
trainer.probe_steps=0 metrics.importance_repeats=0
""")
GROUPS = {
    **{"train": groups(), "reindex": {"index"}, "evaluate": {"metrics", "baselines"}},
    "build_index": {"index"},
    "embed": {"launcher"},
    **{command: set() for command in ("clean", "export", "export_live", "index_lab", "nightly")},
    **{command: set() for command in ("recommend", "serve")},
}
KEYS = {
    command: set(yaml.safe_load((CONF / f"{command}.yaml").read_text())) - {"defaults"} | {"trusted_packages"}
    for command in GROUPS
} | {"train": set(RunKeys.model_fields) | SWEEP_ONLY - groups()}
for command_without_run in ("build_index", "clean"):
    KEYS[command_without_run].remove("trusted_packages")
# Runs a script and then says on standard error which libraries it took.
WATCHED = """
import runpy, sys
try:
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
finally:
    print(*sys.modules, file=sys.stderr)
"""


def command(script: str, *arguments: str) -> str:
    """Run a script in this process to exit status 0, and return what it printed."""
    done = run_script(script, *arguments)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("warning: the bundle does not know") for line in done.stderr.splitlines())
    return done.stdout


@pytest.mark.parametrize("script", GROUPS)
def test_help_names_groups_choices_keys_and_examples(script: str) -> None:
    text = command(script, "--help")
    joined = re.sub(r"\n {17}(?=\S)", " ", text)  # a long list goes on in the next line
    lines = {re.split("[ =]", line[2:])[0]: line for line in joined.splitlines() if re.match(r"  \S", line)}
    for group in GROUPS[script]:
        for choice in (CONF / group).glob("*.yaml"):
            assert choice.stem in lines[group]
    assert lines.keys() >= KEYS[script] | GROUPS[script]
    assert lines.keys() <= KEYS[script] | groups() | OVERLAYS | {"twotower"}
    assert text.count(f"  twotower {script} ") >= 2
    assert ("Groups" in text) == bool(GROUPS[script])
    assert "Keys" in text
    assert "Exit status: 0 done, 1 failed, 2 invalid input, 3 index rejected" in text
    assert max(map(len, text.splitlines())) <= 120


def test_help_and_mistakes_are_told_before_a_library_that_is_slow_to_load(tmp_path: Path) -> None:
    for typed, told in {
        ("--help",): "Train two towers, ",
        ("negatves=uniform", "loss=bec", "embeding_dim=3"): "error: 3 mistakes",
    }.items():
        command = [sys.executable, "-c", WATCHED, str(SCRIPTS / "train.py"), *typed]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert (done.stdout + done.stderr).startswith(told)
        slow = {"torch", "pytorch_lightning", "faiss", "pandas", "onnxruntime"}
        assert not slow & set(done.stderr.split())


@pytest.mark.parametrize("script", ["train", "evaluate", "serve"])
def test_cfg_job_prints_the_whole_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(load_settings("train", [])))
    required = {"run": tmp_path, "bundle": tmp_path, "out": "out.parquet", "side": "items", "store": "s"}
    required |= {"bundles": "runs"}
    run = [f"{key}={value}" for key, value in required.items() if key in KEYS[script]]
    config = yaml.safe_load(command(script, "--cfg", "job", "debug=true", *run))
    assert config.keys() == KEYS[script] | GROUPS[script]
    assert config["debug"] is True
    for group in GROUPS[script] - {"benchmark", "features", "baselines", "sweep"}:
        assert config[group]["_target_"].startswith("twotower.")
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


def test_what_cfg_job_prints_can_be_trained_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    groups_of_it = ["data=synthetic", "objective=next_item", "negatives=uniform", "item_bias=none"]
    words = [*TINY, *groups_of_it, "loss=bce"]
    printed = command("train", *words, "--cfg", "job")
    assert yaml.safe_load(printed)["loss"]["negative_weight"] == 1.0  # which conf/loss/bce.yaml does not say
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "again.yaml").write_text(f"# @package _global_\n{printed}")
    again = load_settings_and_config(
        "train", [*groups_of_it, "loss=bce", "baselines=all_time", "experiment=again"]
    )[1]
    assert again.plain() == load_settings_and_config("train", words)[1].plain()


def results(root: Path) -> list[dict[str, Any]]:
    found = sorted(root.glob("default/**/result.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text()) for path in found]


def test_a_job_of_a_sweep_is_the_job_run_alone(tmp_path: Path) -> None:
    command("train", "-m", "seed=1,2", *TINY, f"output_root={tmp_path / 'sweep'}")
    first, second = results(tmp_path / "sweep")
    assert (first["status"], second["status"]) == ("ok", "ok")
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["metrics"] != second["metrics"]
    assert first["fingerprint"] != second["fingerprint"]
    command("train", "seed=2", *TINY, f"output_root={tmp_path / 'alone'}")
    (alone,) = results(tmp_path / "alone")
    assert alone["metrics"] == second["metrics"]
    assert alone["fingerprint"] == second["fingerprint"]
    assert alone["training"] == second["training"]
    folders = sorted((tmp_path / "sweep" / "default").glob("*/seed?"))
    assert [folder.name for folder in folders] == ["seed1", "seed2"]
    for folder in folders:
        assert "fit 1/1" in (folder / "train.log").read_text()


def test_the_examples_of_the_other_commands_work(tmp_path: Path) -> None:
    root = tmp_path / "it's, a=b"
    command("train", *TINY, f'output_root="{root}"')
    (run,) = (root / "default").iterdir()
    # fewer metrics than the one that the training monitored is among
    command(
        "evaluate", f"run={run}", "metrics.ks=[5,10]", "metrics.filter_seen=false", "metrics.num_bootstrap=0"
    )
    command("reindex", f"run={run}", "index=ivf_flat", "index.nlist=4", "index.min_recall=0.01")
    top, vectors = tmp_path / "top.parquet", tmp_path / "vectors.parquet"
    told = command("recommend", f"run={run}", "users=[1,2,3]", "where.price.min=0", "k=5", f"out={top}")
    assert told == f"ok  3 users, 15 rows  {top}\n"
    told = command("embed", f"run={run}", "side=items", f"out={vectors}")
    assert told == f"ok  120 items, vectors of 64 numbers  {vectors}\n"
    before, evaluated, indexed = results(root)
    assert evaluated["training_reused_from"] == indexed["training_reused_from"] == str(run)
    assert "test/recall_at_5" in evaluated["metrics"]
    assert "test/recall_at_20" not in evaluated["metrics"]
    assert evaluated["index"] == before["index"] | {"label_difference": {}, "label_difference_interval": {}}
    assert indexed["index"]["type"] == "ivf_flat"
    exact = [key for key in before["metrics"] if key.startswith(("valid/", "test_exact/"))]
    assert [indexed["metrics"][key] for key in exact] == [before["metrics"][key] for key in exact]
    # a key alone changes the run's own index, and leaves the rest of it
    newest = max(root.glob("default/*/result.json"), key=lambda path: path.stat().st_mtime_ns).parent
    command("reindex", f"run={newest}", "index.nprobe=2")
    index = results(root)[-1]["index"]
    assert (index["type"], index["build_args"], index["search_args"]) == (
        "ivf_flat",
        {"nlist": 4},
        {"nprobe": 2},
    )


def test_latest_names_the_newest_run_in_every_command_that_takes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_script("serve", "bundle=latest")
    assert (done.returncode, done.stderr) == (
        2,
        "error: bundle=latest: there is no run with a bundle to serve below outputs; "
        "twotower train makes one\n",
    )
    older, newer = Path("outputs/shop/one"), Path("outputs/default/two")
    for number, folder in enumerate((older, newer)):
        Run.create(folder, compose("train", ["data=synthetic"]))
        os.utime(folder / "config.yaml", (number, number))
    (older / "bundle").mkdir()
    (older / "bundle" / "manifest.json").write_text('{"index": {}}')
    for script in ("recommend", "embed", "reindex", "evaluate", "export", "export_live", "serve"):
        key = "bundle" if script == "serve" else "run"
        done = run_script(script, f"{key}=latest", "--cfg", "job")
        assert done.stderr.startswith(f"{key}=latest: {older}\n")
        assert yaml.safe_load(done.stdout)[key] == str(older)
    for verb in ("warm_start", "rebuild_bundle"):
        assert f"{verb}={older}: this run has not ended" in run_script("train", f"{verb}=latest").stderr
    assert run_script("train", "resume=latest").stderr.startswith(f"resume=latest: {newer}\n")
    none = "error: rerun=latest: there is no ended run below outputs; twotower train makes one\n"
    assert run_script("train", "rerun=latest").stderr == none
    assert run_script("compare", "latest").stderr.startswith(f"latest: {newer}\n")
    assert f"shop/latest: {older}\n" in run_script("compare", "outputs/shop/latest").stderr
