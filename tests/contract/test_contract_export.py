"""Every feature kind, history encoder, tower, item bias and new-item method exports to ONNX.

Embeddings agree to 1e-5. Variants come from `variants.specs_of`. An export takes seconds, so as many
variants as possible are packed into few models.
"""

import shutil
import zlib
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import test_contract_features as features_of_conf
import torch
from variants import specs_of

from twotower.bundle import onnx_export
from twotower.bundle.layout import ITEM_TOWER
from twotower.bundle.onnx_export import compare_towers, write_towers
from twotower.config.spec import TARGET
from twotower.data.interactions import Interactions
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.time_feature import TimeFeature
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig

GROUPS = ("history", "user_tower", "item_tower", "item_bias", "new_items")
LENGTHS = (4, 1, 2)
NOW, D, NUM_EVENTS = 1_600_000_000, 9, 3
PLAIN = {TARGET: "twotower.model.towers.mlp.Mlp", "widths": [7]}
OWN_ID = {TARGET: "twotower.model.features.id.Id", "column": "item_id", "dim": 8}

Spec = dict[str, Any]


def choices(group: str) -> dict[str, Spec]:
    found = specs_of(group)
    assert found
    return found


SAME_GRAPH = {"column", "dim", "dropout", "min_count", "sparse"}
"""Keys of a feature that change the size of its graph at most."""


def distinct(specs: dict[str, Spec]) -> dict[str, Spec]:
    """Leave out a feature whose graph is that of another one."""
    return {str((spec[TARGET], sorted(spec.keys() - SAME_GRAPH))): spec for spec in specs.values()}


FEATURES = {f"f{place}": spec for place, spec in enumerate(distinct(features_of_conf.CASES).values())}
SHORT = {"f0": FEATURES["f0"], "when": {TARGET: "twotower.model.features.request_time.RequestTime"}}


def one_block(history: Spec) -> Spec:
    """Return a history encoder of one block, the graph of a second one is the same, with every branch.

    GRUs, the smallest graphs, are an ensemble.
    """
    config = HistoryEncoder.Config.model_validate(history)
    smallest = {"blocks": 1, "low_pass": 0.5} | ({"members": 2} if "Gru" in history[TARGET] else {})
    return history | {key: value for key, value in smallest.items() if hasattr(config, key)}


def models() -> dict[str, tuple[Spec, dict[str, Spec]]]:
    """Name the variants of a model -> its settings and features, so that `-k variant` selects the model.

    The first has every feature, context features, and events in its histories. The others have few features;
    they are as many as a group has choices.
    """
    groups = {group: choices(group) for group in GROUPS}
    none = next(
        name
        for name, spec in groups["history"].items()
        if not HistoryEncoder.Config.model_validate(spec).length
    )
    without_history = groups["history"].pop(none)
    most = max(map(len, groups.values()))
    rows = [
        {group: list(specs)[place % len(specs)] for group, specs in groups.items()} for place in range(most)
    ]
    found = {}
    for names, length in zip(rows[1:], cycle(LENGTHS), strict=False):
        settings = {group: groups[group][name] for group, name in names.items()}
        settings["history"] = one_block(settings["history"]) | {"length": length}
        found["-".join(names.values())] = (settings, SHORT)
    first = {group: groups[group][name] for group, name in rows[0].items()}
    first |= {"user_tower": PLAIN, "item_tower": PLAIN}
    every = first | {"history": one_block(first["history"]) | {"length": 3, "events": True}}
    found[f"every-feature-{'-'.join(rows[0].values())}"] = (every, FEATURES)
    return found | {none: (first | {"history": without_history}, SHORT)}


MODELS = models()


def table_of(specs: dict[str, Spec], context: bool) -> FeatureTable:
    features, encoded = {}, {}
    for name, spec in specs.items():
        feature, values = features_of_conf.fitted(spec)
        if not isinstance(feature, TimeFeature):
            features[name], encoded[name] = feature, feature.encode(values)
        elif context:
            features[name] = feature
    return FeatureTable(features, encoded, len(next(iter(encoded.values()))))


