"""A bundle that can be read must also be of use: what a first request would find is found when it is opened.

Shapes: N users or items, W width of a feature, D embedding.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twotower.bundle.bundle import Bundle
from twotower.config.errors import InputError
from twotower.features.feature_table import FeatureTable


def check_use(bundle: Bundle) -> None:
    """Encode, embed and search a little of everything.

    Raises:
        InputError: what comes out is not what must. Of a wrong file a library may also raise its own error.
    """
    model, dim = bundle.model, bundle.manifest["embedding_dim"]
    records: list[Any] = [{}, *bundle.item_table.head(1).to_dict("records")]
    persons: list[Any] = [{}, *bundle.user_table.head(1).to_dict("records")]
    with torch.inference_mode():
        _check_encoded("user", model.users, model.user_encoders)
        _check_encoded("item", model.items, model.item_encoders)
        items = model.encode_item_features(model.items.encode(records))
        _check_finite("items", items, (len(records), dim))
        people = model.users.encode(persons)
        num = len(next(iter(people.values()))) if people else 2
        rows, times = bundle.history.last(np.zeros(num, dtype=np.int64), model.history.config.length)
        rows[:, -1], times[:, -1] = 1, bundle.request_time  # whoever is asked for, an item came before
        asked = torch.full((num,), bundle.request_time)
        users = model.encode_user_features(people, torch.from_numpy(rows), torch.from_numpy(times), asked)
        _check_finite("users", users, (num, dim))
    found = bundle.index.search(users.float().numpy(), 1).rows
    if found.max() > bundle.manifest["num_items"]:
        raise InputError(f"the index finds item {found.max()}, and there are {bundle.manifest['num_items']}")


def _check_encoded(side: str, table: FeatureTable, encoders: nn.ModuleDict) -> None:
    """Check that each encoder takes the least and the largest of what it is given, and so all of it."""
    for name, values in table.gather(torch.arange(table.num_rows + 1)).items():
        embedded = encoders[name](torch.stack([values.amin(0), values.amax(0)]))
        _check_finite(f"{side}.{name}", embedded, (2, table.output_dims[name]))


def _check_finite(what: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(values.shape) != shape or not bool(values.isfinite().all()):
        raise InputError(
            f"{what}: expected finite numbers {shape}, found {values.dtype} {tuple(values.shape)}"
        )
