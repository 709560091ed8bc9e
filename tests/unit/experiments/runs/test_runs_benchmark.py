"""A benchmark fixes data, split and metrics, whatever else is typed, and the bytes of its files."""

import re
from pathlib import Path

import pytest

from twotower.commands import conf
from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.config.problems import Mistakes
from twotower.data.sources.online_retail import OnlineRetail
from twotower.data.sources.source import Source
from twotower.experiments.runs.benchmark import Benchmark

NAME = "online_retail_temporal"
CHOICE = f"benchmark={NAME}"


def benchmark(*overrides: str) -> Benchmark:
    return Benchmark.from_spec(load_settings("train", [CHOICE, *overrides])["benchmark"], "")


@pytest.mark.parametrize(
    ("typed", "key", "fixed"),
    [
        ("split=leave_one_out", "split", "Temporal"),
        ("split.test=14", "split.test", "28"),
        ("split.user_share=0.5", "split.user_share", "1.0"),  # in Python only
        ("data=synthetic", "data", "OnlineRetail"),
        ("data.repeats=keep", "data.repeats", "drop"),
        ("metrics.filter_seen=false", "metrics.filter_seen", "true"),
        ("metrics.ks=[10]", "metrics.ks", r"\[10, 20, 50, 100\]"),
        ("metrics=standard", "metrics.kinds", "recall, uncapped_recall, ndcg, hit_rate, mrr, coverage"),
        ("~split", "split", "Temporal"),
    ],
)
def test_what_a_benchmark_fixes_cannot_be_changed(typed: str, key: str, fixed: str) -> None:
    with pytest.raises(Mistakes, match=rf"\b{key}: .*{CHOICE} fixes it to {fixed};|{key}.*expected") as error:
        load_settings("train", [CHOICE, typed])
    assert key in {problem.key for problem in error.value.problems}


def test_its_own_keys_are_refused_too() -> None:
    with pytest.raises(InputError, match=r"benchmark\.files: a benchmark cannot be changed"):
        load_settings("train", [CHOICE, "benchmark.files=[]"])


def test_what_equals_the_contract_and_the_recipe_are_free() -> None:
    free = [
        "split.test=28",
        "split.user_share=1.0",
        "metrics.num_bootstrap=0",
        "experiment=online_retail_mlp",
    ]
    assert benchmark(*free) == benchmark()
    assert load_settings("train", [CHOICE, *free])["name"] == "online_retail_mlp"


def test_an_experiment_and_own_defaults_cannot_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "OTHERS", (tmp_path,))
    texts = {
        "local/default": "split: {user_share: 0.5}\n",
        "experiment/mine": f"defaults: [override /benchmark: {NAME}, override /split: temporal_share]\n"
        "benchmark: {files: [mine]}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    with pytest.raises(
        InputError, match=r"(?s)split.test: .* 28;.*split.valid.*split.unit.*split.user_share"
    ):
        load_settings("train", ["experiment=mine"])
    with pytest.raises(InputError, match=r"split\.user_share"):
        benchmark()
    (tmp_path / "local" / "default.yaml").unlink()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\ndefaults: [override /benchmark: {NAME}]\nbenchmark: {{files: [mine]}}\n"
    )
    assert len(benchmark("experiment=mine").files) == 3


def test_the_files_are_compared_byte_for_byte_and_the_items_counted(tmp_path: Path) -> None:
    contract, files = benchmark(), list(OnlineRetail.Config().build().files())
    contract.check_files(files)
    contract.check_catalogue(3_659)
    changed = tmp_path / "users.csv.gz"
    changed.write_bytes(files[1].read_bytes() + b" ")
    message = (
        rf"{re.escape(str(changed))}: is not the file of {CHOICE}.* is \w{{64}}, expected {contract.files[1]}"
    )
    with pytest.raises(InputError, match=message):
        contract.check_files([files[0], changed, files[2]])
    with pytest.raises(InputError, match="has 3 files, found 2"):
        contract.check_files(files[:2])
    # A folder or a pattern of files counts like a file.
    config = {"_target_": "twotower.data.sources.table_files.TableFiles", "interactions_path": str(changed)}
    for more in (tmp_path, tmp_path / "*.csv.gz"):
        with pytest.raises(InputError, match=r"has 3 files, found 2 \(.*users.csv.gz, .*users.csv.gz\)"):
            contract.check_files(
                Source.Config.from_spec(config | {"items_path": str(more)}, "data").build().files()
            )
    with pytest.raises(InputError, match="ranks 3659 items, found 3658"):
        contract.check_catalogue(3_658)
