"""A gated recurrent unit over the history."""

from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.spec import DropoutRate, PositiveInt
from twotower.model.towers.dropout import Dropout
from twotower.model.towers.history.causal_encoder import CausalEncoder


class Gru(CausalEncoder):
    """The hidden states of a gated recurrent unit (GRU).

    Reference: Hidasi et al., Session-based Recommendations with Recurrent Neural Networks, ICLR 2016, section
    3.
    """

    class Config(CausalEncoder.Config):
        layers: Annotated[PositiveInt, Le(64)] = 1
        """Number of stacked layers."""
        hidden_dropout: DropoutRate = 0.1
        """Dropout rate of the input of each layer, in training."""

    config: Config

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim)
        self.dropout = Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(nn.GRU(dim, dim, batch_first=True) for _ in range(config.layers))

    def encode(self, items: Tensor, times: Tensor) -> Tensor:
        """Run the layers; see `CausalEncoder.encode`."""
        length, states = items.shape[1], items
        if torch.compiler.is_compiling():  # a traced graph has a fixed number of steps
            states = functional.pad(states, (0, 0, 0, self.config.length - length))
        for layer in self.layers:
            states, _ = layer(self.dropout(states))
        return states[:, :length]
