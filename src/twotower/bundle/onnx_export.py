"""Export the towers of a bundle as ONNX models, and compare them with the trained towers."""

import importlib.util
import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from twotower.bundle.layout import BUNDLE, EXPORTED, ITEM_TOWER, USER_TOWER
from twotower.bundle.manifest import bundle_in
from twotower.bundle.read import Bundle, gather_history_vectors, read_bundle
from twotower.config.errors import InputError
from twotower.files.atomic import replace_folder, temporary_folder
from twotower.model.towers.two_tower import TwoTower
from twotower.model.towers.user_batch import UserBatch

# A dot after a keyword: no operator or parameter of a graph can have such a name.
HISTORY, MASK, TIMES, EVENTS = "in.history", "in.mask", "in.times", "in.events"
REQUEST_TIME, FEATURE = "in.request_time", "in.feature."
EMBEDDING = "out.embedding"

OPSET = 20
MAX_EMBEDDED_BYTES = 1_500_000_000  # an ONNX file must be below 2 GB; larger weights are a separate file
EXAMPLES, EXAMPLE_LENGTH = 3, 5  # sizes of traced inputs: 0 and 1 would be taken for constants
MAX_DIFFERENCE = 1e-5
NUM_COMPARED, SEED = 256, 0


def export_towers(folder: Path, trusted_packages: Collection[str] = ()) -> str:
    """Write both towers of a run or bundle as ONNX files next to the bundle, and return a line of text.

    The folder is `exported` for the bundle of a run, otherwise `<bundle>-exported`; it is replaced. Raises
    InputError if the bundle is damaged, a library is missing, or an exported tower differs.
    """
    libraries = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in libraries if importlib.util.find_spec(name) is None]:
        raise InputError(f"an export needs {', '.join(missing)}; pip install 'twotower[export]'")
    source = bundle_in(folder).absolute()
    target = source.with_name(EXPORTED if source.name == BUNDLE else f"{source.name}-{EXPORTED}")
    bundle = read_bundle(source, trusted_packages)
    with temporary_folder(target) as temporary:
        write_towers(temporary, bundle.model)
        num_users, num_items, largest = compare_towers(temporary, bundle)
        replace_folder(temporary, target)
    compared = f"{num_users:,} users and {num_items:,} items compared"
    return f"ok  {compared}, largest difference {largest:.1e}  {target}"


class UserTowerModule(nn.Module):
    """The user tower as a function of encoded features and a history of item vectors."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({**model.user_encoders, **model.context_encoders})
        self.history = model.history
        self.events = model.event_table if model.history.config.events else None
        self.tower = model.user_tower
        self.layout = model.layout

    def forward(
        self, features: dict[str, Tensor], history: Tensor, mask: Tensor, times: Tensor, *others: Tensor
    ) -> Tensor:
        """Embed users, [B, D], from features [B, W] and item vectors [B, L, H], 0 where masked.

        `times` [B, L] are 0 where masked. `others` are what the history encoder reads: times of requests [B],
        and codes of event types [B, L], 0 = unknown.
        """
        blocks = _blocks(self.encoders, features)
        given = self.history.config.block_dims(self.history.dim)
        if self.events is not None:
            history = history + self.events(others[-1]) * mask[..., None]
        if self.history.config.reads_request_times:
            times = torch.cat([times, others[0][:, None]], 1)
        if "history" in given:
            blocks["history"] = self.history.latest(history, mask, times)
        if "last_item" in given:
            blocks["last_item"] = history[:, -1]
        return self.layout.user_embeddings(self.tower(blocks))


class ItemTowerModule(nn.Module):
    """The item tower as a function of encoded features of new items, with the bias of new items."""

    bias: Tensor

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.encoders = model.item_encoders
        self.tower = model.item_tower
        self.layout, self.ranked = model.new_items.layout, model.layout
        self.new_items = model.new_items
        # All new items have the same bias, so its computation (a quantile, for example) is not exported.
        self.register_buffer("bias", model.item_bias(torch.zeros(1, dtype=torch.int64)).detach().float())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Embed new items from encoded features, each [B, W] -> [B, D]."""
        output: Tensor = self.tower(_blocks(self.encoders, features))
        embeddings = self.layout.item_embeddings(output, self.bias.expand(output.shape[0], -1))
        return self.ranked.for_ranking(self.new_items(features, embeddings))


def _blocks(encoders: nn.ModuleDict, features: dict[str, Tensor]) -> dict[str, Tensor]:
    # ONNX supports int64 indices only.
    return {
        name: encoders[name](values if values.is_floating_point() else values.long())
        for name, values in features.items()
    }


def write_towers(folder: Path, model: TwoTower) -> None:
    """Write both towers, in eval mode, into an existing folder."""
    rows, batch = torch.zeros(EXAMPLES, dtype=torch.int64), {0: Dim("B")}
    history_config = model.history.config
    length = min(EXAMPLE_LENGTH, history_config.length)
    axes = batch | ({1: Dim("L", min=1, max=history_config.length)} if length > 1 else {})
    mask = torch.zeros(EXAMPLES, length, dtype=torch.bool)
    arrays = {HISTORY: torch.zeros(EXAMPLES, length, model.history.item_dim), MASK: mask, TIMES: mask.long()}
    others = {REQUEST_TIME: rows} if history_config.reads_request_times else {}
    others |= {EVENTS: mask.long()} if history_config.events else {}
    with _quiet(), torch.no_grad():
        features = dict(sorted(model.with_request(model.users.gather(rows), rows).items()))
        shapes: list[Any] = [dict.fromkeys(features, batch), axes, axes, axes]
        if others:
            shapes.append(tuple(axes if each.dim() > 1 else batch for each in others.values()))
        _write(folder / USER_TOWER, UserTowerModule(model), features, arrays | others, shapes)
        features = dict(sorted(model.items.gather(rows).items()))
        _write(folder / ITEM_TOWER, ItemTowerModule(model), features, {}, [dict.fromkeys(features, batch)])


