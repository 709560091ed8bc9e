"""What a file may name as a class: ours, and what its user trusts; nothing else is even imported."""

import sys
from pathlib import Path
from typing import Any

import pytest

from twotower.config.errors import InputError
from twotower.config.spec import locate
from twotower.config.trust import check_targets, targets
from twotower.experiments.runs.run import Run
from twotower.jobs.train_run import run_job
from twotower.model.towers.tower import Tower

FILE = Path("run/config.yaml")
NAMES: dict[str, Any] = {
    "a module of Python's": "unittest.__main__.X",
    "a package that begins like ours": "twotower_evil.X",
    "our own name alone, in other letters": "Twotower.X",
    "a number": 3,
    "nothing": None,
    "a list": ["twotower.model.losses.bce.Bce"],
}


@pytest.mark.parametrize("target", NAMES.values(), ids=NAMES)
def test_foreign_targets_are_refused_at_any_depth(target: Any) -> None:
    values = {"a": [{"b": {"_target_": "twotower.model.losses.bce.Bce", "c": ({"_target_": target},)}}]}
    with pytest.raises(InputError, match=r"^run/config.yaml: names .*trusted_packages=\["):
        check_targets(values, FILE, ())


def test_a_package_a_module_or_a_class_can_be_trusted() -> None:
    values = {"a": {"_target_": "mine.losses.Mine"}, "b": {"_target_": "yours.A"}}
    for trusted in (["mine", "yours"], ["mine.losses", "yours.A"], ["mine.losses.Mine", "yours"]):
        check_targets(values, FILE, trusted)
    assert sorted(targets(values)) == ["mine.losses.Mine", "yours.A"]
    for trusted in ([], ["mine"], ["mine.los", "yours"], ["mine.losses.Mine.x", "yours"], [""]):
        with pytest.raises(InputError):
            check_targets(values, FILE, trusted)
    with pytest.raises(InputError, match=r"names 'yours.A', 'mine.losses.Mine' .*=\[yours,mine\]"):
        check_targets(values, FILE, ())


@pytest.mark.parametrize(
    "target",
    [
        "unittest.__main__.X",  # ends the process that imports it
        "twotower.config.spec.importlib.X",
        "twotower..spec.InputError",
        "twotower.model.towers/../spec.X",
        ".twotower.X",
        "",
        3,
    ],
)
def test_every_error_of_an_import_is_an_input_error(target: Any) -> None:
    with pytest.raises(InputError, match=r"there is no class|importing .* failed"):
        locate(target)


def test_a_foreign_class_is_refused_through_our_modules_too() -> None:
    with pytest.raises(
        InputError, match=r"'twotower.jobs.train_run.Path' is pathlib[\w.]*\.Path; name it so"
    ):
        locate("twotower.jobs.train_run.Path")
    with pytest.raises(InputError, match=r"'twotower\.model\.losses\.bce\.Bce' is not a Tower"):
        Tower.Config.from_spec({"_target_": "twotower.model.losses.bce.Bce"}, "user_tower")


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that importing `evil_of_a_test` leaves."""
    mark = tmp_path / "mark"
    (tmp_path / "evil_of_a_test.py").write_text(
        f"open({str(mark)!r}, 'w')\nclass X: pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    sys.modules.pop("evil_of_a_test", None)


def test_a_run_is_opened_without_importing_its_targets(tmp_path: Path, evil: Path) -> None:
    settings = {
        "console": "quiet",
        "loss": {"_target_": "evil_of_a_test.X"},
        "trusted_packages": ["evil_of_a_test"],
    }
    Run.create(tmp_path / "run", settings)
    with pytest.raises(InputError, match=r"run/config\.yaml: names 'evil_of_a_test\.X'"):
        Run.open(tmp_path / "run")
    assert Run.open(tmp_path / "run", None).settings == settings  # only to look at
    assert Run.open(tmp_path / "run", ["evil_of_a_test"]).settings == settings
    assert not evil.exists()


def test_a_resumed_job_trusts_its_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted: list[Any] = []
    monkeypatch.setattr(
        "twotower.jobs.train_run.resume", lambda folder, names, changes, watch: trusted.append(names)
    )
    settings = {"seed": 1, "loss": {"_target_": "mine.losses.Mine"}}
    Run.create(tmp_path / "job", settings)
    payload = {"folder": str(tmp_path / "job"), "settings": settings, "overrides": [], "trial": None}
    run_job(payload)
    assert trusted == [["mine.losses.Mine"]]
