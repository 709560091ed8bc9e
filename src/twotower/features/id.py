"""Ids: one embedding for each user or item of the training data."""

from collections.abc import Iterator
from typing import Any

from twotower.config.spec import DropoutRate, WidthOrZero
from twotower.features.categorical import Categorical
from twotower.features.encoders import LookupEncoder
from twotower.features.feature import FeaturePlace
from twotower.parallel.ranks import world_size


class Id(Categorical):
    """The entity's own key as a feature.

    Entities without training interactions have the unknown row, which is trained by `dropout` only: with 0,
    their embedding is zeros.
    """

    class Config(Categorical.Config):
        """Settings of a key; `column` is `user_id` or `item_id`."""

        dim: WidthOrZero = 0
        """Width of the embedding; 0 for the width of the tower's output, so that it can be its residual."""
        dropout: DropoutRate = 0.1
        """Probability of replacing an id by the unknown id in training."""
        row_wise: bool = False
        """Whether each of several processes holds a share of the rows and of their optimizer state, with
        TorchRec; needs `sparse` and `optimizer=rowwise_adagrad`."""

        def problems(self, place: FeaturePlace | None = None) -> Iterator[tuple[str, str]]:
            """Refuse contexts, which have no id."""
            if place is not None and place.side == "context":
                yield "", "a context has no id; choose a Categorical for a column of the interactions"
            else:
                yield from super().problems(place)
            if self.row_wise and not self.sparse:
                yield "sparse", "row_wise=true gives sparse gradients; set it to true"

        def build(self, width: int) -> "Id":
            """Build the feature; `dim` 0 becomes the width of the tower's output."""
            return self.model_copy(update={"dim": self.dim or width}).make(Id)

    config: Config

    def encoder(self) -> LookupEncoder:
        """Return a new embedding table; row 0 is unknown."""
        config, num_rows = self.config, len(self.state.values) + 1
        row_wise = config.row_wise and world_size() > 1
        return LookupEncoder(num_rows, config.dim, config.dropout, config.sparse, row_wise)

    def to_json(self) -> dict[str, Any]:
        """Return the spec and the state; a bundle holds whole tables."""
        return super().to_json() | {"row_wise": False}
