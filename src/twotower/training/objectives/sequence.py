"""Every interaction is an example, and those of one user are learned from in one pass over the sequence."""

from typing import Any, Literal

from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.objectives.next_item import NextItem
from twotower.training.sequence_batches import SequenceBatches


class Sequence(NextItem):
    """The examples of `NextItem`, with one history for up to L of them: each looks at its own position.

    An encoder runs once over L items where it would run L times over up to L. A user with more than L items
    is cut into stretches, and the first example of one sees nothing of the stretch before.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III.E.
    """

    class Config(NextItem.Config):
        """As of `NextItem`, but an epoch has every example once."""

        recency: Literal["loss"] = "loss"
        """A weight acts on the loss."""
        epoch_examples: None = None
        """None are drawn."""
        mask_known: bool = True
        """No item that the user has, earlier or later, is a negative; false: all but the target are."""

        def problems(
            self,
            data: Source.Config | None = None,
            history: HistoryEncoder.Config | None = None,
            negatives: NegativeSampler.Config | None = None,
        ) -> list[tuple[str, str]]:
            """Refuse a history that is only summarized at its end."""
            found = super().problems(data, history, negatives)
            if history is not None and not history.gives_every_position:
                text = "learns from every position of a history, of which the one as set summarizes the last"
                found.append(("", f"{text} alone; use history=sasrec, or objective=next_item"))
            return found

    config: Config

    def batches(self, interactions: Interactions, **how: Any) -> SequenceBatches:
        """Return batches of whole sequences."""
        return SequenceBatches(interactions, self, masks_known=self.config.mask_known, **how)
