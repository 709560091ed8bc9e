"""The default tower: concatenate the blocks, apply an MLP, normalize."""

from collections.abc import Iterable, Set
from typing import Annotated, Literal

import torch
from annotated_types import MaxLen
from torch import Tensor, nn

from twotower.config.spec import DropoutRate, Width
from twotower.towers.dropout import Dropout
from twotower.towers.tower import ScaledTower

Activation = Literal["relu", "gelu", "silu", "tanh"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Mlp(ScaledTower):
    """Concatenates the blocks, applies an MLP, adds the block named by `residual`, and normalizes.

    With a residual, the last layer of the MLP is initialized to zero, so that the initial output is the
    residual block (an id embedding, an encoded history).

    Reference: Covington et al., Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 3.
    """

    class Config(ScaledTower.Config):
        """Settings of an MLP."""

        widths: Annotated[list[Width], MaxLen(32)] | None
        """Widths of the hidden layers. `[]` is one linear layer; null is none: the output is the residual."""
        activation: Activation = "gelu"
        """Activation after each hidden layer."""
        dropout: DropoutRate = 0.0
        """Dropout rate after each activation, in training."""
        input_dropout: DropoutRate = 0.0
        """Dropout rate of the concatenated blocks and of the residual, in training."""
        residual: str | None = None
        """Name of the block that is added to the output, projected if its width differs."""
        layers_read_residual: bool = True
        """Whether the residual block is an input of the layers, too. Without it, they correct the residual by
        the other features alone, which overfits less if users are few."""

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return all blocks, or only the residual if there are no layers; see `Tower.Config.reads`."""
            return blocks if self.widths is not None else {self.residual or ""} & blocks

        def unused(self) -> Iterable[tuple[str, str]]:
            """Yield settings of hidden layers if there are no hidden layers; see `Config.unused`."""
            for field in {"activation", "dropout"} & self.model_fields_set if not self.widths else ():
                yield field, "`widths` has no hidden layers; set widths=[128]"
            if not self.layers_read_residual and (self.widths is None or self.residual is None):
                yield "layers_read_residual", "it needs layers and a residual; set `widths` and `residual`"

        def problems(self, blocks: Set[str] | None = None) -> Iterable[tuple[str, str]]:
            """Refuse an unknown residual, and null widths without a residual."""
            if self.residual is None and self.widths is None:
                yield "widths", "null requires a residual; set residual, or widths=[128]"
            if self.residual is not None and blocks is not None and self.residual not in blocks:
                names = ", ".join(sorted(blocks))
                yield "residual", f"{self.residual!r} is no input of this tower; it has {names}"
            if not self.layers_read_residual and self.widths is not None and blocks == {self.residual}:
                message = "false leaves the layers without an input; set widths=null, or add a feature"
                yield "layers_read_residual", message

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config, block_dims, embedding_dim)
        self.input_dropout = Dropout(config.input_dropout)
        layers: list[nn.Module] = []
        unread = None if config.layers_read_residual else config.residual
        self.inputs = [name for name in block_dims if name != unread]
        width_in = sum(block_dims[name] for name in self.inputs)
        for width in config.widths or ():
            layers += [nn.Linear(width_in, width), ACTIVATIONS[config.activation](), Dropout(config.dropout)]
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
            inputs = [blocks[name] for name in self.inputs]
            joined = torch.cat(inputs, -1) if len(inputs) > 1 else inputs[0]
            parts.append(self.layers(self.input_dropout(joined)))
        if self.config.residual is not None:
            parts.append(self.projection(self.input_dropout(blocks[self.config.residual])))
        scaled: Tensor = self.norm(sum(parts[1:], parts[0]))
        return scaled
