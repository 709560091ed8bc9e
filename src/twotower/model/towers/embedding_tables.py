"""The embedding tables of two towers."""

from torch import Tensor, nn

from twotower.model.features.encoders import DividedTable
from twotower.model.towers.two_tower import TwoTower


def sparse_parameters(model: TwoTower) -> list[Tensor]:
    """Return the parameters whose gradients are sparse."""
    tables = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag | DividedTable) and module.sparse
    ]
    if model.item_bias.config.gives_sparse_gradients:
        tables.append(model.item_bias.get_parameter("biases"))
    return tables
