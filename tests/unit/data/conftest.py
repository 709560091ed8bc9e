import os
from pathlib import Path

import numpy as np
import pytest

from twotower.data.download import DATA_VARIABLE
from twotower.data.interactions import Interactions


def make_log(rows, num_users=None, num_items=None, given=None):
    """Build a log from (user row, item row, time) triples, in stable order."""
    order = sorted(range(len(rows)), key=lambda position: (rows[position][0], rows[position][2]))
    users, items, times = (np.array([rows[p][k] for p in order]) for k in range(3))
    codes = None if given is None else np.array([given[p] for p in order], dtype=np.int8)
    return Interactions.from_rows(
        users,
        items,
        times,
        num_users or int(users.max()),
        num_items=num_items or int(items.max()),
        given=codes,
    )


@pytest.fixture
def log():
    return make_log


@pytest.fixture
def shared_data():
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"{DATA_VARIABLE} names no folder of data sets")
    return Path(folder)
