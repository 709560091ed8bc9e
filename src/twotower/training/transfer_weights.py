"""Transfer the weights and the optimizer state of earlier towers to towers of larger data, matched by id.

Shapes: n entries in the first dimension of a tensor, N items, E event types.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
EarlierRows = dict[str, Tensor]
"""Name of a tensor that may have grown -> earlier position of each entry [n], -1 for a new one."""
BY_ITEM = ("trained_items", "history_table.weight")
BY_EVENT = ("event_table.weight",)
ITEM_BIAS, ENCODERS, NEW_ITEMS = "item_bias.", "_encoders.", "new_items."


def transfer_towers(
    model: TwoTower,
    earlier: TwoTower,
    item_rows: Tensor,
    event_rows: Tensor,
    interactions: Interactions | None,
) -> EarlierRows:
    """Copy all weights of earlier towers into towers of larger data.

    Known items and known feature values keep their embeddings; a new feature value starts with the embedding
    of the unknown value. So embeddings do not change, and those of new items are what the earlier towers
    compute from their features.

    Args:
        model: the new towers, with the same settings; their features extend the earlier ones.
        earlier: the earlier towers.
        item_rows: [N] earlier row of each item, 0 for a new one.
        event_rows: [E] earlier row of each event type, 0 for a new one, whose embedding starts at zero.
        interactions: the new training interactions; None without training.

    Returns:
        Earlier positions of the entries of tensors that grew.

    Raises:
        InputError: shapes differ in a dimension that cannot grow.
    """
    learned, weights = earlier.state_dict(), model.state_dict()
    rows_by_name = {
        name: torch.cat([rows.new_zeros(1), torch.where(rows > 0, rows, -1)])
        for names, rows in ((BY_ITEM, item_rows), (BY_EVENT, event_rows))
        for name in names
        if name in weights
    }
    bias_rows = model.item_bias.earlier_positions(earlier.item_bias, item_rows)
    for name, values in weights.items():
        if name.startswith(ITEM_BIAS) or (name.startswith(NEW_ITEMS) and name not in learned):
            continue
        if name not in learned or learned[name].shape[1:] != values.shape[1:]:
            raise InputError(f"{name}: the towers of the parent run have no such weights")
        if name in rows_by_name:
            weights[name] = _rearrange(learned[name], rows_by_name[name], torch.zeros_like(learned[name][0]))
        elif learned[name].shape != values.shape:
            number, total = len(learned[name]), len(values)
            if ENCODERS not in name or total < number:
                raise InputError(
                    f"{name}: shape {tuple(learned[name].shape)} in the parent run, {tuple(values.shape)} now"
                )
            positions = torch.arange(total)
            rows_by_name[name] = torch.where(positions < number, positions, -1)
            weights[name] = _rearrange(learned[name], rows_by_name[name], learned[name][0])
        else:
            weights[name] = learned[name]
    if interactions is not None:
        weights["trained_items"][torch.from_numpy(np.unique(interactions.items).astype(np.int64))] = True
    model.load_state_dict(weights)
    model.item_bias.warm_start(earlier.item_bias, item_rows, interactions)
    return rows_by_name | {f"{ITEM_BIAS}{name}": rows for name, rows in bias_rows.items()}


def _rearrange(values: Tensor, earlier_rows: Tensor, new: Tensor) -> Tensor:
    """Return values [n] by earlier row; entries without one (-1) are `new`."""
    rearranged = new.expand(len(earlier_rows), *new.shape).clone()
    rearranged[earlier_rows >= 0] = values[earlier_rows[earlier_rows >= 0]]
    return rearranged


def optimizer_state_loader(
    module: nn.Module, rows_by_name: EarlierRows, state: Mapping[str, Any]
) -> Callable[[Optimizer], None]:
    """Return a function that loads the state of an earlier optimizer into a new optimizer of `module`.

    Known entries of a grown parameter keep their moments; new ones start without. A parameter whose shape
    changed otherwise, as after a change of the loss, starts with a new state.

    Args:
        module: has the parameters of the optimizer.
        rows_by_name: earlier positions by name of the parameter.
        state: the `state_dict` of the earlier optimizer.
    """
    names = {id(values): name for name, values in module.named_parameters()}

    def load(optimizer: Optimizer) -> None:
        new = optimizer.state_dict()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        earlier = [number for group in state["param_groups"] for number in group["params"]]
        if len(earlier) != len(parameters):
            LOG.info("the optimizer starts with a new state: the number of its parameters has changed")
            return
        loaded = {}
        for number, (earlier_number, parameter) in enumerate(zip(earlier, parameters, strict=True)):
            rows = rows_by_name.get(names[id(parameter)])
            if values := _parameter_state(state["state"].get(earlier_number), parameter, rows):
                loaded[number] = values
        optimizer.load_state_dict(new | {"state": new["state"] | loaded})

    return load


def _parameter_state(
    values: Mapping[str, Any] | None, parameter: nn.Parameter, earlier_rows: Tensor | None
) -> dict[str, Any] | None:
    rearranged = {}
    for name, value in (values or {}).items():
        if isinstance(value, Tensor) and value.ndim:
            if earlier_rows is not None:
                value = _rearrange(value, earlier_rows, torch.zeros_like(value[0]))
            # A row-wise optimizer has one number per row.
            if value.shape not in (parameter.shape, parameter.shape[:1]):
                return None
        rearranged[name] = value
    return rearranged
