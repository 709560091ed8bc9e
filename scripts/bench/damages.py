"""What `damaged_bundles.py` does to a bundle: each change is drawn from a seed, and says what it was."""

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from twotower.bundle import layout
from twotower.bundle.manifest import list_files, render

EVIL = "evil_module"
"""A module in the working folder; to import it leaves a mark."""

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 1.5, float("nan"), float("inf"), 1e308, 10**6, 2**31, 10**10, 2**63, 10**40),
    *("", "x", "12", "x" * 3000, "\ud800", "é\u0000", [], {}, [1], [[]], ["a", 1, None], [0.5] * 9, {"a": 1}),
)
TARGETS = (
    f"{EVIL}.Thing",
    "unittest.__main__.X",
    "os.system",
    "twotower.config.spec.importlib.import_module",
    "twotower.jobs.train_run.Path",
    "twotower.model.towers.tower.Tower",
    "twotower.model.towers.mlp.Mlp",
    "twotower.index.kinds.flat_ip.FlatIP",
    "twotower.index.auto.Auto",
    "twotower..Mlp",
    ".",
    "",
    "Mlp",
)
HUGE = (2**20, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**64 - 1)
LARGE = 180_000_000
"""Bytes of a column that a table is given, which compress to almost nothing."""
BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
)

Rng = random.Random


def damage(folder: Path, number: int, raw: bool) -> str:
    """Change a bundle, and say how.

    Args:
        folder: of the bundle, which is changed.
        number: of the change; the same number makes the same change.
        raw: leave the checksums as they were; else they are made to agree.
    """
    rng = Rng(number)
    names = sorted(path.name for path in folder.iterdir())
    name = rng.choice(names)
    path = folder / name
    if raw:
        return rng.choice((_flipped, _cut, _zeroed, _swapped, _longer, _gone))(path, rng)
    kinds = {
        ".json": (_json_value, _json_value, _json_value, _bytes),
        ".yaml": (_yaml_value, _yaml_value, _yaml_value, _yaml_text, _bytes),
        ".npy": (_array, _array, _npy_header, _bytes),
        ".safetensors": (_tensors, _tensors, _safetensors_header, _bytes),
        ".faiss": (_number_inside, _number_inside, _bytes),
        ".parquet": (_table, _table, _bytes, _number_inside),
        ".onnx": (_bytes, _number_inside, _cut),
    }
    said = rng.choice(kinds.get(path.suffix, (_bytes,)))(path, rng)
    if name != layout.MANIFEST:
        _seal(folder)
    return said


def _seal(folder: Path) -> None:
    manifest = json.loads((folder / layout.MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = list_files(folder, manifest["files"])
    (folder / layout.MANIFEST).write_text(render(manifest), encoding="utf-8")


def _flipped(path: Path, rng: Rng) -> str:
    content, place = bytearray(path.read_bytes()), rng.randrange(path.stat().st_size)
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"{path.name}: a bit of byte {place}"


def _cut(path: Path, rng: Rng) -> str:
    size = rng.randrange(path.stat().st_size)
    path.write_bytes(path.read_bytes()[:size])
    return f"{path.name}: cut to {size}"


def _zeroed(path: Path, rng: Rng) -> str:
    content, place = bytearray(path.read_bytes()), rng.randrange(path.stat().st_size)
    end = min(len(content), place + 4096)
    content[place:end] = bytes(end - place)
    path.write_bytes(content)
    return f"{path.name}: zeros from {place} to {end}"


def _swapped(path: Path, rng: Rng) -> str:
    other = rng.choice([each for each in path.parent.iterdir() if each != path])
    mine, others = path.read_bytes(), other.read_bytes()
    path.write_bytes(others)
    other.write_bytes(mine)
    return f"{path.name} and {other.name} swapped"


def _longer(path: Path, rng: Rng) -> str:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 5000)))
    return f"{path.name}: longer"


def _gone(path: Path, rng: Rng) -> str:
    path.unlink()
    return f"{path.name}: gone"


def _bytes(path: Path, rng: Rng) -> str:
    content = bytearray(path.read_bytes())
    most = len(content) if rng.random() < 0.5 else min(300, len(content))  # headers come first,
    start = 0 if rng.random() < 0.7 else len(content) - most  # but those of Parquet last
    for _ in range(rng.choice((1, 1, 3, 40))):
        content[start + rng.randrange(most)] = rng.randrange(256)
    path.write_bytes(content)
    return f"{path.name}: random bytes from {start}"


