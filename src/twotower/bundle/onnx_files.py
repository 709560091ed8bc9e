"""The towers as modules whose inputs and outputs are plain tensors by name, and their ONNX files.

Shapes: B users or items, L history positions (any numbers of them), W width of a feature, D embedding,
H history vector.
"""

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
from twotower.towers.two_tower import TwoTower

# A dot after a keyword: no operator or parameter of a graph can have such a name.
HISTORY, MASK, TIMES, EVENTS = "in.history", "in.mask", "in.times", "in.events"
REQUEST_TIME = "in.request_time"
EMBEDDING = "out.embedding"


def user_inputs(model: TwoTower) -> list[str]:
    """Return the names of the inputs of the user tower that are no features, in their order."""
    of_request = [REQUEST_TIME] if model.history.config.reads_request_times else []
    return [HISTORY, MASK, TIMES, *of_request] + ([EVENTS] if model.history.config.events else [])


def feature_input(name: str) -> str:
    """Return the name of the input that takes a feature."""
    return f"in.feature.{name}"


class UserTowerModule(nn.Module):
    """From encoded features and a history given as item vectors to embeddings."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({**model.user_encoders, **model.context_encoders})
        self.history = model.history
        self.events = model.event_table if model.history.config.events else None
        self.reads_request_times = model.history.config.reads_request_times
        self.tower = model.user_tower
        self.layout = model.layout

    def forward(
        self,
        features: dict[str, Tensor],
        history: Tensor,
        mask: Tensor,
        times: Tensor,
        *others: Tensor,
    ) -> Tensor:
        """Embed users -> [B, D], with the ones that meet the item bias.

        Args:
            features: by name, those of the request too, each [B, W].
            history: [B, L, H] item vectors, the latest at -1, zeros where masked.
            mask: [B, L] bool, true where there is an item.
            times: [B, L] int64 unix seconds, 0 where masked.
            *others: if that is looked at, [B] int64 unix seconds of the request; and [B, L] int64 what was
                done with each item, 0 where not known.
        """
        blocks = _blocks(self.encoders, features)
        given = self.history.config.block_dims(self.history.dim)
        if self.events is not None:
            history = history + self.events(others[-1]) * mask[..., None]
        if self.reads_request_times:
            times = torch.cat([times, others[0][:, None]], 1)
        if "history" in given:
            blocks["history"] = self.history.latest(history, mask, times)
        if "last_item" in given:
            blocks["last_item"] = history[:, -1]
        return self.layout.user_embeddings(self.tower(blocks))


class ItemTowerModule(nn.Module):
    """From encoded features of new items to embeddings, with the bias of a new item."""

    bias: Tensor

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.encoders = model.item_encoders
        self.tower = model.item_tower
        self.layout, self.ranked = model.new_items.layout, model.layout
        self.new_items = model.new_items
        # All new items have one bias, so that how it comes about (a quantile, say) need not be exported.
        self.register_buffer("bias", model.item_bias(torch.zeros(1, dtype=torch.int64)).detach().float())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Embed new items from encoded features, each [B, W] -> [B, D]."""
        output: Tensor = self.tower(_blocks(self.encoders, features))
        embeddings = self.layout.item_embeddings(output, self.bias.expand(output.shape[0], -1))
        embeddings = self.new_items(features, embeddings)
        return self.ranked.for_ranking(embeddings)


def _blocks(encoders: nn.ModuleDict, features: dict[str, Tensor]) -> dict[str, Tensor]:
    # ONNX looks up by int64 only.
    plain = {
        name: values if values.is_floating_point() else values.long() for name, values in features.items()
    }
    return {name: encoders[name](values) for name, values in plain.items()}


OPSET = 20
LARGEST_FILE = 1_500_000_000
"""Bytes of weights; an ONNX file of 2 GB or more cannot be read, so larger weights stand beside it."""
EXAMPLES, EXAMPLE_LENGTH = 3, 5  # sizes that a graph is traced with; 0 and 1 would be taken for constants


def write_towers(folder: Path, model: TwoTower) -> list[str]:
    """Write both towers, in eval mode, into a folder that is there; returns the names of the files."""
    rows = torch.zeros(EXAMPLES, dtype=torch.int64)
    with _quiet(), torch.no_grad():
        features = model.with_request(model.users.gather(rows), rows)
        _write_user_tower(folder / layout.USER_TOWER, model, features)
        _write_item_tower(folder / layout.ITEM_TOWER, model, model.items.gather(rows))
    names = (layout.USER_TOWER, layout.ITEM_TOWER, *layout.WEIGHTS)
    return [name for name in names if (folder / name).is_file()]


def _write_user_tower(path: Path, model: TwoTower, features: dict[str, Tensor]) -> None:
    features, others = _ordered(features), user_inputs(model)
    length = min(EXAMPLE_LENGTH, model.history.config.length)
    history = torch.zeros(EXAMPLES, length, model.history.item_dim)
    mask = torch.zeros(EXAMPLES, length, dtype=torch.bool)
    axes = {0: Dim("B")} | ({1: Dim("L", min=1, max=model.history.config.length)} if length > 1 else {})
    every = {HISTORY: history, MASK: mask, TIMES: mask.long(), REQUEST_TIME: mask.sum(1), EVENTS: mask.long()}
    examples = [every[name] for name in others]
    of_others = tuple({axis: axes[axis] for axis in axes if axis < each.dim()} for each in examples)
    _write(
        path,
        UserTowerModule(model).eval(),
        (features, *examples),
        ({name: {0: axes[0]} for name in features}, *of_others[:3], *filter(None, [of_others[3:]])),
        [*map(feature_input, features), *others],
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
        [EMBEDDING],
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
        program, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs, verbose=False
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
            warnings.filterwarnings(
                "ignore", "_check_is_size will be removed", FutureWarning
            )  # torch's loops
            warnings.filterwarnings(
                "ignore", r"The tensor attributes .*_flat_weights", UserWarning
            )  # of a GRU
            yield
    finally:
        registration.setLevel(level)
