"""The Transformer of `sasrec` as its authors' program has it, which differs from their paper."""

from torch import Tensor, nn
from torch.nn import functional

from twotower.towers.history.sasrec import Block, Sasrec


class SasrecNormed(Sasrec):
    """y = norm(x), z = norm(y + attention(y asks x)), x = z + W2 relu(W1 z): what is added to is the norm.

    Each block forgets how large its inputs were. On Amazon Beauty (nine items a user) it is ahead of
    `sasrec`.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III, as their
    program computes it.
    """

    def block(self) -> nn.Module:
        """Build one block; see `Sasrec.block`."""
        return NormedBlock(self.dim, self.config.heads, self.config.hidden_dropout)


class NormedBlock(Block):
    """The parts of a `Block`, each added to the norm of what it reads; dropout is between products, too."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, L, H] after the block."""
        asked = self.attention_norm(states)
        states = self.norm(asked + self.attention(asked, of=states))
        wide = functional.relu(self.dropout(self.widen(states)))
        found: Tensor = states + self.dropout(self.narrow(wide))
        return found
