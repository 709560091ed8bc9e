"""Keys of a `Config` that are read from source files."""

import ast
from pathlib import Path

import pytest
import yaml

from twotower.commands.conf import CONF
from twotower.commands.config_source import class_fields, config_fields, unknown_keys
from twotower.config.problems import Problem
from twotower.config.spec import TARGET, locate

TARGETS = sorted(
    {
        spec[TARGET]
        for path in CONF.glob("*/*.yaml")
        if TARGET in (spec := yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_keys_from_the_source_equal_those_of_the_class(target: str) -> None:
    fields = config_fields(target)
    assert fields is not None
    kind = locate(target).Config  # type: ignore[attr-defined]
    assert fields.keys() == kind.model_fields.keys()
    required = {name for name, field in kind.model_fields.items() if field.is_required()}
    assert {name for name, field in fields.items() if field.default is None} == required


@pytest.mark.parametrize("is_namespace", [False, True])
def test_a_class_of_another_package_is_read_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_namespace: bool
) -> None:
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('run')\n")
    (package / "shy.py").write_text(
        "from twotower.losses.bce import Bce as Base\n\n"
        "class Shy(Base):\n    class Config(Base.Config):\n"
        '        margin: float = 0.5\n        """The gap."""\n'
    )
    monkeypatch.chdir(tmp_path)
    class_fields.cache_clear()
    if is_namespace:
        (package / "__init__.py").unlink()
    fields = config_fields("theirs.shy.Shy")
    assert fields is not None
    assert fields["margin"].meaning == "The gap."
    assert ast.unparse(fields["margin"].annotation) == "float"
    values = {"loss": {TARGET: "theirs.shy.Shy", "margin": 1, "marginn": 2}}
    assert [problem.key for problem in unknown_keys(values)] == ["loss.marginn"]


def test_keys_that_the_source_does_not_state_come_from_the_class() -> None:
    assert config_fields("twotower.losses.no.No") is None
    assert config_fields("twotower.losses.bce.No") is None
    problems: list[Problem] = list(unknown_keys({"loss": {TARGET: "twotower.losses.no.No", "x": 1}}))
    assert problems == []
