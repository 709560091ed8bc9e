"""The sum of a loss over truncated embeddings, which can then be truncated in serving."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Le
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import ImpressionsAs
from twotower.model.scoring.logits import Logits
from twotower.model.scoring.scorer import ScoringConfig
from twotower.model.towers.two_tower import TwoTowerConfig


class Matryoshka(Loss):
    """L = sum over the widths D, D / 2, D / 4, ... of another loss of the first columns.

    The scorer truncates the embeddings and computes logits for each width. If the other loss needs unit
    vectors, truncated embeddings are rescaled to length 1, as before they are indexed.

    Needs: no item bias, whose column is the last, and the needs of the other loss.
    Prefer it if one training is to give indexes of several sizes.
    Reference: Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022, section 3.
    """

    class Config(Loss.Config):
        inner: Loss.Config
        """The loss, as in `{_target_: twotower.model.losses.bpr.Bpr}`."""
        num_halvings: Annotated[int, Ge(1), Le(11)] = 2
        """2: all columns, half of them and a quarter."""
        needs: ClassVar[frozenset[str]] = frozenset({"no_item_bias", "one_member"})
        """The needs of the other loss are checked separately."""

        @property
        def compares_examples(self) -> bool:
            """As the other loss."""
            return self.inner.compares_examples

        @property
        def impressions(self) -> ImpressionsAs:
            """As the other loss."""
            return self.inner.impressions

        def scoring(self) -> ScoringConfig:
            """Return the logits of the other loss, for each width."""
            normalizes = "unit_vectors" in self.inner.needs
            return replace(
                self.inner.scoring(), num_halvings=self.num_halvings, normalizes_truncations=normalizes
            )

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse too many halvings, and a Matryoshka loss as the inner loss."""
            towers: TwoTowerConfig | None = context.get("towers")
            yield from super().problems(context)
            if isinstance(self.inner, Matryoshka.Config):
                yield "inner", "is another Matryoshka; name another loss, and set loss.num_halvings"
            if towers is not None and (dim := towers.embedding_dim) >> self.num_halvings < 1:
                yield "num_halvings", f"truncates embedding_dim = {dim} to 0 columns; lower it"

    config: Config

    def __init__(self, config: Config, num_items: int = 1) -> None:
        super().__init__(config, num_items)
        self.inner = config.inner.build(num_items)

    def takes_share_of_negatives(self) -> bool:
        """Return whether the other loss does."""
        return self.inner.takes_share_of_negatives()

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the other loss of one width, [b]."""
        loss: Tensor = self.inner(positive, negatives, multiplicity)
        return loss

    def mean(self, logits: Logits) -> Tensor:
        """Return the weighted mean of the other loss of one width."""
        return self.inner.mean(logits)

    def negative_feedback(self, logits: Tensor) -> Tensor:
        """Return the other loss of impressions without a click, of one width, [S]."""
        return self.inner.negative_feedback(logits)
