"""What is said of settings before torch is loaded is what is said afterwards, of every variant."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import yaml
from variants import CONFS

from twotower.commands.compose import compose, read_choices
from twotower.config.spec import TARGET

BEFOREHAND = """
import json, sys
from twotower.commands.beforehand import SLOW
from twotower.commands.compose import read_choices
from twotower.config.placeholders import use_placeholders
use_placeholders(SLOW)
cases = json.load(sys.stdin)
told = [[(each.key, each.message) for each in read_choices("train", case)[1]] for case in cases]
print(json.dumps(told))
"""
Settings = dict[str, Any]


def chosen(values: Any) -> Iterator[Settings]:
    """Every choice in plain values, however deep."""
    if isinstance(values, dict):
        yield from [values] if TARGET in values else []
        for value in values.values():
            yield from chosen(value)


def variants(base: Settings) -> dict[str, Settings]:
    """Name -> settings with one choice of the YAMLs of all groups."""
    groups = [folder for conf in CONFS for folder in sorted(conf.iterdir()) if folder.name in base]
    paths = [path for group in groups for path in sorted(group.glob("*.yaml"))]
    specs = {path: yaml.safe_load(path.read_text()) for path in paths}
    return {
        f"{path.parent.name}/{path.stem}": base | {path.parent.name: spec}
        for path, spec in specs.items()
        if TARGET in spec
    }


def mistakes(name: str, settings: Settings) -> dict[str, Settings]:
    """The settings, with an unknown key in the choice, and with values in it that no setting takes."""
    group = name.partition("/")[0]
    spec = settings[group]
    wrong = {key: value if key == TARGET else [[]] for key, value in spec.items()}
    return {
        name: settings,
        f"{name}, misspelt": settings | {group: spec | {"no_such_key": 1}},
        f"{name}, ill-typed": settings | {group: wrong},
    }


def test_what_is_told_before_torch_is_loaded_is_what_is_told_with_it() -> None:
    base = compose("train", ["data=synthetic"])
    cases: dict[str, Settings] = {}
    for name, settings in variants(base).items():
        cases |= mistakes(name, settings)
    cases["all at once"] = everywhere = copy.deepcopy(base)
    for choice in [*chosen(everywhere)]:
        choice["no_such_key"] = 1
    done = subprocess.run(
        [sys.executable, "-c", BEFOREHAND],
        input=json.dumps([*cases.values()]),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    for (name, settings), told in zip(cases.items(), json.loads(done.stdout), strict=True):
        found = read_choices("train", settings)[1]
        assert told == [[each.key, each.message] for each in found], name
        if name.endswith("misspelt"):
            assert any("no_such_key: unknown key" in f"{each.key}: {each.message}" for each in found), name
