"""Large embedding tables, for which sparse gradients save time."""

import logging
from collections.abc import Iterator

from torch import Tensor, nn

from twotower.features.encoders import LookupEncoder
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
LARGE = 300_000
"""Number of rows above which a warning is logged. With batches of 4,096 and a width of 64, a dense step takes
10 times as long as a sparse one."""


def dense_tables(model: TwoTower) -> Iterator[tuple[str, int]]:
    """Yield the setting that makes a table sparse, and its number of rows, for each dense table."""
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
    """Log the settings with which a step updates only the rows in the batch, if tables are large.

    They are not the default: sparse steps omit momentum and weight decay of rows that are not in the batch.
    """
    if large := [(key, rows) for key, rows in dense_tables(model) if rows >= LARGE]:
        keys = " ".join(f"{key}=true" for key, _ in large)
        LOG.warning(
            "each step updates all rows of a table of %s rows; %s updates only the rows in the batch",
            f"{max(rows for _, rows in large):,}",
            keys,
        )