def _write(
    path: Path, module: nn.Module, features: dict[str, Tensor], arrays: dict[str, Tensor], shapes: list[Any]
) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # a dependency of onnxscript

    # Traced here, because the ONNX exporter silently fixes a size that it cannot keep dynamic.
    program = torch.export.export(module.eval(), (features, *arrays.values()), dynamic_shapes=tuple(shapes))
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=[*(FEATURE + name for name in features), *arrays],
        output_names=[EMBEDDING],
        verbose=False,
    )
    assert exported is not None
    ClearMetadataAndDocStringPass()(exported.model)  # it contains paths of this machine
    num_bytes = sum(values.numel() * values.element_size() for values in module.state_dict().values())
    exported.save(path, external_data=num_bytes > MAX_EMBEDDED_BYTES)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of the exporter about an optional library and about deprecated code in torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
            warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def compare_towers(folder: Path, bundle: Bundle) -> tuple[int, int, float]:
    """Compare exported towers with a bundle; return number of users and items, largest difference.

    The difference of embeddings is relative to the largest value of the batch if that is above 1, because
    float32 has no more digits. Raises InputError if it is above 1e-5, or not finite.
    """
    import onnxruntime

    def load(name: str) -> Any:
        return onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])

    def difference(tower: Any, inputs: dict[str, np.ndarray], expected: Tensor) -> float:
        embeddings, trained = tower.run([EMBEDDING], inputs)[0], expected.float().numpy()
        return float(np.abs(trained - embeddings).max() / max(1.0, float(np.abs(trained).max())))

    model, user_tower, item_tower = bundle.model, load(USER_TOWER), load(ITEM_TOWER)
    input_names = {each.name for each in user_tower.get_inputs()}
    num_users, differences = 0, []
    with torch.inference_mode():
        for batch in _user_batches(bundle):
            rows, events = batch.history_rows.numpy(), batch.history_events
            vectors, positions = gather_history_vectors(model, rows, bundle.tower_outputs)
            mask = positions > 0
            arrays = {HISTORY: vectors[positions], MASK: mask, TIMES: batch.history_times.numpy() * mask}
            arrays |= {} if events is None else {EVENTS: events.numpy() * mask}
            arrays[REQUEST_TIME] = batch.request_times.numpy()
            features = model.with_request(batch.features or {}, batch.request_times)
            inputs = arrays | {FEATURE + name: values.numpy() for name, values in features.items()}
            inputs = {name: values for name, values in inputs.items() if name in input_names}
            differences.append(difference(user_tower, inputs, model.encode_users(batch)))
            num_users += len(rows)
        items = torch.arange(1, min(NUM_COMPARED, model.items.num_rows) + 1)
        for encoded in (model.items.gather(items), model.items.gather(items[:1]), model.items.encode([{}])):
            inputs = {FEATURE + name: values.numpy() for name, values in encoded.items()}
            differences.append(difference(item_tower, inputs, model.encode_item_features(encoded)))
    largest = float(np.max(differences))
    if not largest <= MAX_DIFFERENCE:  # or NaN
        raise InputError(
            f"{bundle.folder}: its exported towers differ from the trained ones by {largest:.1e}, and "
            f"{MAX_DIFFERENCE:.0e} is allowed; nothing was written. Report it with the bundle's config.yaml"
        )
    return num_users, len(items) + 2, largest


def _user_batches(bundle: Bundle) -> Iterator[UserBatch]:
    """Yield known users, together and alone; then new users with and without padding in their histories."""
    model, rng = bundle.model, np.random.default_rng(SEED)
    length, now = model.history.config.length, bundle.manifest.request_time
    num_events = model.event_table.num_embeddings if model.history.config.events else 1

    def user_batch(features: dict[str, Tensor], rows: np.ndarray, times: np.ndarray) -> UserBatch:
        requests = np.resize([now, 0, now + 100 * 86_400], len(rows)).astype(np.int64)
        events = rng.integers(0, num_events, rows.shape) * (rows > 0)
        return UserBatch.from_features(features, *map(torch.from_numpy, (rows, times, requests, events)))

    users = np.arange(min(NUM_COMPARED, len(bundle.users)) + 1)
    for some in (users, users[-1:]):
        contexts = torch.from_numpy(rng.integers(0, model.contexts.num_rows + 1, len(some)))
        features = model.users.gather(torch.from_numpy(some)) | model.contexts.gather(contexts)
        yield user_batch(features, *bundle.history.last(some, length))
    for width in sorted({1, max(1, length // 2), length}) if length else [0]:
        rows = rng.integers(1, len(bundle.items) + 1, (3, width))
        rows[0], rows[1, : width // 2] = 0, 0
        times = np.sort(rng.integers(1, now + 1, rows.shape), axis=1) * (rows > 0)
        yield user_batch(model.users.encode([{}] * len(rows)), rows, times)
