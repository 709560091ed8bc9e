"""The base class of losses."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.spec import PositiveFloat
from twotower.model.negatives.sampler import ImpressionsAs, NegativeSampler
from twotower.model.scoring.logits import Logits
from twotower.model.scoring.scorer import ScoringConfig
from twotower.model.towers.two_tower import TwoTowerConfig


class Loss(Component, nn.Module, ABC):
    """The loss of each example, from the logits of its positive and its negatives.

    A loss and its gradients are finite for all logits; a higher logit of the positive never raises it, a
    higher logit of a negative never lowers it, and a negative with a very high logit raises it; masked
    negatives do not count. It may have zero gradient beyond a margin and be negative.

    Args:
        num_items: items that can be negatives.
    """

    class Config(Component.Config):
        @property
        def needs(self) -> frozenset[str]:
            """Requirements on negatives and towers, checked before any data is read.

            `log_q`: the sampler provides it (`NegativeSampler.Config.provides`). `unit_vectors`: embeddings
            have length 1. `no_item_bias`: embeddings have no bias column. Losses of cosines need both.
            `one_member`: all columns have one loss.
            """
            return frozenset()

        @property
        def compares_examples(self) -> bool:
            """Whether it is not a mean over examples, because it compares the examples of a batch."""
            return False

        @property
        def impressions(self) -> ImpressionsAs:
            """How the loss uses impressions without a click; with `nothing` they are refused."""
            return "query_negatives"

        @property
        def trains_probabilities(self) -> bool:
            """Whether the sigmoid of a logit is the probability of a click."""
            return self.impressions == "examples"

        def scoring(self) -> ScoringConfig:
            """Return how the logits are computed."""
            return ScoringConfig()

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse negatives and towers that do not meet the needs."""
            towers: TwoTowerConfig | None = context.get("towers")
            negatives: NegativeSampler.Config | None = context.get("negatives")
            if towers is None or negatives is None:
                return
            name, sampler = self.owner.__name__, negatives.owner.__name__
            remedies = towers.remedies()
            for need, remedy in remedies.items():
                if remedy and need in self.needs:
                    yield "", f"{name} needs {need}, which these towers do not provide; {remedy}"
            if missing := self.needs - remedies.keys() - negatives.provides:
                text = f"{name} needs {', '.join(sorted(missing))}, which {sampler} does not provide"
                yield "", f"{text}; choose other negatives, or disable the correction of the loss"

        def build(self, num_items: int = 1) -> "Loss":
            """Build the loss for negatives from `num_items` items."""
            return self.make(Loss, num_items)

    config: Config

    def __init__(self, config: Config, num_items: int = 1) -> None:
        super().__init__(config)
        self.num_items = num_items

    def takes_share_of_negatives(self) -> bool:
        """Return whether `mean` can be computed if each process has a share of the negatives of all users."""
        return False

    @abstractmethod
    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Compute the loss of each example.

        Args:
            positive: [b] logits of the positives.
            negatives: [b, C] logits of the negatives, -inf where masked; a whole row may be masked.
            multiplicity: [C] number of draws of each negative.

        Returns:
            [b]; differentiable with respect to the logits.
        """

    def negative_feedback(self, logits: Tensor) -> Tensor:
        """Return the loss of each impression without a click, [S], from its logit.

        Called if `Config.impressions` is `examples`.
        """
        raise NotImplementedError

    def mean(self, logits: Logits) -> Tensor:
        """Return the weighted mean of `forward` over the positives of a batch."""
        return logits.mean(self, [parameter for parameter in self.parameters() if parameter.requires_grad])

    def batch_mean(self, logits: Logits) -> Tensor:
        """Return the weighted mean over the positives and the impressions of a batch."""
        if logits.impressions is None:
            return self.mean(logits)
        impressions, weights = logits.impressions
        total = (self.negative_feedback(impressions) * weights).sum()
        if len(logits.positive):
            total = total + self.mean(logits) * logits.weights.sum()
        return total / (logits.weights.sum() + weights.sum())


class TemperatureLoss(Loss, ABC):
    """A loss whose `Config` sets the temperature of the scores."""

    class Config(Loss.Config):
        temperature: PositiveFloat = 0.1
        """Divides scores; 1 suits towers without normalization, 0.1 or less suits `l2`."""
        learned_temperature: bool = False
        """Train the temperature, with `temperature` as the initial value."""

        def scoring(self) -> ScoringConfig:
            """Return the temperature."""
            return ScoringConfig(self.temperature, self.learned_temperature)

    config: Config


class CosineLoss(Loss, ABC):
    """A loss of cosines: it needs unit vectors and no item bias."""

    class Config(Loss.Config):
        needs: ClassVar[frozenset[str]] = frozenset({"unit_vectors", "no_item_bias"})

    config: Config


def mean_over_draws(values: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
    """Return the mean of values [b, C] over the draws that are not masked, [b]; 0 without any.

    Args:
        values: one per negative.
        negatives: [b, C] logits, -inf where masked.
        multiplicity: [C] number of draws of each negative.
    """
    masked = negatives.isneginf()
    draws = ~masked * multiplicity
    return (draws * values.masked_fill(masked, 0)).sum(1) / draws.sum(1).clamp(min=1)
