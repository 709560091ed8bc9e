"""Towers written as ONNX, with any number of users or items and any length of history."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from twotower.bundle import layout
from twotower.bundle.export_modules import (
    EMBEDDING,
    HISTORY,
    MASK,
    TIMES,
    TOWER_OUTPUT,
    ItemTowerModule,
    UserTowerModule,
    feature_input,
)
from twotower.towers.two_tower import TwoTower

OPSET = 20

LARGEST_FILE = 1_500_000_000
"""Bytes of weights; an ONNX file of 2 GB or more cannot be read, so larger weights stand beside it."""

EXAMPLES, EXAMPLE_LENGTH = 3, 5
"""Sizes that a graph is traced with; 0 and 1 would be taken for constants."""


def write_towers(folder: Path, model: TwoTower) -> list[str]:
    """Write both towers, in eval mode, into a folder that is there; returns the names of the files."""
    rows = torch.zeros(EXAMPLES, dtype=torch.int64)
    with _quiet(), torch.no_grad():
        _write_user_tower(folder / layout.USER_TOWER, model, model.users.gather(rows), rows)
        _write_item_tower(folder / layout.ITEM_TOWER, model, model.items.gather(rows))
    names = (layout.USER_TOWER, layout.ITEM_TOWER, *layout.WEIGHTS)
    return [name for name in names if (folder / name).is_file()]


def _write_user_tower(path: Path, model: TwoTower, features: dict[str, Tensor], times: Tensor) -> None:
    features = _ordered(features | model.users.context(times))
    length = min(EXAMPLE_LENGTH, model.history.config.length)
    history = torch.zeros(EXAMPLES, length, model.history.dim)
    mask = torch.zeros(EXAMPLES, length, dtype=torch.bool)
    axes = {0: Dim("B")} | ({1: Dim("L", min=1, max=model.history.config.length)} if length > 1 else {})
    _write(
        path,
        UserTowerModule(model).eval(),
        (features, history, mask, mask.long()),
        ({name: {0: axes[0]} for name in features}, axes, axes, axes),
        [*map(feature_input, features), HISTORY, MASK, TIMES],
        [EMBEDDING],
    )


def _write_item_tower(path: Path, model: TwoTower, features: dict[str, Tensor]) -> None:
    features, batch = _ordered(features), Dim("B")
    _write(
        path,
        ItemTowerModule(model).eval(),
        (features,),
        ({name: {0: batch} for name in features},),
        [*map(feature_input, features)],
        [EMBEDDING, TOWER_OUTPUT],
    )


def _ordered(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return features by name in one order, whatever a tracer makes of a dict's own."""
    return dict(sorted(features.items()))


def _write(
    path: Path,
    module: nn.Module,
    examples: tuple[Any, ...],
    axes: tuple[Any, ...],
    inputs: list[str],
    outputs: list[str],
) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # comes with onnxscript

    # Traced here, since the ONNX exporter would quietly fix a size that it cannot keep open.
    program = torch.export.export(module, examples, dynamic_shapes=axes)
    num_bytes = sum(values.numel() * values.element_size() for values in module.state_dict().values())
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=inputs,
        output_names=outputs,
        verbose=False,
    )
    assert exported is not None
    ClearMetadataAndDocStringPass()(exported.model)  # paths of this machine, for one
    exported.save(path, external_data=num_bytes > LARGEST_FILE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says of itself: a library it misses, and old code of its own."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        registration.setLevel(level)
