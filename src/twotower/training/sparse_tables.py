"""Tables so large that most of a step would go into rows that no batch has touched."""

import logging
from collections.abc import Iterator

from torch import Tensor, nn

from twotower.features.encoders import LookupEncoder
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
LARGE = 300_000
"""Rows from which a sparse step is worth a word. With batches of 4,096 and 64 numbers a row a dense table
takes as long at 30,000 rows, twice as long at 100,000, 10 times at 300,000 and 35 times at a million."""


def dense_tables(model: TwoTower) -> Iterator[tuple[str, int]]:
    """Yield the setting that would make a table sparse, and its rows, for each that could be and is not."""
    sides = {"user": model.user_encoders, "item": model.item_encoders, "context": model.context_encoders}
    for side, encoders in sides.items():
        for name, encoder in encoders.items():
            if isinstance(encoder, LookupEncoder) and not encoder.table.sparse:
                yield f"features.{side}.{name}.sparse", encoder.table.num_embeddings
    if model.history.config.reads_table and not model.history.config.sparse:
        yield "history.sparse", model.history_table.num_embeddings
    biases = getattr(model.item_bias, "biases", None)
    if isinstance(biases, nn.Parameter) and not model.item_bias.config.gives_sparse_gradients:
        yield "item_bias.sparse", len(biases)


def sparse_parameters(model: TwoTower) -> list[Tensor]:
    """Return the parameters whose gradients are sparse."""
    tables = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse
    ]
    if model.history.config.gives_sparse_gradients:
        tables.append(model.history_table.weight)
    if model.item_bias.config.gives_sparse_gradients:
        tables.append(model.item_bias.get_parameter("biases"))
    return tables


def warn_of_large_tables(model: TwoTower) -> None:
    """Say which settings would have each step touch a batch's rows alone, where tables are large.

    They are no default: what a sparse step leaves alone, momentum and decay of rows out of the batch, is part
    of what the optimizer is by name.
    """
    if found := [(key, rows) for key, rows in dense_tables(model) if rows >= LARGE]:
        keys = " ".join(f"{key}=true" for key, _ in found)
        LOG.warning(
            "each step updates all rows of a table of %s rows; %s updates only the rows in the batch",
            f"{max(rows for _, rows in found):,}",
            keys,
        )
