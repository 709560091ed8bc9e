"""What towers and optimizer have learned, put into those of grown data: by id, and nothing jumps.

Shapes: n entries of a tensor's first dimension, N items.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.towers.two_tower import TwoTower

LOG = logging.getLogger("twotower")
Origins = dict[str, Tensor]
"""Tensor that may have grown -> where each entry [n] of its first dimension was, -1 for a new one."""
BY_ITEM = ("trained_items", "history_table.weight")
BY_EVENT = ("event_table.weight",)
ITEM_BIAS, ENCODERS, NEW_ITEMS = "item_bias.", "_encoders.", "new_items."


def carry_towers(
    model: TwoTower,
    before: TwoTower,
    item_rows: Tensor,
    event_rows: Tensor,
    interactions: Interactions | None,
) -> Origins:
    """Give towers of grown data all that earlier ones have learned.

    A known item, and a known value of a feature, keeps what it has; a new value starts as the unknown one, so
    that embeddings are what they were, and those of new items what the earlier towers make of their features.

    Args:
        model: of the same settings; its features are the earlier ones, grown or not.
        before: the earlier towers.
        item_rows: [N] the earlier row of each item, 0 for a new one.
        event_rows: [E] the earlier row of each kind of event, 0 for a new one, which starts as none at all.
        interactions: what is trained on from here; None if nothing is.

    Raises:
        InputError: a tensor has another shape than a growing one may have.
    """
    learned, own = before.state_dict(), model.state_dict()
    origins = {
        name: torch.cat([rows.new_zeros(1), torch.where(rows > 0, rows, -1)])
        for names, rows in ((BY_ITEM, item_rows), (BY_EVENT, event_rows))
        for name in names
        if name in own
    }
    of_bias = model.item_bias.origins(before.item_bias, item_rows)
    for name, values in own.items():
        if name.startswith(ITEM_BIAS) or (name.startswith(NEW_ITEMS) and name not in learned):
            continue
        if name not in learned or learned[name].shape[1:] != values.shape[1:]:
            raise InputError(f"{name}: the towers gone on from have no such weights")
        if name in origins:
            own[name] = _moved(learned[name], origins[name], torch.zeros_like(learned[name][0]))
        elif learned[name].shape != values.shape:
            if ENCODERS not in name or len(values) < len(learned[name]):
                raise InputError(f"{name}: {tuple(learned[name].shape)} then, {tuple(values.shape)} now")
            origins[name] = _appended(len(learned[name]), len(values))
            own[name] = _moved(learned[name], origins[name], learned[name][0])
        else:
            own[name] = learned[name]
    if interactions is not None:
        own["trained_items"][torch.from_numpy(np.unique(interactions.items).astype(np.int64))] = True
    model.load_state_dict(own)
    model.item_bias.warm_start(before.item_bias, item_rows, interactions)
    return origins | {f"{ITEM_BIAS}{name}": places for name, places in of_bias.items()}


def _appended(number: int, total: int) -> Tensor:
    places = torch.arange(total)
    return torch.where(places < number, places, -1)


def _moved(values: Tensor, origins: Tensor, new: Tensor) -> Tensor:
    found = new.expand(len(origins), *new.shape).clone()
    found[origins >= 0] = values[origins[origins >= 0]]
    return found


def optimizer_start(
    module: nn.Module, origins: Origins, state: Mapping[str, Any]
) -> Callable[[Optimizer], None]:
    """Return what gives a new optimizer of `module` the state of an earlier one.

    Of a grown parameter each known entry keeps its moments, and new ones begin with none; where the shapes
    are others, as after a change of the loss, the parameter begins anew.

    Args:
        module: with the parameters that are stepped.
        origins: of its parameters by name.
        state: as `Optimizer.state_dict` returned it.
    """
    return partial(_start, {id(values): name for name, values in module.named_parameters()}, origins, state)


def _start(
    names: Mapping[int, str], origins: Origins, state: Mapping[str, Any], optimizer: Optimizer
) -> None:
    new = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [place for group in state["param_groups"] for place in group["params"]]
    if len(before) != len(parameters):
        LOG.info("the optimizer starts with a new state: what it steps is not what it was")
        return
    carried = {
        number: found
        for number, (place, parameter) in enumerate(zip(before, parameters, strict=True))
        if (found := _carried(state["state"].get(place), parameter, origins.get(names[id(parameter)])))
    }
    optimizer.load_state_dict(new | {"state": new["state"] | carried})


def _carried(
    values: Mapping[str, Any] | None, parameter: nn.Parameter, origins: Tensor | None
) -> dict[str, Any] | None:
    found = {}
    for name, value in (values or {}).items():
        if isinstance(value, Tensor) and value.ndim:
            if origins is not None:
                value = _moved(value, origins, torch.zeros_like(value[0]))
            if value.shape not in (parameter.shape, parameter.shape[:1]):  # the other is one number a row
                return None
        found[name] = value
    return found
