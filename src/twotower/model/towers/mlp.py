"""The default tower: concatenate the blocks, apply an MLP, normalize."""

from collections.abc import Iterable, Set
from typing import Annotated, Literal

import torch
from annotated_types import MaxLen
from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import DropoutRate, PositiveFloat, Width
from twotower.model.towers.dropout import Dropout
from twotower.model.towers.tower import ScaledTower

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
    residual block (an id embedding, an encoded history), and the output of the layers is scaled down. Adam
    changes each weight by about the learning rate in a step, so that a sum over many inputs would move much
    faster than the residual.

    References: Covington et al., Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 3;
    Touvron et al., Going deeper with Image Transformers, ICCV 2021, section 2 (LayerScale).
    """

    class Config(ScaledTower.Config):
        widths: Annotated[list[Width], MaxLen(32)] | Literal["auto"] | None
        """Widths of the hidden layers. `[]` is one linear layer; null is none: the output is the residual.
        `auto` is `[]` if the tower has inputs besides the residual and a short training with the layer is
        better on the validation split by one standard error, else null."""
        activation: Activation = "gelu"
        """Activation after each hidden layer."""
        dropout: DropoutRate = 0.0
        """Dropout rate after each activation, in training."""
        input_dropout: DropoutRate = 0.0
        """Dropout rate of the concatenated blocks and of the residual, in training."""
        residual: str | None = None
        """Name of the block that is added to the output, projected if its width differs."""
        layer_scale: PositiveFloat = 0.1
        """Factor of the output of the layers before a residual is added; 1 trains them at the full rate."""

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return all blocks, or only the residual if there are no layers; see `Tower.Config.reads`."""
            return blocks if self.hidden_widths(blocks) is not None else {self.residual or ""} & blocks

        def hidden_widths(self, blocks: Set[str]) -> list[int] | None:
            """Return the widths of the hidden layers of a tower with some inputs; None without layers."""
            if self.widths == "auto":
                return None if blocks <= {self.residual} else []
            return self.widths

        def has_optional_layers(self, blocks: Set[str]) -> bool:
            """Whether `widths` is auto and gives layers; see `Tower.Config.has_optional_layers`."""
            return self.widths == "auto" and self.residual is not None and not blocks <= {self.residual}

        def unused(self) -> Iterable[tuple[str, str]]:
            """Yield settings of hidden layers if there are no hidden layers; see `Config.unused`."""
            no_hidden = self.widths in (None, [], "auto")
            for field in {"activation", "dropout"} & self.model_fields_set if no_hidden else ():
                yield field, "`widths` has no hidden layers; set widths=[128]"
            if "layer_scale" in self.model_fields_set and (self.widths is None or self.residual is None):
                yield "layer_scale", "it needs layers and a residual; set `widths` and `residual`"

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """Refuse an unknown residual, and null widths without a residual."""
            blocks = self.blocks_of(context)
            if self.residual is None and self.widths is None:
                yield "widths", "null requires a residual; set residual, or widths=[128]"
            if self.residual is not None and blocks is not None and self.residual not in blocks:
                names = " or ".join([*sorted(blocks), "null"])
                yield "residual", f"{self.residual!r} is no input of this tower; set it to {names}"

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config, block_dims, embedding_dim)
        self.input_dropout = Dropout(config.input_dropout)
        layers: list[nn.Module] = []
        self.widths, width_in = config.hidden_widths(block_dims.keys()), sum(block_dims.values())
        for width in self.widths or ():
            layers += [nn.Linear(width_in, width), ACTIVATIONS[config.activation](), Dropout(config.dropout)]
            width_in = width
        self.layers = nn.Sequential(*layers)
        if self.widths is not None:
            last = nn.Linear(width_in, embedding_dim)
            self.layers.append(last)
            if config.residual is not None:
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.projection: nn.Module = nn.Identity()
        if config.residual is not None and block_dims[config.residual] != embedding_dim:
            self.projection = nn.Linear(block_dims[config.residual], embedding_dim, bias=False)

    @property
    def optional_layers(self) -> nn.Module | None:
        """The layers of `widths=auto`; see `Tower.optional_layers`."""
        return self.layers if self.config.has_optional_layers(self.block_dims.keys()) else None

    def reads(self) -> Set[str]:
        """Return the residual alone if the layers are left out; see `Tower.reads`."""
        return {self.config.residual or ""} if self.skips_layers else super().reads()

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D]; see `Tower.forward`."""
        parts: list[Tensor] = []
        if self.widths is not None and not self.skips_layers:
            inputs = [blocks[name] for name in self.block_dims]
            joined = torch.cat(inputs, -1) if len(inputs) > 1 else inputs[0]
            parts.append(self.layers(self.input_dropout(joined)))
        if self.config.residual is not None:
            parts = [part * self.config.layer_scale for part in parts]
            parts.append(self.projection(self.input_dropout(blocks[self.config.residual])))
        scaled: Tensor = self.norm(sum(parts[1:], parts[0]))
        return scaled
