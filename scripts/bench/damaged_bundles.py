"""Does a damaged bundle ever do anything but be refused, or answer as before?

  python scripts/bench/damaged_bundles.py outputs/default/<run>/bundle
  python scripts/bench/damaged_bundles.py <bundle> ... --damages 1000

Copies of the bundles are damaged, half of them as they lie and half with their checksums made to agree: bits,
pages and whole files; every value of JSON and YAML, in type and size; arrays, tensors and tables of other
shapes and types; headers that promise gigabytes; classes that are somebody else's. Each is verified, read,
opened and asked, in processes whose memory is limited. It must be refused with a message that names a file,
or answer: with raw damage as before, else in any way, since it then is another bundle. No damage may run the
code of a file or end the process. The exit status is 1 if anything else happened.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from damages import EVIL, damage

ROOM = 2**30
"""Bytes that a damaged bundle may take; a larger request fails, as on a full machine."""
ROUND = 125


def answers(retriever: Any) -> list[Any]:
    """Ask for a little of everything."""
    found: list[Any] = []
    items = retriever.item_ids
    for user in retriever.user_ids[:2]:
        found.append([(each.item_id, each.score) for each in retriever.recommend(user, k=5)])
    found.append([(each.item_id, each.score) for each in retriever.recommend_new({}, items[:2], k=5)])
    found.append([(each.item_id, each.score) for each in retriever.similar(items[0], k=5)])
    features = retriever.item(items[0])["features"]
    known = retriever.bundle.model.items.columns
    new = "new" if retriever.bundle.items.is_text else 10**9
    retriever.add_item(
        new, {name: value for name, value in features.items() if name in known and value is not None}
    )
    found.append(retriever.num_items)
    found.append(sorted(retriever.attributes))
    return found


def outcome(folder: Path, raw: bool, before: list[Any]) -> str:
    """Open a damaged bundle in every way, and say what happened; what must not happen begins with `!`."""
    from twotower.bundle.manifest import verify
    from twotower.bundle.read import read_bundle
    from twotower.config.errors import InputError
    from twotower.serving.retriever import Retriever

    def opened() -> list[Any]:
        return answers(Retriever.open(folder))

    said = []
    for reader in (verify, read_bundle, lambda folder: opened()):
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
    return "as before" if found == before else "!other answers" if raw else "other answers"


def run(bundles: Sequence[Path], numbers: Sequence[int]) -> None:
    """Try some damages, printing a line of JSON for each."""
    import torch

    from twotower.serving.retriever import Retriever

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path.cwd()))
    before = [answers(Retriever.open(bundle)) for bundle in bundles]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    for number in numbers:
        place, raw = number % len(bundles), number % 2 == 0
        folder = Path(tempfile.mkdtemp()) / "bundle"
        shutil.copytree(bundles[place], folder)
        said = damage(folder, number, raw)
        print(json.dumps({"number": number, "said": said}), flush=True)
        found = outcome(folder, raw, before[place])
        if Path(f"{EVIL}.mark").exists():
            found = "!ran the code of a file"
        print(json.dumps({"number": number, "found": found}), flush=True)
        shutil.rmtree(folder.parent)


def tried(bundles: Sequence[Path], numbers: Sequence[int]) -> tuple[Counter[str], list[str]]:
    """Try damages in processes of their own; a process that dies is a violation, and the next goes on.

    Args:
        bundles: whole ones.
        numbers: of the damages.

    Returns:
        How many ended how, and the violations.
    """
    counts: Counter[str] = Counter()
    violations: list[str] = []
    left = list(numbers)
    with tempfile.TemporaryDirectory() as here:
        (Path(here) / f"{EVIL}.py").write_text(
            f"open('{EVIL}.mark', 'w')\nclass Thing: pass\n", encoding="utf-8"
        )
        while left:
            now = left[:ROUND]
            command = [sys.executable, __file__, *map(str, bundles), "--only", *map(str, now)]
            process = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
            lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
            said = {line["number"]: line["said"] for line in lines if "said" in line}
            for line in (line for line in lines if "found" in line):
                left.remove(line["number"])
                counts[line["found"] if line["found"][0] != "!" else "violated"] += 1
                if line["found"][0] == "!":
                    violations.append(f"{line['number']} {said[line['number']]}: {line['found']}")
            if left and left[0] in said:
                violations.append(f"{left[0]} {said[left[0]]}: ended the process {process.returncode}")
                counts["violated"] += 1
                left.pop(0)
            elif process.returncode:
                raise RuntimeError(process.stderr[-2000:])
    return counts, violations


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+")
    given = parser.parse_args()
    bundles = [bundle.absolute() for bundle in given.bundles]
    if given.only:
        run(bundles, given.only)
        return
    began = time.monotonic()
    counts, violations = tried(bundles, range(given.first, given.first + given.damages))
    for each in violations:
        print(each)
    print(f"{given.damages:,} damages in {time.monotonic() - began:.0f} s: {dict(sorted(counts.items()))}")
    raise SystemExit(bool(violations))


if __name__ == "__main__":
    main()
