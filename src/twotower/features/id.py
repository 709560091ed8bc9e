"""Who it is: one embedding for each user or item seen in training."""

from collections.abc import Iterator

from twotower.config.facts import Facts
from twotower.config.spec import DropoutRate, WidthOrNone
from twotower.features.categorical import Categorical


class Id(Categorical):
    """The entity's own key as a feature.

    An entity without train interactions has the unknown row, which training reaches by `dropout` only: with
    0, new entities get an embedding that never learned (zeros).
    """

    class Config(Categorical.Config):
        """Settings of a key; `column` is `user_id` or `item_id`."""

        dim: WidthOrNone = 0
        """Width of the embedding; 0 for the width of the tower's output, so that it can be its residual."""
        dropout: DropoutRate = 0.1
        """Share of ids replaced by the unknown one while training."""

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse the key of a context, which has none."""
            if facts.key.startswith("features.context."):
                yield "", "a context has no id; choose a Categorical for a column of the interactions"
            else:
                yield from super().problems(facts)

        def build(self, width: int) -> "Id":
            """Build the feature, as wide as the tower's output where the configuration leaves it open."""
            return self.model_copy(update={"dim": self.dim or width}).make(Id)
