"""Libraries as names: what a class can be made from, and what raises because it would need more."""

import subprocess
import sys

import pytest

LOOKED_AT = """
import sys
from twotower.config.placeholders import PlaceholderError, use_placeholders
use_placeholders({"torch"})
import torch
from abc import ABC, abstractmethod
from torch import Tensor, nn
from torch.nn import Module, functional

class Mine(nn.Module, ABC):
    kind: torch.dtype = torch.float32
    @torch.no_grad()
    def call(self, x: Tensor | None, d: dict[str, Tensor]) -> "torch.device | None":
        return functional.relu(x)
    @abstractmethod
    def other(self): ...

assert Module is nn.Module is torch.nn.Module and Mine.__mro__[1] is Module
assert Mine.call.__name__ == "call" and Mine.__abstractmethods__ == {"other"}
assert isinstance(1, int) and not issubclass(int, Mine)
refused = 0
for ask in sys.argv[1:]:
    try:
        eval(ask)
    except PlaceholderError:
        refused += 1
    else:
        print("answered:", ask)
assert refused == len(sys.argv[1:])
"""
ASKED = [
    "not torch.cuda.is_available()",
    "torch.__version__ >= '2'",
    "hasattr(Mine, 'half')",
    "hasattr(Module, 'half')",
    "isinstance(1, Tensor)",
    "issubclass(Mine, nn.Module)",
    "isinstance(1, torch.dtype)",
    "'float32' in dir(torch)",
    "'float32' in vars(torch)",
    "'relu' in dir(functional.relu)",
    "'half' in dir(Module)",
    "Module()",
    "torch.float32 == torch.float64",
    "torch.finfo(torch.float32).max > 1",
    "list(torch.backends)",
    "f'{torch.float32}'",
    "int(torch.tensor(1))",
    "torch.arange(3)[0]",
    "from_star if hasattr(torch, '__all__') else None",
]


def test_what_needs_more_than_a_name_is_refused_and_the_rest_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_AT, *ASKED], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_a_library_that_is_loaded_stays_what_it_is() -> None:
    import torch

    from twotower.config.placeholders import loaded, use_placeholders

    assert loaded({"torch"})
    with pytest.raises(AssertionError):
        use_placeholders({"torch"})
    assert torch.tensor(1) == 1


def test_the_names_that_features_cannot_have_are_those_of_modules() -> None:
    from torch import nn

    from twotower.features.taken_names import TAKEN

    assert {name for name in dir(nn.ModuleDict) if not name.startswith("__")} == TAKEN
