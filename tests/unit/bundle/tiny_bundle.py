"""A bundle of random towers over sixty hand-made items: quick, and with every kind of column.

One that is `told` more knows contexts of requests and what users did with items.
"""

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from twotower.bundle.write import write_bundle
from twotower.data.actions import HISTORY, POSITIVE
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.vocabulary import Vocabulary
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import FeatureTable
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig

NUM_ITEMS, NUM_USERS, DIM, LENGTH = 60, 12, 8, 5
NOW = 1_600_000_000
EVENTS = ("buy", "skip", "view")
ROLES = {"buy": "positive", "view": "history", "skip": "negative", "rate": "positive", "ping": "ignored"}
CONTEXTS = pd.DataFrame({"device": ["phone", "desk", "phone", None], "hour": [8.0, 20.0, np.nan, 13.0]})
WORDS = ["RED", "BLUE", "GREEN", "CUP", "PLATE", "LAMP", "CLOCK", "BAG", "TOY", "SIGN"]


def item_id(row, text):
    return f"item-{row:03d}" if text else 1000 + row


def settings(history_items="table", profiles=False, told=False):
    chosen = plain_settings(history_items, profiles)
    if told:
        chosen["data"] = {
            "_target_": "twotower.data.sources.table_files.TableFiles",
            "interactions_path": "log.csv",
            "event_column": "event",
            "context_columns": ["device", "hour"],
            "events": {word: {"role": role} for word, role in ROLES.items()},
        }
        chosen["history"]["events"] = True
        chosen["features"]["context"] = {
            "device": {
                "_target_": "twotower.model.features.categorical.Categorical",
                "column": "device",
                "dim": 3,
            },
            "hour": {"_target_": "twotower.model.features.numeric.Numeric", "column": "hour"},
        }
    return chosen


def plain_settings(history_items, profiles):
    feature = "twotower.model.features"
    mlp = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": [16], "normalize": "none"}
    of_profiles = {
        "who": {"_target_": f"{feature}.id.Id", "column": "user_id", "dim": 4},
        "age": {"_target_": f"{feature}.numeric.Numeric", "column": "age"},
        "likes": {"_target_": f"{feature}.tags.Tags", "column": "likes", "dim": 4},
    }
    return {
        "embedding_dim": DIM,
        "history": {
            "_target_": "twotower.model.towers.history.weighted_pooling.WeightedPooling",
            "length": LENGTH,
            "items": history_items,
        },
        "user_tower": mlp,
        "item_tower": mlp,
        "item_bias": {"_target_": "twotower.model.towers.item_bias.recent_popularity.RecentPopularity"},
        "features": {
            "user": {
                "country": {"_target_": f"{feature}.categorical.Categorical", "column": "country", "dim": 4},
                "when": {"_target_": f"{feature}.request_time.RequestTime", "year": 1},
                **(of_profiles if profiles else {}),
            },
            "item": {
                "own": {"_target_": f"{feature}.id.Id", "column": "item_id", "dim": 6},
                "title": {"_target_": f"{feature}.text.HashedText", "column": "title", "dim": 6},
                "price": {"_target_": f"{feature}.numeric.Numeric", "column": "price"},
                "tags": {"_target_": f"{feature}.tags.Tags", "column": "tags", "dim": 4},
            },
        },
    }


