"""An index chosen by measurement."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pydantic import Field

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.spec import NonNegativeInt, PositiveFloat, PositiveInt
from twotower.index.candidates import kinds_to_try, measure_candidates
from twotower.index.choice import Budgets
from twotower.index.index import Chosen, Index, RecallTarget
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.label_lists import LabelLists


class Auto(Index):
    """Exact search for small catalogues, else the fastest of several indexes that reaches `target_recall`.

    Candidates are built from a sample of the items and searched by users; recall, latency, bytes and
    seconds to build are predicted for all items. The best one within the budgets is built and stored.
    """

    class Config(Index.Config):
        candidates: list[str] = Field(default=["flat_ip", "ivf_sq", "ivf_flat", "ivf_pq_fastscan", "ivf_pq"])
        """Kinds that are tried; `ivf_pq` only if `max_bytes_per_item` is set. The first IVF, and the best
        one, are tried with half, once and twice the usual number of clusters, fitted to users and plain."""
        max_latency_ms: PositiveFloat | None = None
        """Longest median time of one query on one thread; None = no limit."""
        max_bytes_per_item: PositiveFloat | None = None
        """Largest size of the file per item; None = no limit."""
        max_build_seconds: PositiveFloat | None = None
        """Longest time to build the index with the clusters of the sample; None = no limit."""
        max_label_loss: PositiveFloat | None = None
        """Largest share of the recall of validation targets that the index may lose; None = no limit."""
        exact_below: NonNegativeInt = 50_000
        """Number of items below which search is exact and nothing is measured, unless a limit is set."""
        num_sampled: PositiveInt = 1_000_000
        """Items that candidates are built from."""
        min_recall: RecallTarget = 0.8

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            yield from super().problems(context)
            known = kinds_to_try(1)
            unknown = [name for name in self.candidates if name not in known]
            if unknown or not self.candidates:
                found = unknown[0] if unknown else "none"
                yield "candidates", f"expected some of {', '.join(known)}; found {found}"

        @property
        def budgets(self) -> Budgets:
            """The limits that are set."""
            limits = {
                "latency_ms": self.max_latency_ms,
                "bytes_per_item": self.max_bytes_per_item,
                "build_seconds": self.max_build_seconds,
                "label_loss": self.max_label_loss,
            }
            return {name: limit for name, limit in limits.items() if limit is not None}

        def for_size(self, num_items: int) -> Index.Config:
            """See `Index.Config.for_size`; a likely choice, which the rehearsal builds."""
            kind: type[Index] = FlatIP if self._is_exact(num_items) else IVFSQ
            return kind.Config.model_validate(self._recalls).for_size(num_items)

        def choose_for(
            self, vectors: np.ndarray, queries: np.ndarray, labels: Callable[[], LabelLists] | None = None
        ) -> Chosen:
            if self.max_label_loss and labels is None:
                raise InputError(
                    "index.max_label_loss: there are no targets of users here; leave it out, or use twotower"
                    " train or reindex"
                )
            if self._is_exact(len(vectors)):
                return Chosen(self.for_size(len(vectors)))
            names = [name for name in self.candidates if name != "ivf_pq" or self.max_bytes_per_item]
            kinds = kinds_to_try(vectors.shape[1])
            settings = [
                kind.Config.model_validate({**self._recalls, **given})
                for name in names or self.candidates
                for kind, given in kinds[name]
            ]
            aims = self.num_sampled, self.target_recall, self.budgets
            return measure_candidates(settings, vectors, queries, *aims, labels and labels())

        @property
        def _recalls(self) -> dict[str, float]:
            return {"target_recall": self.target_recall, "min_recall": self.min_recall}

        def _is_exact(self, num_items: int) -> bool:
            return num_items < self.exact_below and not self.budgets

    kind = "auto"

    def create(self, dim: int, num_vectors: int) -> Any:
        """Raise TypeError: build the result of `Config.choose_for` instead."""
        raise TypeError("Auto cannot be built; build the result of its Config.choose_for")
