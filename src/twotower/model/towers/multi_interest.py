"""A tower with several embeddings of a user, one for each interest in the history."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveInt
from twotower.model.towers.mlp import Mlp


class MultiInterest(Mlp):
    """The MLP, applied to K summaries of the history; the score of an item is the best of the K scores.

    Each interest weights the items of the history by n softmax(q . tanh(W item + b)) over its n items, with
    its own q, before the history encoder reads them. Their mean is 1, so that equal weights give the summary
    of `mlp`; the W, b and the MLP are shared. With one interest there are no weights: the tower is `mlp`.

    Training maximizes over the interests too, for positives and for negatives, so that it has the score of
    the index. The gradient reaches only the best interest of an item.

    Reference: Cen et al., Controllable Multi-Interest Framework for Recommendation, KDD 2020, section 3.2
    (ComiRec-SA, to which it is equal with `history=mean_pooling history.power=1` and items without
    positions; there only the positive chooses the interest).
    """

    class Config(Mlp.Config):
        interests: Annotated[PositiveInt, Le(64)] = 4
        """K, the number of user embeddings; 1 is the tower `mlp`."""

        @property
        def num_interests(self) -> int:
            """K."""
            return self.interests

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """Refuse several interests without a history."""
            blocks = self.blocks_of(context)
            yield from super().problems(context)
            if self.interests > 1 and blocks is not None and "history" not in self.reads(blocks):
                text = f"{self.interests} interests divide a history, and this tower reads none"
                yield "interests", f"{text}; choose a history with residual=history, or set interests=1"

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config, block_dims, embedding_dim)
        if config.interests > 1:
            dim = block_dims["history"]
            self.hidden = nn.Linear(dim, dim)
            self.queries = nn.Linear(dim, config.interests, bias=False)
            nn.init.normal_(self.queries.weight)  # not small: equal interests would learn the same

    def item_weights(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return the weights of items for each interest, [B, K, L]; see `Tower.item_weights`."""
        logits = self.queries(torch.tanh(self.hidden(embeddings))).transpose(1, 2).float()
        shares = torch.softmax(logits.masked_fill(~mask[:, None], torch.finfo(logits.dtype).min), -1)
        return (shares * (mask * mask.sum(1, keepdim=True))[:, None]).to(embeddings.dtype)

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, K, D], or [B, D] with one interest; see `Tower.forward`."""
        if self.config.interests == 1:
            return super().forward(blocks)
        shape = (-1, self.config.interests, -1)
        return super().forward(
            {name: each if each.dim() == 3 else each[:, None].expand(shape) for name, each in blocks.items()}
        )
