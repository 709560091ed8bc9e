"""The objective of sequences: next-item prediction at every position in one pass over a history."""

from typing import Any, Literal

from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.objectives.next_item import NextItem
from twotower.training.sequence_batches import SequenceBatches


class Sequence(NextItem):
    """The examples of `NextItem`, up to L of which share one history and query it at their positions.

    The encoder runs once over L items instead of L times. A user with more than L items is cut into segments;
    the first example of a segment has an empty history.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III.E.
    """

    class Config(NextItem.Config):
        """Settings of `NextItem`; each example occurs once per epoch."""

        recency: Literal["loss"] = "loss"
        """Weights multiply the loss."""
        epoch_examples: None = None
        """Nothing is drawn."""
        mask_known: bool = True
        """Mask all items of the user, earlier and later, as negatives; false: only the positive is masked."""

        def problems(
            self,
            data: Source.Config | None = None,
            history: HistoryEncoder.Config | None = None,
            negatives: NegativeSampler.Config | None = None,
        ) -> list[tuple[str, str]]:
            """Refuse an encoder that summarizes histories at the end only."""
            problems = super().problems(data, history, negatives)
            if history is not None and not history.gives_every_position:
                text = (
                    "needs a summary at every position of a history, and this encoder has one at the end only"
                )
                problems.append(("", f"{text}; use history=sasrec, or objective=next_item"))
            return problems

    config: Config

    def batches(self, interactions: Interactions, **settings: Any) -> SequenceBatches:
        """Build batches of sequences; for `settings` see `TrainBatches`."""
        return SequenceBatches(interactions, self, mask_known=self.config.mask_known, **settings)
