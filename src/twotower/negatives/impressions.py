"""Impressions without a click as negatives, alone or next to another sampler."""

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Le

from twotower.config.spec import PositiveInt
from twotower.data.sources.source import Source
from twotower.negatives.composite import CompositeSampler
from twotower.negatives.sampler import ImpressionsAs


class Impressions(CompositeSampler):
    """Impressions without a click, next to the negatives of an optional shared sampler.

    A loss of labels (`bce`) takes every impression as a labelled example. A softmax compares each positive
    with a few impressions of the same user. Without a shared sampler these need no log-q correction; with
    one, each counts as one more draw of it.

    Prefer it for click logs, where an impression without a click says more than a random item. Alone, it
    learns nothing about items without impressions; with `uniform` or `in_batch` it ranks the whole catalogue.
    """

    class Config(CompositeSampler.Config):
        """The number of impressions."""

        num_impressions: Annotated[PositiveInt, Le(1000)] = 4
        """Impressions without a click that a softmax compares each positive of the same user with, drawn if
        the user has more. A loss of labels uses each impression once an epoch, whatever this number."""

        def max_impressions(self) -> int:
            """Return `num_impressions`."""
            return self.num_impressions

        def problems(
            self,
            data: Source.Config | None = None,
            num_items: int | None = None,
            impressions_as: ImpressionsAs | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse data without impressions and a loss that does not use them."""
            if data is not None and data.gives_negatives() is False:
                yield (
                    "",
                    (
                        "the data has no impressions without a click; set labels or events of "
                        "the role negative (data.label_threshold, data.label_column, data.events) or "
                        "use negatives=uniform"
                    ),
                )
            if impressions_as == "nothing":
                yield (
                    "",
                    (
                        "the loss does not learn from impressions without a click; use loss=bce or "
                        "loss=in_batch_softmax, or other negatives"
                    ),
                )
            yield from super().problems(data, num_items, impressions_as)

    config: Config