def shared(specs: dict[str, Spec]) -> list[dict[str, Spec]]:
    """Return a third of the features each for users, items and the context, and the first for all.

    The graph of a feature is the same in each, and a graph of every feature three times takes long.
    """
    names = list(specs)
    return [{name: specs[name] for name in {names[0]: 0} | dict.fromkeys(names[at::3])} for at in range(3)]


def trained(settings: Spec, specs: dict[str, Spec]) -> TwoTower:
    first, second, third = shared(specs) if len(specs) > len(SHORT) else (specs, specs, specs)
    users, items = table_of(first, True), table_of(second | {"item_id": OWN_ID}, False)
    known = torch.arange(items.num_rows + 1) % 4 > 0
    config = TwoTowerConfig.from_settings(settings | {"embedding_dim": D})
    told = {f"of_{name}": spec for name, spec in third.items()} if config.history.events else None
    contexts = None if told is None else table_of(told, True)
    model = TwoTower(config, users, items, known, contexts, NUM_EVENTS)
    for name, parameter in model.named_parameters():  # as after some training: nothing is left at zero
        seeded = torch.Generator().manual_seed(zlib.crc32(name.encode()))  # models have equal item towers
        torch.nn.init.normal_(parameter, std=0.5, generator=seeded)
    if told is not None:
        torch.nn.init.zeros_(model.event_table.weight.data[0])
    if config.history.reads_table:
        torch.nn.init.zeros_(model.history_table.weight.data[0])
    model.fit_new_items(1.0)
    return model.eval().requires_grad_(False)


def bundle_of(model: TwoTower, folder: Path, item_embeddings: np.ndarray) -> Any:
    num_users, num_items = model.users.num_rows, model.items.num_rows
    users = np.repeat(np.arange(1, num_users + 1), np.arange(num_users))  # the first has no history
    items = np.arange(len(users)) % num_items + 1
    times = NOW - 1000 + np.arange(len(users))
    return SimpleNamespace(
        folder=folder,
        model=model,
        item_embeddings=item_embeddings,
        tower_outputs=lambda rows: model.layout.tower(item_embeddings[rows - 1]),
        users=range(num_users),
        items=range(num_items),
        history=Interactions.from_rows(users, items, times, num_users),
        manifest=SimpleNamespace(request_time=NOW),
    )


@pytest.fixture(scope="module")
def item_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of exported item towers; models that differ only for users have the same one."""
    return tmp_path_factory.mktemp("item_towers")


@pytest.mark.parametrize(("settings", "specs"), MODELS.values(), ids=MODELS.keys())
def test_it_exports_and_agrees(
    settings: Spec, specs: dict[str, Spec], item_towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(settings, specs)
    write, of_items = onnx_export._write, {group: settings[group] for group in GROUPS[2:]}
    stored = item_towers / f"{zlib.crc32(repr((of_items, specs)).encode())}.onnx"

    def write_once(path: Path, *rest: Any) -> None:
        source = stored if path.name == ITEM_TOWER else path
        if not source.exists():
            write(source, *rest)
        if source != path:
            shutil.copy(source, path)

    monkeypatch.setattr(onnx_export, "_write", write_once)
    write_towers(tmp_path, model)
    vectors = model.encode_items(torch.arange(1, model.items.num_rows + 1)).numpy()
    num_users, num_items, largest = compare_towers(tmp_path, bundle_of(model, tmp_path, vectors))
    assert num_users > model.users.num_rows + 2
    assert num_items == model.items.num_rows + 2
    assert 0 <= largest <= 1e-5


def test_every_choice_is_in_a_model() -> None:
    for group in GROUPS:
        targets = {spec[TARGET] for spec in choices(group).values()}
        assert targets <= {settings[group][TARGET] for settings, _ in MODELS.values()}
    kinds = {spec[TARGET] for spec in features_of_conf.CASES.values()}
    assert kinds == {spec[TARGET] for spec in FEATURES.values()}
