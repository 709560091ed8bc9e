"""Damages a bundle at random: it must be refused with a message that names a file, or answer.

Half of the damages leave the checksums as they were, half make them agree: bits and parts of files, values
of JSON and YAML in type and size, numbers that promise gigabytes, classes that are somebody else's. No damage
may run the code of a file or end the process, whose memory is limited.
"""

import json
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from twotower.bundle import layout
from twotower.bundle.manifest import list_files, render, verify
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.serving.retriever import Retriever

EVIL = "evil_module"
"""A module in the working folder; to import it leaves a mark."""
ROOM = 2**30
"""Bytes that a damaged bundle may take; a larger request fails, as on a full machine."""
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, float("nan"), 1e308, 10**6, 2**31, 10**10, 2**63, 10**40),
    *("", "x", "12", "x" * 3000, "\ud800", [], {}, [1], [[]], ["a", 1, None], {"a": 1}),
)
TARGETS = (f"{EVIL}.Thing", "os.system", "twotower.config.spec.importlib.import_module", ".", "", "Mlp")
HUGE = (2**20, 2**31 - 1, 2**32 - 1)
Rng = random.Random


def damage(folder: Path, number: int) -> str:
    """Change a bundle, the same for the same number, and say how; even ones leave the checksums."""
    rng = Rng(number)
    path = rng.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content) - 4)
    if number % 2 == 0:
        way = rng.choice(("bit", "cut", "zeros", "longer", "gone"))
        content[place] ^= 1 << rng.randrange(8)
        changed = {"cut": content[:place], "zeros": content[:place] + bytes(len(content) - place)}
        path.write_bytes(changed.get(way, content + bytes(99) if way == "longer" else content))
        if way == "gone":
            path.unlink()
        return f"{path.name}: {way} at {place}"
    if path.suffix in (".json", ".yaml") and rng.random() < 0.8:
        values = yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())
        said = _change(values, rng)
        text = render(values) if path.name == layout.MANIFEST and _is_plain(values) else json.dumps(values)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    else:
        place = rng.randrange(min(300, len(content) - 4))  # headers come first
        said = f"{(huge := rng.choice(HUGE))} at {place}"
        struct.pack_into("<I", content, place, huge)
        path.write_bytes(content)
    if path.name != layout.MANIFEST:
        manifest = json.loads((folder / layout.MANIFEST).read_text(encoding="utf-8"))
        manifest["files"] = list_files(folder, manifest["files"])
        (folder / layout.MANIFEST).write_text(render(manifest), encoding="utf-8")
    return f"{path.name}: {said}"


def _is_plain(values: Any) -> bool:
    try:
        render(values)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within plain values; of long lists only to the first few."""
    if at:
        yield at
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value[:5] if isinstance(value, list) else ())
    )
    for key, inside in entries:
        yield from _places(inside, (*at, key))


def _change(values: Any, rng: Rng) -> str:
    """Replace one of the values, or remove a key."""
    *way, key = at = rng.choice([*_places(values)])
    for part in way:
        values = values[part]
    if rng.random() < 0.1 and isinstance(values, dict):
        del values[key]
        return f"{at} gone"
    values[key] = rng.choice(TARGETS if key == "_target_" else VALUES)
    return f"{at}: {values[key]!r:.30}"


def answers(retriever: Any) -> list[Any]:
    """Ask for a little of everything."""
    items = retriever.item_ids
    found = [retriever.recommend(user, k=5) for user in retriever.user_ids[:2]]
    found += [retriever.recommend_new({}, items[:2], k=5), retriever.similar(items[0], k=5)]
    return [[(each.item_id, each.score) for each in one] for one in found]


def outcome(folder: Path, number: int, before: list[Any]) -> str:
    """Open a damaged bundle in every way, and say what happened; what must not happen begins with `!`."""
    said = []
    for reader in (verify, read_bundle, lambda folder: answers(Retriever.open(folder))):
        try:
            found = reader(folder)
        except InputError as error:
            said.append(str(error))
            if str(folder) not in said[-1] and reader in (verify, read_bundle):
                return f"!names no file: {error}"
        except BaseException as error:
            return f"!{type(error).__name__}: {error!s:.300}"
    if said:
        return "refused"
    return "as before" if found == before else "other answers" if number % 2 else "!other answers"


def tried(bundle: Path, numbers: Sequence[int]) -> tuple[Counter[str], list[str]]:
    """Try damages in another process; return how many ended how, and the violations."""
    with tempfile.TemporaryDirectory() as here:
        (Path(here) / f"{EVIL}.py").write_text(f"open('{EVIL}.mark', 'w')\nclass Thing: pass\n")
        command = [sys.executable, __file__, str(bundle), *map(str, numbers)]
        process = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
        evil = ["!ran the code of a file"] * (Path(here) / f"{EVIL}.mark").exists()
    found = [line.split("\t") for line in process.stdout.splitlines()]
    died = [f"ended the process after {found}: {process.stderr[-2000:]}"] * (len(found) < len(numbers))
    violations = [" ".join(each) for each in found if each[-1].startswith("!")]
    return Counter(each[-1] for each in found), violations + evil + died


def main(bundle: Path, numbers: Sequence[int]) -> None:
    """Print what each damage does, a line each."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path.cwd()))
    before = answers(Retriever.open(bundle))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))
    for number in numbers:
        with tempfile.TemporaryDirectory() as root:
            folder = shutil.copytree(bundle, Path(root) / "bundle")
            said = damage(folder, number)
            print(
                number, repr(said), outcome(folder, number, before).replace("\n", " "), sep="\t", flush=True
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(each) for each in sys.argv[2:]])
