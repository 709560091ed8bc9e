"""What users were shown and did not take, alone or beside any other source."""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Le
from torch import Tensor

from twotower.config.facts import Facts
from twotower.config.spec import PositiveInt
from twotower.negatives.negatives import Negatives


class Shown(Negatives):
    """Shown negatives, and the candidates of another source beside them.

    A loss of labels (`bce`) takes every shown negative as an example of its own; a softmax ranks each
    positive against a few of the same user's. Of the latter no draw has to be corrected where they are alone;
    beside another source they count as one draw of it more, with its q.

    When to prefer: for click logs, where what was passed over says more than what was never seen. Alone it
    learns nothing of items that nobody is shown; beside `uniform` or `in_batch` it ranks the whole catalogue.
    """

    class Config(Negatives.Config):
        """How many, and what is beside them."""

        num_shown: Annotated[PositiveInt, Le(1000)] = 4
        """Shown negatives that a positive of the same user is ranked against by a softmax; where there are
        more they are drawn. A loss of labels sees each once an epoch, whatever this says."""
        beside: Negatives.Config | None = None
        """Another source, as in `{_target_: twotower.negatives.uniform.Uniform}`; null for none."""

        @property
        def provides(self) -> frozenset[str]:
            """What the source beside it provides; alone `log_q`, since nothing is left to chance."""
            return super().provides if self.beside is None else self.beside.provides

        def num_draws(self, num_positives: int) -> int | None:
            """Return those of the source beside."""
            return None if self.beside is None else self.beside.num_draws(num_positives)

        def most_shown(self) -> int:
            """Return `num_shown`."""
            return self.num_shown

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse data without shown negatives and a loss that has no use for them."""
            if facts.gives_negatives is False:
                yield (
                    "",
                    (
                        "the data has no shown negatives: no labels, and no event of the role negative; name "
                        "them (data.label_threshold, data.label_column, data.events) or use negatives=uniform"
                    ),
                )
            if facts.shown_as == "":
                yield (
                    "",
                    (
                        "the loss as set learns nothing from shown negatives; use loss=bce or "
                        "loss=in_batch_softmax, or other negatives"
                    ),
                )
            if self.beside is not None and self.beside.most_shown():
                yield "beside", "already gives shown negatives; name another source, or null"

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.beside = None if config.beside is None else config.beside.build(frequencies)

    def observe(self, positives: Tensor) -> None:
        """Show the positives to the source beside."""
        if self.beside is not None:
            self.beside.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the source beside draws; alone nothing: shown negatives come with the batch."""
        if self.beside is None:
            return positives[:0], positives[:0]
        return self.beside.draw(positives, generator)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return log q of the source beside; alone zeros: what was shown is certain to be there."""
        if self.beside is None:
            return torch.zeros(len(rows), device=rows.device)
        return self.beside.log_q(rows, num_positives)
