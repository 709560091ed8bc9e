"""The default tower: concatenate the blocks, apply an MLP, normalise."""

from collections.abc import Iterable, Set
from typing import Annotated, Literal

import torch
from annotated_types import MaxLen
from torch import Tensor, nn

from twotower.config.spec import DropoutRate, Width
from twotower.towers.dropout import Dropout
from twotower.towers.scaled_tower import ScaledTower, unknown_block

Activation = Literal["relu", "gelu", "silu", "tanh"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Mlp(ScaledTower):
    """Blocks -> concat -> MLP -> norm, with one block added to the MLP's output where `residual` names it.

    With a residual the MLP's last layer starts at zero: training begins from the named block alone (an id
    embedding, a pooled history) and the MLP learns what to add.

    Args:
        config: see `Config`.
        block_dims: see `Tower`.
        embedding_dim: see `Tower`.

    Reference: Covington et al., Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 3.
    """

    class Config(ScaledTower.Config):
        """Settings of an MLP."""

        widths: Annotated[list[Width], MaxLen(32)] | None
        """Of the hidden layers; their number is the depth, `[]` is one linear layer, null none at all: the
        residual alone."""
        activation: Activation = "gelu"
        """After each hidden layer."""
        dropout: DropoutRate = 0.0
        """After each activation, while training."""
        input_dropout: DropoutRate = 0.0
        """On the joined blocks and the residual, while training."""
        residual: str | None = None
        """Name of the block added to the output (projected if its width differs)."""

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return all blocks, or only the residual if there are no layers; see `Tower.Config.reads`."""
            return blocks if self.widths is not None else {self.residual or ""} & blocks

        def unused(self) -> Iterable[tuple[str, str]]:
            """Yield the settings of hidden layers where there are none; see `Config.unused`."""
            for field in {"activation", "dropout"} & self.model_fields_set if not self.widths else ():
                yield field, "it acts on hidden layers, and `widths` has none; set widths=[128]"

        def problems(self, blocks: Set[str] | None = None) -> Iterable[tuple[str, str]]:
            """Refuse a residual that is no block, and no layers without a residual."""
            if self.residual is not None:
                return unknown_block("residual", self.residual, blocks)
            return (
                [("widths", "null leaves the residual alone, and there is none")]
                if self.widths is None
                else ()
            )

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config, block_dims, embedding_dim)
        self.input_dropout = Dropout(config.input_dropout)
        layers: list[nn.Module] = []
        width_in = sum(block_dims.values())
        for width in config.widths or ():
            layers += [
                nn.Linear(width_in, width),
                ACTIVATIONS[config.activation](),
                Dropout(config.dropout),
            ]
            width_in = width
        self.layers = nn.Sequential(*layers)
        if config.widths is not None:
            last = nn.Linear(width_in, embedding_dim)
            self.layers.append(last)
            if config.residual is not None:
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.projection: nn.Module = nn.Identity()
        if config.residual is not None and block_dims[config.residual] != embedding_dim:
            self.projection = nn.Linear(block_dims[config.residual], embedding_dim, bias=False)

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D]; see `Tower.forward`."""
        parts: list[Tensor] = []
        if self.config.widths is not None:
            chosen = [blocks[name] for name in self.block_dims]
            joined = torch.cat(chosen, -1) if len(chosen) > 1 else chosen[0]
            parts.append(self.layers(self.input_dropout(joined)))
        if self.config.residual is not None:
            parts.append(self.projection(self.input_dropout(blocks[self.config.residual])))
        scaled: Tensor = self.norm(sum(parts[1:], parts[0]))
        return scaled
