"""Every YAML of `conf/`, found by globbing: composes, is checked without a complaint, and is short."""

import functools
import itertools
import operator
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf

from twotower.commands.command_keys import SWEEP_ONLY, settings_class
from twotower.commands.compose import compose, compose_with_defaults, load_settings
from twotower.commands.conf import CONF, groups, shape
from twotower.commands.overrides import validate_overrides
from twotower.config.reading import read
from twotower.config.spec import TARGET, locate
from twotower.jobs.run_config import RunConfig, checked_run

FILES = sorted(CONF.glob("**/*.yaml"))
COMMANDS = {path.stem for path in CONF.glob("*.yaml") if "# @package" not in path.read_text()}
MAX_LINES, MAX_DEPTH = 28, 3


def named(path: Path) -> str:
    return str(path.relative_to(CONF).with_suffix(""))


CLICKS = ["data=synthetic", "data.labels=clicks", "objective=next_item", "item_bias=popularity"]
LINES = ["experiment=no_times", "data.path={lines}"]
LISTS = ["data.train_path={lines}", "data.test_path={lines}"]
BESIDE = {
    **{f"{group}/{name}": LINES for group in ("data", "features") for name in ("pairs", "item_lists")},
    **{
        f"experiment/{name}": ["data.path={lines}"]
        for name in ("beauty", "ml_1m_sasrec", "ml_1m_hstu_no_times")
    },
    "experiment/gowalla": LISTS,
    "benchmark/ml_1m_loo": LINES,
    "benchmark/beauty_loo": LINES,
    "benchmark/beauty_temporal": ["data.interactions_path={log}"],
    **{f"benchmark/gowalla_{order}ordered": ["experiment=gowalla", *LISTS] for order in ("", "un")},
    "history/none": ["user_tower.residual=null", "user_tower.widths=[8]"],
    **{f"negatives/impressions{name}": CLICKS for name in ("", "_and_uniform", "_and_in_batch")},
}
"""File -> what it does not go without."""
REQUIRED = {"parts": "item_parts", "side": "items", "store": "live.sqlite", "out": "out"}
"""Key of a command -> what it is set to here."""
FIRST_OF_GROUPS = [next(path for path in FILES if path.parent.name == group) for group in sorted(groups())]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """What data=table_files must be told."""
    path = tmp_path / "log.csv"
    log = {"user_id": [1], "item_id": [2], "timestamp": [3], "part": ["train"]}
    pd.DataFrame(log).to_csv(path, index=False)
    (tmp_path / "lines.txt").write_text("1 2\n")
    return [f"data.interactions_path={path}", "data.split_column=part"]


def overrides_for(path: Path, files: list[str]) -> list[str]:
    """The overrides that choose a file, and what it cannot be checked without."""
    group, choice = path.parent.name, path.stem
    overrides = [f"{group}={choice}"]
    if group == "features" and (CONF / "data" / path.name).is_file():
        overrides.append(f"data={choice}")
    if group == "loss":  # what it needs of the towers its command says
        command, *_ = path.read_text().splitlines()[0].partition("    ")
        overrides += [
            word for word in command.split() if word.startswith(("item_bias=", "user_tower", "item_tower"))
        ]
    log = Path(files[0].partition("=")[2])
    overrides += [
        each.format(lines=log.with_name("lines.txt"), log=log) for each in BESIDE.get(named(path), [])
    ]
    if overrides == ["split=given"]:
        overrides.append("data=table_files")
    return overrides + (files if any("table_files" in override for override in overrides) else [])


def test_there_are_choices_of_every_group() -> None:
    assert {path.parent.name for path in FILES if path.parent != CONF} >= groups()
    assert {"train", "evaluate", "reindex"} <= COMMANDS
    assert len(FILES) > 40


def test_files_are_short_not_deep_and_begin_with_a_command_that_uses_them() -> None:
    def depth(values: object) -> int:
        return 1 + max(map(depth, values.values()), default=0) if isinstance(values, dict) else 0

    for path in FILES:
        lines = path.read_text().splitlines()
        assert len(lines) <= MAX_LINES or named(path) == "train", path  # which has a line for each group
        content = yaml.safe_load("\n".join(lines)) or {}
        assert depth({key: value for key, value in content.items() if key != "hydra"}) <= MAX_DEPTH, path
        comment = next(line for line in lines if not line.startswith("# @package"))
        assert comment.startswith("# "), f"{path}: begin with a comment, such as # twotower train loss=mine"
        if path.stem not in ("run_keys",):  # parts of commands, never chosen
            assert re.search(r"python scripts/|\btwotower [a-z_]+ ", comment), path
            assert path.parent == CONF or any(f"{path.parent.name}{sign}" in comment for sign in "=."), path


