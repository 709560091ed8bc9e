"""The base class of samplers of negatives."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Le
from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.spec import PositiveInt
from twotower.data.interactions import Interactions

ImpressionsAs = Literal["examples", "query_negatives", "nothing"]
"""How a loss uses impressions without a click: as examples with the label 0, as negatives of the positives of
the same user, or not at all."""
RAREST = 1e-12
"""Lower bound of q, for a finite logarithm."""
Draws = Annotated[PositiveInt, Le(1_000_000)]
"""Number of draws per batch."""


@dataclass(frozen=True)
class Negatives:
    """The items that the positives of a batch are scored against, with their sampling probabilities.

    Attributes:
        rows: [C] item rows, each once.
        log_multiplicity: [C] log of the number of draws of each item.
        log_q: [C] log probability of the item in one draw.
        positive_log_q: [P] the same of each positive.
        num_draws: draws with q in total; None: nothing is random, each item is present for certain.
        query_rows: [P, H] query negatives: item rows that only this positive is scored against, 0 = none.
        query_log_q: [P, H] their log q. Both None where no positive has any.
        embeddings: [E, D] of the last E rows, used as constants; the item tower encodes the other rows.
    """

    rows: Tensor
    log_multiplicity: Tensor
    log_q: Tensor
    positive_log_q: Tensor
    num_draws: int | None = None
    query_rows: Tensor | None = None
    query_log_q: Tensor | None = None
    embeddings: Tensor | None = None

    @property
    def num_encoded(self) -> int:
        """The number of rows, from the first, that the item tower encodes."""
        return len(self.rows) - (0 if self.embeddings is None else len(self.embeddings))


class NegativeSampler(Component, nn.Module, ABC):
    """Draws the negatives of a batch, and returns the probability q of one draw.

    The buffers are the state of a sampler in checkpoints; their sizes may change in training. Only
    `read_interactions`, `update_hard_negatives` and `remember` change the state, no draw does.

    Args:
        frequencies: [N + 1] probability that each item row is the positive of an example; 0 for row 0. Items
            that are never a positive are never drawn: as negatives only, they and all other new items, which
            share the unknown id, would get low scores.
    """

    class Config(Component.Config):
        @property
        def provides(self) -> frozenset[str]:
            """The needs of losses (`Loss.Config.needs`) that these negatives meet."""
            return frozenset({"log_q"})

        def num_draws(self, num_positives: int) -> int | None:
            """Return the number of draws that a batch of `num_positives` shares; None: all trained items."""
            return None

        def max_impressions(self) -> int:
            """Return H, the maximum number of impressions per positive; 0: impressions are not read."""
            return 0

        def refreshed_every(self) -> int:
            """Return the number of epochs between two calls of `update_hard_negatives`; 0: never."""
            return 0

        def num_ranked(self) -> int:
            """Return the number of first ranks per user that `update_hard_negatives` receives."""
            return 0

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            return ()

        def build(self, frequencies: Tensor) -> "NegativeSampler":
            """Build the sampler."""
            return self.make(NegativeSampler, frequencies)

    config: Config
    frequencies: Tensor
    trained_rows: Tensor

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.register_buffer("trained_rows", frequencies.nonzero().flatten(), persistent=False)
        self.register_load_state_dict_pre_hook(_resize_buffers)  # type: ignore[no-untyped-call]

    @property
    def num_items(self) -> int:
        """N, the number of items; rows are 1 to N."""
        return len(self.frequencies) - 1

    @abstractmethod
    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return distinct item rows [C], ascending, and the number of draws of each [C]."""

    @abstractmethod
    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log probability of each row [R] in one draw, in a batch of `num_positives`."""

    def read_interactions(self, interactions: Interactions) -> None:
        """Receive the training interactions, before training, if the loss uses query negatives."""

    def query_rows(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        """Return query negatives [P, H] of the positives' users [P], 0 = none; None, the default: none."""
        return None

    def update_hard_negatives(
        self, num_users: int, users: Tensor, ranked: Tensor, scores: Tensor, known_scores: Tensor
    ) -> None:
        """Receive the items that the towers rank first, every `Config.refreshed_every` epochs."""
        raise NotImplementedError

    def remember(self, rows: Tensor, embeddings: Tensor) -> None:
        """Receive the item rows [R] of a training batch and their embeddings [R, D], detached.

        Called after the item tower ran: a memory of embeddings returns them with later batches
        (`Negatives.embeddings`). Keep it in buffers, so that a resumed training has the same memory.
        """

    def forward(
        self, positives: Tensor, generator: torch.Generator, query_rows: Tensor | None = None
    ) -> Negatives:
        """Draw the negatives of a batch.

        Args:
            positives: [P] item rows.
            generator: on the CPU; its state decides the draw.
            query_rows: [P, H] query negatives, counted as one more draw each; 0 = none.
        """
        rows, multiplicity = self.draw(positives, generator)
        query_log_q = None
        if query_rows is not None:  # items that are never a positive get the q of the rarest positive
            rarest = self.log_q(self.trained_rows, len(query_rows)).min()
            query_log_q = self.log_q(query_rows.flatten(), len(query_rows)).clamp(min=rarest)
            query_log_q = query_log_q.view(query_rows.shape)
        return Negatives(
            rows,
            multiplicity.to(torch.float32).log(),
            self.log_q(rows, len(positives)),
            self.log_q(positives, len(positives)),
            self.config.num_draws(len(positives)),
            query_rows,
            query_log_q,
        )


def _resize_buffers(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give the buffers of a sampler the sizes that they have in a checkpoint, before it is loaded."""
    for name, buffer in module.named_buffers(recurse=False):
        saved = state.get(prefix + name)
        if saved is not None and saved.shape != buffer.shape:
            setattr(module, name, buffer.new_empty(saved.shape))


def distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows, ascending, and the number of occurrences of each."""
    values, counts = rows.unique(return_counts=True)
    return values, counts
