"""A configuration that the check accepts does not fail later: scripts/bench/config_mutations.py in short."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))
from config_mutations import tried, violation, was_accepted
from config_values import TINY, draw

ACCEPTED = 3


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    return tmp_path / "outputs"


def test_changed_configurations_are_refused_with_a_key_or_run(root: Path) -> None:
    rng, accepted, refused = random.Random(7), 0, 0
    while accepted < ACCEPTED:
        overrides = draw(rng)
        end = tried(overrides, root)
        assert violation(end) is None, (overrides[len(TINY) :], end)
        accepted += was_accepted(end)
        refused += not was_accepted(end)
    assert refused > 0
    assert [path.name for path in root.parent.iterdir()] == ["outputs"]
    assert [path.name for path in root.iterdir()] == [".cache"]


@pytest.mark.parametrize(
    ("end", "wrong"),
    [
        ({"status": 0, "said": ""}, None),
        ({"status": 3, "said": ""}, None),
        ({"status": 2, "said": "error: split.test: too long"}, None),
        ({"status": 2, "said": "error: there is a hole somewhere"}, "no key is named"),
        ({"status": 2, "said": "error: split.test: x\nTraceback (most"}, "a traceback"),
        ({"status": 1, "said": "failed: KeyError: 'split'"}, "exit status 1"),
        ({"status": None, "said": "gone"}, "exit status None"),
    ],
)
def test_what_counts_as_a_violation(end: dict[str, Any], wrong: str | None) -> None:
    found = violation(end)
    assert found == wrong if wrong is None or found is None else found.startswith(wrong)