PACKED = (
    *("baselines", "history", "index", "initialization", "item_bias", "item_tower", "launcher", "metrics"),
    *("new_items", "optimizer", "split", "tracker", "trainer", "user_tower"),
)
"""Groups whose choices do not need each other. Hydra takes a fifth of a second for each selection."""


def selections() -> dict[str, list[Path]]:
    """Return the files that are chosen together: one of each packed group, every other one alone."""
    chosen = [path for path in FILES if path.parent != CONF]
    packed = [
        path
        for path in chosen
        if path.parent.name in PACKED and named(path) not in BESIDE.keys() | {"split/given"}
    ]
    by_group = [[path for path in packed if path.parent.name == group] for group in PACKED]
    together = [list(filter(None, row)) for row in itertools.zip_longest(*by_group)]
    together += [[path] for path in chosen if path not in packed]
    return {"-".join(map(named, paths)): paths for paths in together}


SELECTIONS = selections()


@pytest.mark.parametrize("paths", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_every_choice_composes_and_is_checked(paths: list[Path], files: list[str]) -> None:
    overrides = [override for path in paths for override in overrides_for(path, files)]
    settings = load_settings("train", overrides)
    assert set(settings) | {"benchmark", "sweep"} == RunConfig.model_fields.keys() | SWEEP_ONLY
    checked_run({key: value for key, value in settings.items() if key not in SWEEP_ONLY})
    chosen = {path.parent.name: path.stem for path in paths}
    assert "benchmark" not in chosen or settings["benchmark"]["name"] == chosen["benchmark"]
    assert (settings.get("sweep") is None) == ("sweep" not in chosen)
    if any(path in FIRST_OF_GROUPS for path in paths):
        assert_whole("train", overrides)


def assert_whole(command: str, overrides: list[str]) -> None:
    """Assert that `--cfg job` leaves out no key, and is read as what the YAMLs say."""
    _, valid_overrides = validate_overrides(overrides)
    printed = yaml.safe_load(OmegaConf.to_yaml(compose_with_defaults(command, valid_overrides), resolve=True))
    kind = settings_class(command)
    settings, problems = read(kind, printed)
    assert problems == []
    assert settings == read(kind, compose(command, valid_overrides))[0]
    assert printed.keys() == kind.model_fields.keys()
    for key, choice in settings.choices():
        given = functools.reduce(operator.getitem, key.split("."), printed)
        assert given.keys() == {TARGET, *type(choice).model_fields}, key


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_whole_configuration_of_every_command_has_every_key(command: str, tmp_path: Path) -> None:
    assert_whole(command, required(command, tmp_path))


def required(command: str, folder: Path) -> list[str]:
    """What a command must be told; of a run that has nothing but a configuration."""
    (folder / "config.yaml").write_text(yaml.safe_dump(load_settings("train", [])))
    keys = shape(command)[1]
    overrides = [f"{key}={folder}" for key in ("run", "bundle", "bundles") if key in keys]
    return overrides + [f"{key}={value}" for key, value in REQUIRED.items() if key in keys]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_composes_and_checks(command: str, tmp_path: Path) -> None:
    settings = load_settings(command, required(command, tmp_path))
    assert set(settings) == set.union(*map(set, shape(command))) - {
        "benchmark",
        "sweep",
    }


def test_targets_are_files_named_after_their_class() -> None:
    """`_target_` names the defining module, so that a new variant needs no other edit."""

    def targets(values: object) -> list[str]:
        if not isinstance(values, dict):
            return []
        own = [values[TARGET]] if TARGET in values else []
        return own + [target for value in values.values() for target in targets(value)]

    for path in FILES:
        for target in targets(yaml.safe_load(path.read_text())):
            assert f"{locate(target).__module__}.{locate(target).__qualname__}" == target, path


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_its_settings_are_typed(command: str) -> None:
    assert settings_class(command).model_fields.keys() == frozenset().union(*shape(command))


def test_every_data_set_has_features_of_its_own_name() -> None:
    """`features: ${data}` is the default, so `data=x` alone must compose."""
    for path in (CONF / "data").glob("*.yaml"):
        assert compose("train", [f"data={path.stem}"])["features"]["item"]
