"""Sparse gradients row by row: which rows a batch touched, and a step of these alone.

Shapes: N rows of a table, R rows that a gradient names, U distinct ones, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCK_ROWS = 512
"""Rows in hand at once on a CPU: three tables' worth of 64 numbers each stay in its second cache."""


def touched(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of a sparse gradient, ascending [U], and the gradient of each [U, ...].

    Rows that stand in order and once each, as a batch's distinct items do, are taken as they are. Else the
    places are sorted and summed as bags, each in the order in which they stood: the same bits every time.
    Measured against `coalesce` at D = 64: .3 ms for .8 of 4,096 rows, 9 ms for 40 of 82,000.
    """
    rows, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced() or bool((rows[1:] > rows[:-1]).all()):
        return rows, values
    ordered, places = rows.sort(stable=True)
    distinct, counts = torch.unique_consecutive(ordered, return_counts=True)
    sums = embedding_bag(places, values.reshape(len(values), -1), counts.cumsum(0) - counts, mode="sum")
    return distinct, sums.reshape(len(distinct), *values.shape[1:])


def step_rows(
    tables: list[Tensor], rows: Tensor, values: Tensor, update: Callable[[list[Tensor], Tensor], None]
) -> None:
    """Update some rows of tables of one shape, a block at a time; the others are neither read nor written.

    In blocks, whose memory is used again and again, since that of all rows at once is asked of the system
    anew at each step: 11 ms for 23 of 4,096 rows of 2 million, 88 for 171 of 60,000.

    Args:
        tables: each [N, ...]: a parameter and what an optimizer remembers of it.
        rows: [U] distinct.
        values: [U, ...] their gradients.
        update: changes rows of the tables [b, ...] in place, by gradients [b, ...].
    """
    size = BLOCK_ROWS if rows.device.type == "cpu" else len(rows)
    memory = [table.new_empty((min(size, len(rows)), *table.shape[1:])) for table in tables]
    for some, gradients in zip(rows.split(size), values.split(size), strict=True):
        held = [block[: len(some)] for block in memory]
        for table, block in zip(tables, held, strict=True):
            torch.index_select(table, 0, some, out=block)
        update(held, gradients)
        for table, block in zip(tables, held, strict=True):
            table.index_copy_(0, some, block)
