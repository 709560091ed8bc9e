"""The positives of the batch are each other's negatives."""

import torch
from torch import Tensor

from twotower.negatives.frequency import FrequencyName, frequency_of
from twotower.negatives.negatives import Negatives, distinct

RAREST = 1e-12


class InBatch(Negatives):
    """The batch's own positives; q = how often an item is a positive.

    Args:
        frequencies: see `Negatives`.
        frequency: `empirical` (counted in the train log), `streaming` (estimated while training, for logs
            that drift or cannot be counted) or `none` (no q is stated; a loss that corrects is refused).
    """

    def __init__(self, frequencies: Tensor, *, frequency: FrequencyName = "empirical") -> None:
        super().__init__(frequencies)
        self.frequency_name = frequency
        self.frequency = frequency_of(frequency, frequencies)

    @property
    def provides(self) -> frozenset[str]:
        """`log_q`, unless the frequency is `none`."""
        return frozenset() if self.frequency_name == "none" else frozenset({"log_q"})

    def observe(self, positives: Tensor) -> None:
        """Feed the streaming estimate."""
        self.frequency.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct positives and how often each occurs."""
        return distinct(positives)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of each item's frequency."""
        return self.frequency.probability(rows).clamp(min=RAREST).log()
