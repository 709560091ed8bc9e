"""The two towers as modules whose inputs and outputs are plain tensors by name.

Shapes: B users or items, L history positions, W width of a feature, D embedding, H history vector.
"""

import torch
from torch import Tensor, nn

from twotower.towers.two_tower import TwoTower

# A dot after a keyword: no operator or parameter of a graph can have such a name.
HISTORY, MASK, TIMES = "in.history", "in.mask", "in.times"
EMBEDDING, TOWER_OUTPUT = "out.embedding", "out.tower_output"


def feature_input(name: str) -> str:
    """Return the name of the input that takes a feature."""
    return f"in.feature.{name}"


class UserTowerModule(nn.Module):
    """From encoded features and a history given as item vectors to embeddings."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.encoders = model.user_encoders
        self.history = model.history
        self.tower = model.user_tower
        self.layout = model.layout

    def forward(self, features: dict[str, Tensor], history: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Embed users.

        Args:
            features: by name, those of the request too, each [B, W].
            history: [B, L, H] item vectors, the latest at -1, zeros where masked.
            mask: [B, L] bool, true where there is an item.
            times: [B, L] int64 unix seconds, 0 where masked.

        Returns:
            [B, D], with the ones that meet the item bias.
        """
        blocks = _blocks(self.encoders, features)
        blocks["history"] = self.history.latest(history, mask, times)
        if self.history.config.last_item:
            blocks["last_item"] = history[:, -1]
        return self.layout.of_users(self.tower(blocks))


class ItemTowerModule(nn.Module):
    """From encoded features of new items to embeddings, with the bias of a new item."""

    bias: Tensor

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.encoders = model.item_encoders
        self.tower = model.item_tower
        self.layout = model.layout
        # All new items have one bias, so that how it comes about (a quantile, say) need not be exported.
        self.register_buffer("bias", model.item_bias(torch.zeros(1, dtype=torch.int64)).detach().float())

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed new items from encoded features, each [B, W] -> [B, D] and the tower's output [B, H]."""
        output: Tensor = self.tower(_blocks(self.encoders, features))
        return self.layout.of_items(output, self.bias.expand(output.shape[0], -1)), output


def _blocks(encoders: nn.ModuleDict, features: dict[str, Tensor]) -> dict[str, Tensor]:
    # ONNX looks up by int64 only.
    plain = {
        name: values if values.is_floating_point() else values.long() for name, values in features.items()
    }
    return {name: encoders[name](values) for name, values in plain.items()}
