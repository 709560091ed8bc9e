"""Keys of a `Config` that are read from source files."""

from pathlib import Path

import pytest
import yaml

from twotower.commands.conf import CONF
from twotower.commands.config_source import _fields, config_keys, unknown_keys
from twotower.config.problems import Problem
from twotower.config.spec import TARGET, locate

TARGETS = sorted(
    {
        spec[TARGET]
        for path in CONF.glob("*/*.yaml")
        if TARGET in (spec := yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    }
)


def test_keys_from_the_source_equal_those_of_the_class() -> None:
    for target in TARGETS:
        keys = config_keys(target)
        assert keys is not None
        assert set(keys) == set(locate(target).Config.model_fields), target  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_namespace", [False, True])
def test_a_class_of_another_package_is_read_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_namespace: bool
) -> None:
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('run')\n")
    (package / "shy.py").write_text(
        "from twotower.model.losses.bce import Bce as Base\n\n"
        "class Shy(Base):\n    class Config(Base.Config):\n"
        '        margin: float = 0.5\n        """The gap."""\n'
    )
    monkeypatch.chdir(tmp_path)
    _fields.cache_clear()
    if is_namespace:
        (package / "__init__.py").unlink()
    assert config_keys("theirs.shy.Shy") == (
        "temperature",
        "learned_temperature",
        "negative_weight",
        "margin",
    )
    values = {"loss": {TARGET: "theirs.shy.Shy", "margin": 1, "marginn": 2}}
    assert [problem.key for problem in unknown_keys(values)] == ["loss.marginn"]


def test_keys_that_the_source_does_not_state_come_from_the_class() -> None:
    assert config_keys("twotower.model.losses.no.No") is None
    assert config_keys("twotower.model.losses.bce.No") is None
    problems: list[Problem] = list(unknown_keys({"loss": {TARGET: "twotower.model.losses.no.No", "x": 1}}))
    assert problems == []
