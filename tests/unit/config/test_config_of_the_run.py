"""Commands that start from a run: what is typed changes the run's own settings, what is not typed stays."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import load_settings
from twotower.commands.run_command import run_command
from twotower.config.errors import InputError

Refusal = Callable[..., str]
IVF = ["index=ivf_flat", "index.nlist=8", "console=quiet"]
OWN_KIND = "+metrics.kinds.own={_target_:twotower.evaluation.metrics.ndcg.Ndcg}"


@pytest.fixture(scope="module")
def own() -> dict[str, Any]:
    settings = load_settings(
        "train", ["data=synthetic", *IVF, "~metrics.kinds.ndcg", OWN_KIND, "metrics.ks=[20]"]
    )
    return {key: value for key, value in settings.items() if key not in SWEEP_ONLY}


def write(folder: Path, settings: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


@pytest.fixture
def run(own: dict[str, Any], tmp_path: Path) -> Path:
    return write(tmp_path / "then", own)


def test_without_overrides_the_settings_are_those_of_the_run(own: dict[str, Any], run: Path) -> None:
    assert load_settings("reindex", [f"run={run}"]) == {
        "index": own["index"],
        "console": "brief",
        "run": str(run),
        "debug": False,
        "trusted_packages": [],
    }
    found = load_settings("evaluate", [f"run={run}"])
    assert (found["metrics"], found["baselines"]) == (own["metrics"], own["baselines"])


def test_a_key_changes_one_value_of_the_run_s_choice(own: dict[str, Any], run: Path) -> None:
    assert load_settings("reindex", [f"run={run}", "index.nprobe=4"])["index"] == own["index"] | {"nprobe": 4}
    found = load_settings("evaluate", [f"run={run}", "~metrics.kinds.own", "metrics.ks=[5]"])["metrics"]
    kinds = copy.deepcopy(own["metrics"]["kinds"])
    del kinds["own"]
    assert found == own["metrics"] | {"kinds": kinds, "ks": [5]}
    assert load_settings("reindex", [f"run={run}", "console=jsonl"])["console"] == "jsonl"


def test_an_entry_is_added_to_the_settings_of_the_run(own: dict[str, Any], run: Path) -> None:
    added = "+metrics.kinds.more={_target_:twotower.evaluation.metrics.mrr.Mrr}"
    found = load_settings("evaluate", [f"run={run}", "~metrics.kinds.mrr", added])["metrics"]["kinds"]
    assert list(found) == [*(name for name in own["metrics"]["kinds"] if name != "mrr"), "more"]


def test_a_choice_replaces_that_of_the_run(run: Path) -> None:
    assert load_settings("reindex", [f"run={run}", "index=flat_ip"])["index"] == {
        "_target_": "twotower.index.kinds.flat_ip.FlatIP"
    }
    found = load_settings("evaluate", [f"run={run}", "metrics=standard", "metrics.num_bootstrap=100"])[
        "metrics"
    ]
    assert found == load_settings("train", [])["metrics"] | {"num_bootstrap": 100}


def test_mistakes_in_the_choice_of_a_run_are_reported_together(run: Path, refusal: Refusal) -> None:
    message = refusal(f"run={run}", "index.nporbe=4", "seed=3", command="reindex")
    assert message.startswith("2 mistakes in ")
    assert "\n  index.nporbe: unknown key; did you mean 'nprobe'?" in message
    assert "\n  seed: unknown key" in message
    assert "index.nlist: expected a valid integer, got 'many'" in refusal(
        f"run={run}", "index.nlist=many", command="reindex"
    )
    assert "num_subquantizers: unknown key" in refusal(
        f"run={run}", "index.num_subquantizers=4", command="reindex"
    )
    assert "'metrics.kinds.nope' does not exist" in refusal(
        f"run={run}", "~metrics.kinds.nope", command="evaluate"
    )


def test_a_missing_run_neither_hides_nor_adds_mistakes(tmp_path: Path, refusal: Refusal) -> None:
    message = refusal(f"run={tmp_path}/none", "index=ivf_pk", "seed=3", command="reindex")
    assert message.startswith("3 mistakes in ")
    assert f"\n  run: {tmp_path}/none: not a run" in message
    assert refusal("index.nprobe=4", command="reindex").split("\n")[1:] == ["  run: required, but not set"]


@pytest.mark.parametrize("text", ["${nope}", "${oc.env:HOME}", r"\${seed}", r"a\\${seed}", "it's", "???x"])
def test_text_in_the_settings_of_a_run_is_not_interpolated(
    own: dict[str, Any], tmp_path: Path, text: str
) -> None:
    run = write(tmp_path / "then", own | {"index": own["index"] | {"min_recall": text}})
    with pytest.raises(InputError) as refused:  # the mistake shows what arrived
        load_settings("reindex", [f"run={run}"])
    assert str(refused.value).split("\n")[1].startswith("  index.min_recall: expected a valid number")
    assert str(refused.value).endswith(f", got {text!r}")


@pytest.mark.parametrize("index", [{1: 2}, {"_target_": 3}])
def test_a_run_without_valid_settings_is_reported_with_its_file(
    own: dict[str, Any], tmp_path: Path, index: Any
) -> None:
    run = write(tmp_path / "then", own | {"index": index})
    with pytest.raises(InputError, match=f"{run}/config.yaml: (not readable as YAML|names '3' as _target_)"):
        load_settings("reindex", [f"run={run}"])


@pytest.mark.parametrize("index", [None, "flat_ip", {}])
def test_a_damaged_run_is_reported_with_its_key(own: dict[str, Any], tmp_path: Path, index: Any) -> None:
    run = write(tmp_path / "then", own | {"index": index})
    with pytest.raises(InputError, match=r"\n  index(\._target_)?: "):
        load_settings("reindex", [f"run={run}"])


ODD = ["it's", "a,b=c d", "a\\", "${seed}"]


@pytest.mark.parametrize(("name", "quotes"), [*((name, "") for name in ODD), ("a,b=c d", "'")])
def test_a_run_can_be_in_any_folder(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, quotes: str
) -> None:
    run = write(tmp_path / name, own)
    seen: list[dict[str, Any]] = []

    def task(settings: dict[str, Any], _: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(sys, "argv", ["reindex.py", f"run={quotes}{run}{quotes}", "index.nprobe=4"])
    with pytest.raises(SystemExit) as left:
        run_command("reindex", task, "words")
    assert left.value.code == 0
    assert (seen[0]["run"], seen[0]["index"]["nprobe"]) == (str(run), 4)


def test_a_resumed_run_can_be_in_any_folder(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "it's a,b=${seed}"
    write(tmp_path / name, own)
    seen: list[Path] = []
    monkeypatch.setattr("twotower.jobs.train_run.resume", lambda folder, *_: seen.append(folder) or 0)
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={tmp_path / name}"])
    with pytest.raises(SystemExit) as left:
        run_command("train", lambda *_: 1, "words")
    assert (left.value.code, seen) == (0, [tmp_path / name])
