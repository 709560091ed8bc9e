"""What every tower promises, for each entry of `conf/user_tower/` and `conf/item_tower/` and its settings."""

from collections.abc import Set
from typing import Any

import pytest
import torch
from torch import Tensor
from variants import specs_of

from twotower.config.choice_context import ChoiceContext
from twotower.config.spec import TARGET
from twotower.model.towers.mlp import Mlp
from twotower.model.towers.tower import Tower

SIDES = {side: specs_of(side) for side in ("user_tower", "item_tower")}
DIMS, D, B = {"one": 3, "two": 6, "three": 1, "history": 6, "item_id": 6}, 6, 5
MLP = f"{Mlp.__module__}.{Mlp.__qualname__}"


def cases() -> dict[str, dict[str, Any]]:
    specs = {f"{side}-{name}": spec for side, specs in SIDES.items() for name, spec in specs.items()}
    settings: dict[str, dict[str, Any]] = {
        "linear": {"widths": []},
        "deep": {"widths": [7, 5, 3], "activation": "silu", "dropout": 0.2, "input_dropout": 0.2},
        "residual": {"widths": [8], "residual": "two", "normalize": "layer_norm"},
        "projected": {"widths": [8], "residual": "one", "normalize": "none"},
    }
    return specs | {f"mlp, {name}": {TARGET: MLP, **arguments} for name, arguments in settings.items()}


CASES = cases()


def reading(names: Set[str]) -> ChoiceContext:
    """Return the context of a user tower with these inputs."""
    return ChoiceContext({"block_names": {"user_tower": names}}, "user_tower")


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def tower(request: pytest.FixtureRequest) -> Tower:
    torch.manual_seed(2)
    built = Tower.Config.model_validate(request.param).build(DIMS, D)
    for parameter in built.parameters():  # as after some training: a residual's MLP starts at zero
        torch.nn.init.normal_(parameter, std=0.5)
    return built.eval()


def blocks_of(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn(B, dim).requires_grad_() for name, dim in DIMS.items()}


def test_it_embeds_every_row_by_itself(tower: Tower) -> None:
    blocks = blocks_of()
    embeddings = tower(blocks)
    assert embeddings.shape == (B, D)
    assert embeddings.isfinite().all()
    alone = tower({name: values[2:3] for name, values in blocks.items()})
    torch.testing.assert_close(alone[0], embeddings[2])
    assert torch.equal(embeddings, tower(dict(reversed(blocks.items()))))


def test_the_gradient_reaches_every_block_and_parameter(tower: Tower) -> None:
    blocks = blocks_of()
    loss = (tower(blocks) * torch.randn(B, D)).sum()
    loss.backward()
    used = list(blocks.values())
    if isinstance(tower, Mlp) and tower.config.widths is None:
        assert tower.config.residual is not None
        used = [blocks[tower.config.residual]]
    for values in (*used, *tower.parameters()):
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert values.grad.any()


def test_blocks_of_zeros_are_finite(tower: Tower) -> None:
    blocks = {name: torch.zeros(B, dim, requires_grad=True) for name, dim in DIMS.items()}
    embeddings = tower(blocks)
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(values.grad is None or values.grad.isfinite().all() for values in blocks.values())


def test_its_problems_name_its_own_parameters(tower: Tower) -> None:
    assert list(tower.config.problems(reading(DIMS.keys()))) == []
    for name, _ in tower.config.problems(reading(set())):
        assert name in type(tower.config).model_fields
