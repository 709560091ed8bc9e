"""Negatives of somebody else's: a queue of the item embeddings of past batches, next to the batch's own."""

from dataclasses import replace

import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.model.negatives.in_batch import InBatch
from twotower.model.negatives.sampler import Negatives


class CrossBatchMemory(InBatch):
    """The batch's positives, encoded, and the latest embedding of each item in a queue of past batches.

    Reference: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020, section 3.2.
    """

    class Config(InBatch.Config):
        memory_size: PositiveInt = 4096
        """Embeddings that are kept."""

    config: Config
    memory_rows: Tensor
    memory: Tensor

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        # Buffers are part of a checkpoint: distinct item rows, the latest first, and their embeddings.
        self.register_buffer("memory_rows", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("memory", torch.zeros(0))

    def remember(self, rows: Tensor, embeddings: Tensor) -> None:
        old, size = ~torch.isin(self.memory_rows, rows), self.config.memory_size
        self.memory_rows = torch.cat([rows, self.memory_rows[old]])[:size]
        self.memory = torch.cat([embeddings.float(), self.memory[old]])[:size]

    def forward(
        self, positives: Tensor, generator: torch.Generator, query_rows: Tensor | None = None
    ) -> Negatives:
        batch = super().forward(positives, generator, query_rows)
        new = ~torch.isin(self.memory_rows, batch.rows)
        rows = self.memory_rows[new]
        if not len(rows):
            return batch
        return replace(
            batch,
            rows=torch.cat([batch.rows, rows]),
            log_multiplicity=torch.cat([batch.log_multiplicity, torch.zeros(len(rows), device=rows.device)]),
            log_q=torch.cat([batch.log_q, self.log_q(rows, len(positives))]),
            num_draws=len(positives) + len(rows),
            embeddings=self.memory[new],
        )
