"""What a bundle holds, once it is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from twotower.bundle.manifest import Manifest
from twotower.data.history import History
from twotower.data.vocabulary import Vocabulary
from twotower.index.index import Index
from twotower.towers.two_tower import TwoTower


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds.

    Args:
        settings: the resolved configuration of its run.
        model: trained towers in eval mode, without gradients.
        index: over the catalogue, search arguments set; its ids are rows.
        item_vectors: float32 [N, D]; the item of row r stands at r - 1.
        history: what was known of every user; memory-mapped.
        request_time: unix seconds at which a request is taken to be made, unless it says otherwise.
    """

    folder: Path
    manifest: Manifest
    settings: dict[str, Any]
    model: TwoTower
    index: Index
    item_vectors: np.ndarray
    users: Vocabulary
    items: Vocabulary
    user_table: pd.DataFrame
    item_table: pd.DataFrame
    item_label: str | None
    history: History
    request_time: int
