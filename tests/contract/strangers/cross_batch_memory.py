"""Negatives of somebody else's: a queue of the item embeddings of past batches, next to the batch's own."""

from dataclasses import replace

import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.negatives.in_batch import InBatch
from twotower.negatives.negatives import Negatives


class CrossBatchMemory(InBatch):
    """The batch's positives, encoded, and the latest embedding of each item in a queue of past batches.

    Reference: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020, section 3.2.
    """

    class Config(InBatch.Config):
        memory_size: PositiveInt = 4096
        """Embeddings that are kept."""

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.memory: tuple[Tensor, Tensor] | None = None
        """Item rows and embeddings, each item once, the latest first."""

    def remember(self, rows: Tensor, embeddings: Tensor) -> None:
        if self.memory is not None:
            old = ~torch.isin(self.memory[0], rows)
            rows = torch.cat([rows, self.memory[0][old]])
            embeddings = torch.cat([embeddings.float(), self.memory[1][old]])
        self.memory = rows[: self.config.memory_size], embeddings[: self.config.memory_size].float()

    def forward(
        self, positives: Tensor, generator: torch.Generator, query_rows: Tensor | None = None
    ) -> Negatives:
        batch = super().forward(positives, generator, query_rows)
        if self.memory is None:
            return batch
        new = ~torch.isin(self.memory[0], batch.rows)
        rows, embeddings = (each[new] for each in self.memory)
        if not len(rows):
            return batch
        return replace(
            batch,
            rows=torch.cat([batch.rows, rows]),
            log_multiplicity=torch.cat([batch.log_multiplicity, torch.zeros(len(rows), device=rows.device)]),
            log_q=torch.cat([batch.log_q, self.log_q(rows, len(positives))]),
            embeddings=embeddings,
        )
