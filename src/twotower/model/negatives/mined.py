"""Hard negatives: items that the towers rank high for a user who has not interacted with them."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Le
from pydantic import Field
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import Fraction, PositiveInt
from twotower.model.negatives.composite import CompositeSampler
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.negatives.uniform import Uniform


class Mined(CompositeSampler):
    """Draws query negatives from ranks `first` to `last` of each positive's user, next to a shared sampler.

    Every `every_epochs` epochs an exact search ranks all trained items that the user has not interacted with;
    before the first search there are no query negatives. Items that score nearly as high as the user's own
    items do on average are left out, as likely unknown positives.

    Prefer it late in training, when sampled negatives have become easy. `negatives=catalogue` contains all
    hard negatives, where the catalogue is small enough for it.
    Reference: Xiong et al., ANCE, ICLR 2021, section 3 (refreshed search); Moreira et al., NV-Retriever,
    2024, section 3 (the margin below the positive's score, which is the mean of the user's here).
    """

    class Config(CompositeSampler.Config):
        shared: NegativeSampler.Config | None = Field(default_factory=Uniform.Config)
        """Another sampler; without one, all negatives are hard and most items are never a negative."""
        num_mined: Annotated[PositiveInt, Le(1000)] = 4
        """Draws for each positive from its user's window, with replacement."""
        first: PositiveInt = 10
        """The first rank of the window; those before it are positives too often."""
        last: Annotated[PositiveInt, Le(1000)] = 100
        """The last rank of the window."""
        margin: Fraction = 0.05
        """Leave out items that score above (1 - margin) times the mean score of the user's own items."""
        every_epochs: PositiveInt = 1
        """Epochs between two searches."""

        def refreshed_every(self) -> int:
            """Return `every_epochs`."""
            return self.every_epochs

        def num_ranked(self) -> int:
            """Return `last`."""
            return self.last

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse an empty window, and a loss without query negatives."""
            yield from super().problems(context)
            if self.last < self.first:
                yield "last", f"is {self.last}, before first = {self.first}; set it higher"
            loss = context.get("loss")
            if loss is not None and loss.impressions != "query_negatives":
                text = "the loss as set takes no query negatives; use loss=in_batch_softmax or "
                yield "", f"{text}loss=bpr, or other negatives"

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.windows = torch.zeros(0, 0, dtype=torch.int32)
        """[U + 1, W] item rows of each user row's window, 0 behind the last; empty before a search."""

    def get_extra_state(self) -> Tensor:
        """Return the windows, which a checkpoint contains."""
        return self.windows

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the windows of a checkpoint, of any size."""
        self.windows = state.cpu()

    def update_hard_negatives(
        self, num_users: int, users: Tensor, ranked: Tensor, scores: Tensor, known_scores: Tensor
    ) -> None:
        """Make the windows of users [B] from what the towers rank first.

        Args:
            num_users: of the vocabulary.
            users: [B] user rows.
            ranked: [B, last] item rows that the user does not have, best first, 0 where none is left.
            scores: [B, last] theirs.
            known_scores: [B] mean score of what the user has.
        """
        width = self.config.last - self.config.first + 1
        if self.windows.shape != (num_users + 1, width):
            self.windows = torch.zeros(num_users + 1, width, dtype=torch.int32)
        window = slice(self.config.first - 1, self.config.last)
        highest = known_scores - self.config.margin * known_scores.abs()
        keep = (scores[:, window] <= highest[:, None]) & (ranked[:, window] > 0)
        order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)
        rows = (ranked[:, window] * keep).gather(1, order)
        self.windows[users] = rows.to(self.windows.dtype).to(self.windows.device)

    def query_rows(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        """Draw item rows [P, H] from the windows of the users [P], 0 = none; None before any."""
        if not len(self.windows):
            return None
        windows = self.windows[users.to(self.windows.device)]
        points = torch.rand(len(users), self.config.num_mined, generator=generator)
        counts = (windows > 0).sum(1, keepdim=True)
        places = (points.to(windows.device) * counts).long().clamp_(max=windows.shape[1] - 1)
        return windows.gather(1, places).long().to(users.device)
