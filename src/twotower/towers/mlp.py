"""The tower of this house: join the blocks, run an MLP, scale."""

from typing import Annotated, Literal

import torch
from annotated_types import MaxLen
from torch import Tensor, nn

from twotower.config.spec import DropoutRate, Width
from twotower.towers.normalise import NormName, norm_of, provided_by
from twotower.towers.tower import Tower

Activation = Literal["relu", "gelu", "silu", "tanh"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Mlp(Tower):
    """Blocks -> concat -> MLP -> norm, with one block added to the MLP's output where `residual` names it.

    With a residual the MLP's last layer starts at zero: training begins from the named block alone (an id
    embedding, a pooled history) and the MLP learns what to add.

    Args:
        block_dims: see `Tower`.
        embedding_dim: see `Tower`.
        widths: of the hidden layers; their number is the depth, `[]` is one linear layer.
        activation: after each hidden layer.
        dropout: after each activation, while training.
        input_dropout: on the joined blocks and the residual, while training.
        residual: name of the block added to the output (projected if its width differs).
        normalise: `l2` (score = cosine), `layer_norm` or `none` (norms carry popularity).

    Reference: Covington et al., Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 3.
    """

    def __init__(
        self,
        block_dims: dict[str, int],
        embedding_dim: int,
        *,
        widths: Annotated[list[Width], MaxLen(32)],
        activation: Activation = "gelu",
        dropout: DropoutRate = 0.0,
        input_dropout: DropoutRate = 0.0,
        residual: str | None = None,
        normalise: NormName = "l2",
    ) -> None:
        super().__init__(block_dims, embedding_dim)
        self.residual = residual
        self.input_dropout = nn.Dropout(input_dropout)
        layers: list[nn.Module] = []
        width_in = sum(block_dims.values())
        for width in widths:
            layers += [nn.Linear(width_in, width), ACTIVATIONS[activation](), nn.Dropout(dropout)]
            width_in = width
        last = nn.Linear(width_in, embedding_dim)
        self.layers = nn.Sequential(*layers, last)
        self.projection: nn.Module = nn.Identity()
        if residual is not None:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            if block_dims[residual] != embedding_dim:
                self.projection = nn.Linear(block_dims[residual], embedding_dim, bias=False)
        self.norm = norm_of(normalise, embedding_dim)

    @classmethod
    def problems(cls, blocks: set[str], **arguments: object) -> list[tuple[str, str]]:
        """Refuse a residual that is no block."""
        residual = arguments.get("residual")
        if residual is None or residual in blocks:
            return []
        return [("residual", f"{residual!r} is no input of this tower; it has {', '.join(sorted(blocks))}")]

    @classmethod
    def provides(cls, **arguments: object) -> frozenset[str]:
        """Return that all outputs have length 1, if they are so scaled."""
        return provided_by(arguments["normalise"])

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D]; see `Tower.forward`."""
        output: Tensor = self.layers(
            self.input_dropout(torch.cat([blocks[name] for name in self.block_dims], -1))
        )
        if self.residual is not None:
            output = output + self.projection(self.input_dropout(blocks[self.residual]))
        scaled: Tensor = self.norm(output)
        return scaled
