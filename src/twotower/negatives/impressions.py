"""What users were shown and did not take, alone or beside any other source."""

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Le

from twotower.config.spec import PositiveInt
from twotower.data.sources.source import Source
from twotower.negatives.composite import CompositeSampler
from twotower.negatives.sampler import ImpressionsAs


class Impressions(CompositeSampler):
    """Shown negatives, and the candidates of another source beside them.

    A loss of labels (`bce`) takes every shown negative as an example of its own; a softmax ranks each
    positive against a few of the same user's. Of the latter no draw has to be corrected where they are alone;
    beside another source they count as one draw of it more, with its q.

    When to prefer: for click logs, where what was passed over says more than what was never seen. Alone it
    learns nothing of items that nobody is shown; beside `uniform` or `in_batch` it ranks the whole catalogue.
    """

    class Config(CompositeSampler.Config):
        """How many."""

        num_impressions: Annotated[PositiveInt, Le(1000)] = 4
        """Shown negatives that a positive of the same user is ranked against by a softmax; where there are
        more they are drawn. A loss of labels sees each once an epoch, whatever this says."""

        def max_impressions(self) -> int:
            """Return `num_impressions`."""
            return self.num_impressions

        def problems(
            self,
            data: Source.Config | None = None,
            num_items: int | None = None,
            impressions_as: ImpressionsAs | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse data without shown negatives and a loss that has no use for them."""
            if data is not None and data.gives_negatives() is False:
                yield (
                    "",
                    (
                        "the data has no shown negatives: no labels, and no event of the role negative; name "
                        "them (data.label_threshold, data.label_column, data.events) or use negatives=uniform"
                    ),
                )
            if impressions_as == "nothing":
                yield (
                    "",
                    (
                        "the loss as set learns nothing from shown negatives; use loss=bce or "
                        "loss=in_batch_softmax, or other negatives"
                    ),
                )
            yield from super().problems(data, num_items, impressions_as)

    config: Config
