"""The MLP tower: joins, residual, norms."""

import pytest
import torch
from torch import nn

from twotower.config.choice_context import ChoiceContext
from twotower.model.towers.mlp import Mlp

BLOCKS = {"item_id": torch.tensor([[3.0, 4.0], [0.0, 2.0]]), "price": torch.tensor([[1.0], [-1.0]])}
DIMS = {"item_id": 2, "price": 1}


def test_one_linear_layer_by_hand() -> None:
    tower = Mlp(Mlp.Config(widths=[], normalize="none"), DIMS, 2)
    (linear,) = tower.layers
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 0, 10], [0, 2, 0]]))
        linear.bias.copy_(torch.tensor([0.5, 0]))
    # the blocks are joined in the order of block_dims, whatever the order they come in
    swapped = {name: BLOCKS[name] for name in ("price", "item_id")}
    assert tower(swapped).tolist() == [[13.5, 8], [-9.5, 4]]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_residual_starts_as_the_block_itself(dropout: float) -> None:
    tower = Mlp(Mlp.Config(widths=[8], residual="item_id", dropout=dropout, normalize="none"), DIMS, 2).eval()
    assert torch.equal(tower(BLOCKS), BLOCKS["item_id"])
    cosine = Mlp(Mlp.Config(widths=[8, 4], residual="item_id", normalize="l2"), DIMS, 2)
    torch.testing.assert_close(cosine(BLOCKS), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))


def test_a_residual_of_another_width_is_projected() -> None:
    tower = Mlp(Mlp.Config(widths=[8], residual="item_id", normalize="none"), DIMS, 5)
    assert isinstance(tower.projection, nn.Linear)
    torch.testing.assert_close(tower(BLOCKS), tower.projection(BLOCKS["item_id"]))


def test_a_residual_that_is_no_block_is_a_problem() -> None:
    context = ChoiceContext({"block_names": {"user_tower": {"a", "b"}}}, "user_tower")
    assert list(Mlp.Config(widths=[]).problems(context)) == []
    assert list(Mlp.Config(widths=[], residual="b").problems(context)) == []
    ((field, message),) = Mlp.Config(widths=[], residual="c").problems(context)
    assert field == "residual"
    assert "'c'" in message
    assert "a or b or null" in message


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_scaled_layers_by_hand(scale: float) -> None:
    config = Mlp.Config(widths=[], residual="item_id", layer_scale=scale, normalize="none")
    tower = Mlp(config, DIMS, 2)
    (linear,) = tower.layers
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([10.0, 20.0]))
    torch.testing.assert_close(tower(BLOCKS), BLOCKS["item_id"] + scale * torch.tensor([10.0, 20.0]))


def test_layers_without_a_residual_are_not_scaled() -> None:
    torch.manual_seed(0)
    full = Mlp(Mlp.Config(widths=[8]), DIMS, 2)
    torch.manual_seed(0)
    assert torch.equal(full(BLOCKS), Mlp(Mlp.Config(widths=[8], layer_scale=0.5), DIMS, 2)(BLOCKS))
    unused = (
        Mlp.Config(widths=[8], layer_scale=0.5).unused(),
        Mlp.Config(widths=None, residual="a", layer_scale=0.5).unused(),
    )
    assert [[key for key, _ in each] for each in unused] == [["layer_scale"], ["layer_scale"]]


def test_auto_is_a_linear_layer_if_there_is_more_than_the_residual() -> None:
    config = Mlp.Config(widths="auto", residual="item_id", normalize="none")
    assert [layer.weight.shape for layer in Mlp(config, DIMS, 2).layers] == [(2, sum(DIMS.values()))]
    assert config.reads(DIMS.keys()) == DIMS.keys()
    alone = Mlp(config, {"item_id": 2}, 2)
    assert len(alone.layers) == 0
    assert torch.equal(alone({"item_id": BLOCKS["item_id"]}), BLOCKS["item_id"])
    assert len(Mlp(Mlp.Config(widths="auto"), {"item_id": 2}, 2).layers) == 1
    assert [key for key, _ in Mlp.Config(widths="auto", dropout=0.5).unused()] == ["dropout"]


@pytest.mark.parametrize("kind", ["dropout", "input_dropout"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    tower = Mlp(Mlp.Config(widths=[64], **{kind: 0.5}), DIMS, 4)
    assert not torch.equal(tower(BLOCKS), tower(BLOCKS))
    tower.eval()
    assert torch.equal(tower(BLOCKS), tower(BLOCKS))


def test_norms() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    none, l2, layer = (
        Mlp(Mlp.Config(widths=[], normalize=name), DIMS, 2).norm for name in ("none", "l2", "layer_norm")
    )
    assert none(vectors) is vectors
    unit = l2(vectors)
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0, 0]]))
    unit.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
    centered = layer(vectors)
    torch.testing.assert_close(centered[0], torch.tensor([-1.0, 1.0]), rtol=1e-3, atol=1e-3)


def test_the_gradient_of_a_zero_vector_is_as_large_as_that_of_its_direction() -> None:
    """As of an empty history: 1 / length would be 1e12."""
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    (
        Mlp(Mlp.Config(widths=[], normalize="l2"), DIMS, 2).norm(vectors) * torch.tensor([2.0, -1.0])
    ).sum().backward()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad[0], torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(vectors.grad[1], torch.tensor([44.0, -33.0]) / 125)
