"""Impressions without a click as negatives, alone or next to another sampler."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from annotated_types import Le
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveInt
from twotower.data.interactions import Interactions, user_offsets
from twotower.data.sources.source import Source
from twotower.model.negatives.composite import CompositeSampler


class Impressions(CompositeSampler):
    """Impressions without a click, next to the negatives of an optional shared sampler.

    A loss of labels (`bce`) takes every impression as a labelled example. A softmax compares each positive
    with a few impressions of the same user. Without a shared sampler these need no log-q correction; with
    one, each counts as one more draw of it.

    Prefer it for click logs, where an impression without a click says more than a random item. Alone, it
    learns nothing about items without impressions; with `uniform` or `in_batch` it ranks the whole catalogue.
    """

    class Config(CompositeSampler.Config):
        num_impressions: Annotated[PositiveInt, Le(1000)] = 4
        """Impressions without a click that a softmax compares each positive of the same user with, drawn if
        the user has more. A loss of labels uses each impression once an epoch, whatever this number."""

        def max_impressions(self) -> int:
            """Return `num_impressions`."""
            return self.num_impressions

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse data without impressions and a loss that does not use them."""
            data: Source.Config | None = context.get("data")
            if data is not None and data.gives_negatives() is False:
                message = (
                    "the data has no impressions without a click; set labels or events of the role negative "
                    "(data.label_threshold, data.label_column, data.events) or use negatives=uniform"
                )
                yield "", message
            loss = context.get("loss")
            if loss is not None and loss.impressions == "nothing":
                message = (
                    "the loss does not learn from impressions without a click; use loss=bce or "
                    "loss=in_batch_softmax, or other negatives"
                )
                yield "", message
            yield from super().problems(context)

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.items: NDArray[np.int64] | None = None
        """Item rows of the impressions of each user that the user has not interacted with, by user."""
        self.offsets = np.zeros(0, dtype=np.int64)

    def read_interactions(self, interactions: Interactions) -> None:
        """Collect the distinct impressions of each user."""
        assert interactions.impressions is not None
        impressions, examples = interactions.impressions, interactions.examples
        width = 1 + max(int(part.items.max(initial=0)) for part in (impressions, examples))
        keys = impressions.user_rows().astype(np.int64) * width + impressions.items
        if impressions.weights is not None:
            keys = keys[np.asarray(impressions.weights) > 0]
        pairs = np.setdiff1d(keys, examples.user_rows().astype(np.int64) * width + examples.items)  # by user
        self.items = pairs % width
        self.offsets = user_offsets(pairs // width, interactions.num_users)

    def query_rows(self, users: Tensor, generator: torch.Generator) -> Tensor | None:
        """Draw impressions [P, H] of the users [P] without replacement, 0 = none.

        Reference: Bentley and Floyd, Programming pearls: a sample of brilliance, CACM 1987.
        """
        if self.items is None:
            return None
        size, rows = self.config.num_impressions, users.cpu().numpy()
        rng = np.random.default_rng([generator.initial_seed(), size])
        starts = self.offsets[rows]
        counts = self.offsets[rows + 1] - starts
        chosen = np.tile(np.arange(size), (len(rows), 1))
        many = np.flatnonzero(counts > size)
        for step in range(size):
            last = counts[many] - size + step
            drawn = rng.integers(0, last + 1)
            is_repeated = (chosen[many, :step] == drawn[:, None]).any(axis=1)
            chosen[many, step] = np.where(is_repeated, last, drawn)
        exists = chosen < counts[:, None]
        query_rows = np.zeros(chosen.shape, dtype=np.int64)
        query_rows[exists] = self.items[(starts[:, None] + chosen)[exists]]
        return torch.from_numpy(query_rows).to(users.device)
