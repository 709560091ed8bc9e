"""Ids: one embedding for each user or item of the training data."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import DropoutRate, PositiveFloat, PositiveInt, WidthOrZero
from twotower.data.sources.source import needs_times
from twotower.model.features.categorical import Categorical
from twotower.model.features.encoders import LookupEncoder, NewTable
from twotower.model.features.feature import Activity, Feature, FeaturePlace


class Id(Categorical):
    """The entity's own key as a feature.

    Entities without training interactions have the unknown row, which is trained by `dropout` only: with 0,
    their embedding is zeros. Ids that `min_count` or `max_age_days` excludes have it, too, and their
    interactions train it.

    Attributes:
        removed: number of ids that each rule excluded, and of rows of an earlier training given back.
    """

    class Config(Categorical.Config):
        """Settings of a key; `column` is `user_id` or `item_id`."""

        dim: WidthOrZero = 0
        """Width of the embedding; 0 for the width of the tower's output, so that it can be its residual."""
        min_count: PositiveInt = 1
        """Minimum number of training interactions of an id; rarer ids are unknown. In a warm start, ids keep
        the rows that they have."""
        max_age_days: PositiveFloat | None = None
        """Maximum number of days from the last training interaction of an id to the last one of all; older
        ids are unknown, and a warm start gives their rows back. null: no limit."""
        dropout: DropoutRate = 0.1
        """Probability of replacing an id by the unknown id in training."""
        row_wise: bool = False
        """Whether each of several processes holds a share of the rows and of their optimizer state, with
        TorchRec; needs `sparse` and `optimizer=rowwise_adagrad`."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse contexts, which have no id."""
            place = FeaturePlace.of(context)
            if place is not None and place.side == "context":
                yield "", "a context has no id; choose a Categorical for a column of the interactions"
            else:
                yield from super().problems(context)
            if self.max_age_days is not None and place is not None:
                yield from needs_times(place.data, "set it to null", "max_age_days")
            if self.row_wise and not self.sparse:
                yield "sparse", "row_wise=true gives sparse gradients; set it to true"

        def build(self, width: int) -> "Id":
            """Build the feature; `dim` 0 becomes the width of the tower's output."""
            return self.model_copy(update={"dim": self.dim or width}).make(Id)

        @property
        def has_rules(self) -> bool:
            """Whether some training ids may have no row."""
            return self.min_count > 1 or self.max_age_days is not None

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.removed: dict[str, int] = {}
        self.new_table: NewTable | None = None
        """Builds the table of `row_wise`, if several processes train."""

    def admit(self, values: pd.Series, activity: Activity) -> pd.Series:
        """Return the training ids that have a row, or keep it; ids that are too old lose theirs."""
        if not self.config.has_rules:
            return values
        limit, earlier = self.config.max_age_days, self.state.values
        is_old = activity.ages > (np.inf if limit is None else limit)
        if limit is not None:
            recent = set(values[~is_old])
            self.state = self.State(values=[value for value in earlier if value in recent])
        is_known = np.fromiter((self.state.row(value) > 0 for value in values), np.bool_, len(values))
        is_rare = ~is_old & ~is_known & (activity.counts < self.config.min_count)
        given_back = len(earlier) - len(self.state.values)
        self.removed = {"rare": int(is_rare.sum()), "old": int(is_old.sum()), "rows_given_back": given_back}
        return values[~(is_old | is_rare)]

    def encoder(self) -> LookupEncoder:
        """Return a new embedding table; row 0 is unknown."""
        config, num_rows = self.config, len(self.state.values) + 1
        new_table = self.new_table if config.row_wise else None
        return LookupEncoder(num_rows, config.dim, config.dropout, config.sparse, new_table)

    def rows_in(self, earlier: Feature) -> Tensor:
        """Return the row of the table of earlier towers for each row of this one; 0 for a new id."""
        assert isinstance(earlier, Id)
        return torch.tensor([0, *map(earlier.state.row, self.state.values)])

    def to_json(self) -> dict[str, Any]:
        """Return the spec and the state; a bundle holds whole tables."""
        return super().to_json() | {"row_wise": False}

    def _learn(self, values: pd.Series) -> Categorical.State:
        return self.State.fit(values.dropna())  # `admit` has counted