def _number_inside(path: Path, rng: Rng) -> str:
    content, form = bytearray(path.read_bytes()), rng.choice(("<I", "<Q"))
    most = min(len(content), rng.choice((100, 400, len(content)))) - 8
    place = rng.randrange(most) if rng.random() < 0.7 else len(content) - most + rng.randrange(most - 8)
    number = rng.choice(HUGE) % (2 ** (8 * struct.calcsize(form)))
    struct.pack_into(form, content, place, number)
    path.write_bytes(content)
    return f"{path.name}: {number} at {place}"


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within plain values; of long lists only to the first few."""
    if at:
        yield at
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    )
    for key, inside in entries:
        yield from _places(inside, (*at, key))


def _changed(values: Any, rng: Rng) -> str:
    at = rng.choice([*_places(values)])
    holder = values
    for key in at[:-1]:
        holder = holder[key]
    way, target = rng.random(), [each for each in _places(values) if each[-1] == "_target_"]
    if way < 0.1 and isinstance(holder, dict):
        del holder[at[-1]]
        return f"{at} gone"
    if way < 0.2 and isinstance(holder, dict):
        holder["another"] = rng.choice(ODD_VALUES)
        return f"{at[:-1]}: another key"
    if way < 0.4 and target:
        at = rng.choice(target)
        holder = values
        for key in at[:-1]:
            holder = holder[key]
        holder["_target_"] = rng.choice(TARGETS)
        return f"{at}: {holder['_target_']}"
    holder[at[-1]] = rng.choice(ODD_VALUES)
    return f"{at}: {holder[at[-1]]!r:.30}"


def _json_value(path: Path, rng: Rng) -> str:
    values = json.loads(path.read_text(encoding="utf-8"))
    said = _changed(values, rng)
    if path.name == layout.MANIFEST:
        try:
            text = render(values)
        except (ValueError, TypeError, AttributeError):
            text = json.dumps(values)
    else:
        text = json.dumps(values)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return f"{path.name}: {said}"


def _yaml_value(path: Path, rng: Rng) -> str:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    said = _changed(values, rng)
    path.write_bytes(yaml.safe_dump(values).encode("utf-8", "surrogatepass"))
    return f"{path.name}: {said}"


def _yaml_text(path: Path, rng: Rng) -> str:
    texts = (
        BOMB,
        "[" * 5000,
        "- " * 900 + "x",
        "a: !!python/object/apply:os.system ['true']",
        "\ufeff\x00",
        "? {a: 1}\n: b",
    )
    odd = (
        "!!int ''",
        "!!bool x",
        "!!timestamp '2020-99-99'",
        "2020-01-01",
        "!!binary x",
        "9" * 6000,
        "!!set {a, b}",
        "&a [*a]",
    )
    text = rng.choice((*texts, *(f"a: {each}" for each in odd)))
    whole = path.read_bytes() + b"\n" if rng.random() < 0.5 else b""
    path.write_bytes(whole + text.encode() + rng.choice((b"", b"", b"\xff")))
    return f"{path.name}: {text[:30]!r}"


def _array(path: Path, rng: Rng) -> str:
    array = np.load(path, allow_pickle=False)
    changes: tuple[Callable[[], Any], ...] = (
        lambda: array[:-1],
        lambda: np.concatenate([array, array]),
        lambda: array[None],
        lambda: array.reshape(-1, 1),
        lambda: array.astype(
            rng.choice(["<f8", "<f2", "<i2", "<u8", ">i4", "S4", "U9", "?", "<M8[s]", "<c16"])
        ),
        lambda: array[:0],
        lambda: np.array(5),
        lambda: np.asfortranarray(array),
        lambda: np.full_like(array, rng.choice((0, 1, -1, 10**6))),
        lambda: -array,
        lambda: array[::-1],
        lambda: np.zeros((0, 2**40), dtype=array.dtype),
        lambda: np.where(array == array.max(), np.array(np.nan), array).astype("<f4"),
    )
    place = rng.randrange(len(changes))
    np.save(path, changes[place](), allow_pickle=False)
    return f"{path.name}: array change {place}"


def _npy_header(path: Path, rng: Rng) -> str:
    content = path.read_bytes()
    size = struct.unpack("<H", content[8:10])[0]
    shape = rng.choice(
        ("(1073741824,)", "(2, 4611686018427387904)", "(-1,)", "(1, -60)", "()", "(True, 8)", "(1e9,)", "'x'")
    )
    kind = rng.choice(("'<f4'", "'<i8'", "'|O'", "'<f999999999'", "[('a', '<i8')]"))
    text = f"{{'descr': {kind}, "
    text += f"'fortran_order': False, 'shape': {shape}, }}"
    if rng.random() < 0.3:
        number = rng.choice((size, 60_000_000, 4_100_000_000))
        path.write_bytes(
            b"\x93NUMPY\x02\x00" + struct.pack("<I", number) + text.encode() + content[10 + size :]
        )
        return f"{path.name}: a header of {number} bytes"
    header = text.encode().ljust(size - 1)[: size - 1] + b"\n"
    path.write_bytes(content[:10] + header + content[10 + size :])
    return f"{path.name}: {text}"


def _tensors(path: Path, rng: Rng) -> str:
    import torch
    from safetensors.torch import load_file, save_file

    state = load_file(path)
    name = rng.choice(sorted(state))
    values = state[name]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: values[:-1].clone() if values.dim() else values[None],
        lambda: torch.cat([values, values]) if values.dim() else values,
        lambda: values[None],
        lambda: values.to(rng.choice([torch.float64, torch.float16, torch.int8, torch.int64, torch.bool])),
        lambda: torch.full_like(values, rng.choice((0, 1))),
        lambda: -values if values.dtype != torch.bool else ~values,
        lambda: values + 10**6 if values.dtype != torch.bool else values,
        lambda: values.float() * float("nan"),
        lambda: torch.zeros(0),
    )
    place = rng.randrange(len(changes) + 2)
    if place < len(changes):
        state[name] = changes[place]().contiguous()
    elif place == len(changes):
        del state[name]
    else:
        state[rng.choice(("x", "user.x", "item.", ""))] = values.clone()
    save_file(state, path)
    return f"{path.name}: {name}, tensor change {place}"


def _safetensors_header(path: Path, rng: Rng) -> str:
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    if rng.random() < 0.3:
        number = rng.choice((*HUGE, size + 1, size - 1, 99_000_000))
        path.write_bytes(struct.pack("<Q", number) + content[8:])
        return f"{path.name}: a header of {number} bytes"
    header = json.loads(content[8 : 8 + size])
    said = _changed(header, rng)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    return f"{path.name}: {said}"


def _table(path: Path, rng: Rng) -> str:
    table = pd.read_parquet(path)
    key, name = str(table.columns[0]), rng.choice([*map(str, table.columns)])
    compression, place = "snappy", rng.randrange(14)
    share = LARGE // max(1, len(table))
    if place == 0:
        table = table.iloc[:-1]
    elif place == 1:
        table = pd.concat([table, table])
    elif place == 2:
        table = table.drop(columns=name)
    elif place == 3:
        table = table.iloc[::-1]
    elif place == 4:
        table[name] = [None] * len(table)
    elif place == 5:
        table[name] = np.arange(len(table)) * 1.5
    elif place == 6:
        table[name] = pd.Series([{"a": number} for number in range(len(table))], index=table.index)
    elif place == 7:
        table[name] = pd.date_range("2020-01-01", periods=len(table))
    elif place == 8:
        table[name] = [b"\xff%d" % number for number in range(len(table))]
    elif place == 9:
        table[key] = ["x" * 5_000_000, *(f"y{number:09d}" for number in range(1, len(table)))]
    elif place == 10:
        table["more"], compression = "x" * share, "gzip"
    elif place == 11:
        table["more"] = "x" * share
    elif place == 12:
        table["more"] = [[0] * (share // 10)] * len(table)
    else:
        table.index = table.index[::-1].astype(str)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=True if place == 13 else None, compression=compression)  # type: ignore[call-overload]
    path.write_bytes(buffer.getvalue())
    return f"{path.name}: {name}, table change {place}"
