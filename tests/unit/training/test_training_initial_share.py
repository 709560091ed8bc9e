"""How much of the initial embeddings the weights keep, with one weight that training moves from 0 to 8."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from twotower.training.checkpoints import INITIAL, write_checkpoint
from twotower.training.selection.initial_share import mix_with_initial
from twotower.training.trainer import TrainerChoice


class OneWeight(nn.Module):
    """Moved from 0 to 8, with a count that is 3 and a memory that has grown from 1 to 2 values."""

    temperature = 1.0

    def __init__(self, values: dict[int, float], has_validation: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(8.0), requires_grad=False)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("memory", torch.ones(2))
        self.model, self.is_informed = None, True
        self.validation = SimpleNamespace(score=lambda *_: values[int(self.weight)])
        self.initial_score = values.get(0)
        if not has_validation:
            self.validation = self.initial_score = None


def mix(module: OneWeight, folder: Path, score: float | None, share: float | None = None) -> Any:
    """Mix after two epochs with some score; return the share, its score, and the weight."""
    start = {"weight": torch.tensor(0.0), "count": torch.tensor(1), "memory": torch.zeros(1)}
    write_checkpoint(folder / INITIAL, {"state_dict": start})
    keep: Any = SimpleNamespace(score=score, epochs=2, folder=folder)
    found = mix_with_initial(module, keep, TrainerChoice.Config(initial_share=share))
    assert (int(module.count), module.memory.tolist()) == (3, [1.0, 1.0])
    return *found, float(module.weight)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({0: 0.1, 2: 0.2, 4: 0.3, 6: 0.5, 8: 0.4}, (0.25, 0.5, 6.0)),
        ({0: 0.1, 2: 0.2, 4: 0.3, 6: 0.4, 8: 0.5}, (0.0, 0.5, 8.0)),
        ({0: 0.5, 2: 0.2, 4: 0.3, 6: 0.4, 8: 0.4}, (1.0, 0.5, 0.0)),
        ({0: 0.1, 2: 0.5, 4: 0.5, 6: 0.5, 8: 0.5}, (0.75, 0.5, 2.0)),  # of equal ones the largest share
        ({0: -0.5, 2: -0.4, 4: -0.3, 6: -0.4, 8: -0.5}, (0.5, pytest.approx(-0.3), 4.0)),
    ],
)
def test_validation_chooses_the_share(values: dict[int, float], expected: Any, tmp_path: Path) -> None:
    assert mix(OneWeight(values), tmp_path, values[8]) == expected


def test_equal_means_in_float32_are_equal(tmp_path: Path) -> None:
    values = {0: 0.3, 2: 0.1, 4: 0.1, 6: 0.1, 8: 0.3}
    as_float32 = float(torch.tensor(values[8]))
    assert mix(OneWeight(values), tmp_path, as_float32)[0] == 1.0


def test_a_set_share_is_used_with_and_without_validation(tmp_path: Path) -> None:
    assert mix(OneWeight({2: 0.25}), tmp_path, 0.5, share=0.75) == (0.75, 0.25, 2.0)
    assert mix(OneWeight({}, has_validation=False), tmp_path, None, share=0.5) == (0.5, None, 4.0)
    assert mix(OneWeight({}), tmp_path, 0.5, share=0.0) == (0.0, 0.5, 8.0)


def test_random_embeddings_are_not_kept(tmp_path: Path) -> None:
    module = OneWeight({})
    module.is_informed = False
    assert mix(module, tmp_path, 0.5) == (0.0, 0.5, 8.0)
