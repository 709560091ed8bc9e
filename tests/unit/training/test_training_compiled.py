"""What `torch.compile` needs is asked for before anything is read, and towers are given back as they were."""

import pytest
import torch
from torch import nn

from twotower.training import trainer
from twotower.training.fit import compiled
from twotower.training.trainer import TrainerChoice, missing_for_compile


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    (problem,) = TrainerChoice.Config(compile=True).problems()
    assert problem[0] == "compile"
    assert "no-such-compiler" in problem[1]
    assert "trainer.compile=false" in problem[1]
    assert not list(TrainerChoice.Config().problems())


def test_without_python_s_headers_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.shutil, "which", lambda name: name)
    monkeypatch.setattr(trainer.sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    assert missing_for_compile() == "Python's headers (/nowhere/Python.h)"


def test_modules_are_given_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda call, **_: lambda *given: calls.append("") or call(*given))
    module = nn.Linear(2, 2)
    given, names = torch.ones(1, 2), list(module.state_dict())
    plain = module(given)
    with compiled(module):
        assert torch.equal(module(given), plain)
        assert list(module.state_dict()) == names
    assert torch.equal(module(given), plain)
    assert len(calls) == 1
