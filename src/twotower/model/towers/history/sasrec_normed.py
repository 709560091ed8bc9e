"""SASRec as in the code of its authors, which differs from the paper."""

from torch import Tensor, nn
from torch.nn import functional

from twotower.model.towers.history.sasrec import Block, Sasrec


class SasrecNormed(Sasrec):
    """y = norm(x), z = norm(y + attention(query y, keys x)), x = z + W2 relu(W1 z).

    The residual branch starts from the norm, so each block discards the scale of its input.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III, as in
    the code of the authors.
    """

    def block(self) -> nn.Module:
        """Build one block; see `Sasrec.block`."""
        return NormedBlock(self.dim, self.config.heads, self.config.hidden_dropout)


class NormedBlock(Block):
    """A `Block` whose branches are added to the norm of their input, with dropout within the MLP, too."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, L, H] after the block."""
        normed = self.attention_norm(states)
        states = self.norm(normed + self.attention(normed, keys=states))
        wide = functional.relu(self.dropout(self.widen(states)))
        output: Tensor = states + self.dropout(self.narrow(wide))
        return output