def dataset(text=True, profiles=False, told=False):
    """Make up items and users; `profiles` have more columns, one of which no feature reads."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        {
            "item_id": [item_id(row, text) for row in range(1, NUM_ITEMS + 1)],
            "title": [" ".join(rng.choice(WORDS, 2, replace=False)) for _ in range(NUM_ITEMS)],
            "price": rng.gamma(2.0, 3.0, NUM_ITEMS),
            "tags": [list(rng.choice(["home", "gift", "kids"], 1 + row % 2)) for row in range(NUM_ITEMS)],
            "mixed": [str(row) if row % 2 else f"no {row}" for row in range(NUM_ITEMS)],
        }
    )
    users = pd.DataFrame(
        {
            "user_id": [f"user-{row:02d}" if text else row for row in range(1, NUM_USERS + 1)],
            "country": rng.choice(["DE", "FR", "GB"], NUM_USERS),
        }
    )
    if profiles:
        users["age"] = 20.0 + np.arange(NUM_USERS)
        users["likes"] = [["tea"] if row % 2 else ["tea", "books"] for row in range(NUM_USERS)]
        users["city"] = ["Lyon" if row % 2 else "Bonn" for row in range(NUM_USERS)]
    log = history()
    return RetrievalDataset(
        user_table=users,
        item_table=items,
        item_label="title",
        users=Vocabulary.fit(users["user_id"]),
        items=Vocabulary.fit(items["item_id"]),
        train=log,
        train_and_valid=log,
        valid=None,
        open_test=lambda: None,
        audit={},
        fingerprint="data",
        **({"context_table": CONTEXTS, "events": EVENTS} if told else {}),
    )


def history(told=False):
    """User u has 3 u items: rows u, u + 1, ... (one of them twice for user 2); user 12 has none.

    Told, each second was bought and the others were looked at.
    """
    users, items = [], []
    for user in range(1, NUM_USERS):
        users += [user] * 3 * user
        items += [1 + (user + step) % NUM_ITEMS for step in range(3 * user)]
    items[5] = items[4]
    times = NOW - 100_000 + np.arange(len(items))
    log = Interactions.from_rows(np.array(users), np.array(items), times, NUM_USERS)
    bought = np.arange(len(items)) % 2 == 1
    events = np.where(bought, 1, 3).astype(np.int16)
    roles = np.where(bought, POSITIVE, HISTORY).astype(np.int8)
    return dataclasses.replace(log, events=events, roles=roles) if told else log


def towers(data, chosen, seed=1):
    torch.manual_seed(seed)
    tables = {"context": None}
    for side, table in (
        ("user", data.user_table),
        ("item", data.item_table),
        ("context", data.context_table),
    ):
        if table is None:
            continue
        features = {
            name: Feature.Config.model_validate(spec).build(1)
            for name, spec in chosen["features"][side].items()
        }
        tables[side] = FeatureTable.fit(features, table, np.arange(1, len(table) + 1), side)
    trained = torch.arange(NUM_ITEMS + 1) > 0
    trained[7] = False
    config = TwoTowerConfig.from_settings(chosen)
    given = tables["user"], tables["item"], trained, tables["context"], len(data.events)
    return TwoTower(config, *given).eval()


def index_of(kind):
    if isinstance(kind, Index):
        return kind
    if kind == "ivf_pq":
        return IVFPQ.Config(nlist=4, nprobe=4, num_subquantizers=4, num_bits=4).build()
    if kind == "flat_ip":
        return FlatIP.Config().build()
    return IVFFlat.Config(nlist=4, nprobe=4 if kind == "ivf_flat" else 1).build()


GOOD = {"recall_at_100": np.float64(1.0), "ok": np.True_}
BAD = {
    "ok": False,
    "recall_k": 60,
    "recall_at_100": 0.5,
    "target_recall": 0.95,
    "problems": ["recall@60 against exact search is 0.5000, below index.min_recall 0.9"],
}


def write(folder, **options):
    """Copy a bundle; equal ones are written once. Returns its model and item embeddings."""
    made, *found = _written(**options)
    shutil.copytree(f"{made.name}/bundle", folder)
    return found


@functools.cache
def _written(**options):
    made = tempfile.TemporaryDirectory()
    return made, *write_anew(f"{made.name}/bundle", **options)


def write_anew(
    folder,
    *,
    text=True,
    kind="flat_ip",
    history_items="table",
    seed=1,
    profiles=False,
    told=False,
    rejected=False,
    held_out=0,
):
    data, chosen = dataset(text, profiles, told), settings(history_items, profiles, told)
    model = towers(data, chosen, seed)
    with torch.inference_mode():
        vectors = model.encode_items(torch.arange(1, NUM_ITEMS + 1)).numpy()
    index = index_of(kind)
    index.build(vectors, np.arange(1, NUM_ITEMS + 1))
    report = SimpleNamespace(to_dict=lambda: BAD if rejected else GOOD)
    indexed = SimpleNamespace(index=index, vectors=vectors, report=report)
    write_bundle(Path(folder), chosen, model, indexed, data, history(told), NOW, held_out)
    return model, vectors
