"""Does a configuration that the check accepts ever fail for a reason that the check could have told?

  python scripts/bench/config_mutations.py --runs 300 --seed 0
  python scripts/bench/config_mutations.py --one 'history.length=10000' 'embedding_dim=4096'    a single one

Configurations of conf/ are changed at random (see config_values.py) and asked of the real command until so
many were accepted. Each of these is trained on a few made-up interactions and must end with exit status 0 or
3, or with 2 and a message that names a key; never with 1, a traceback, a file outside its folder, or more
than MOST_BYTES of memory or MOST_SECONDS of a processor. Those that are refused must say which key, too. The
last line is JSON; the exit status is 1 if anything was otherwise.
"""

import argparse
import contextlib
import io
import json
import random
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from config_values import TINY, draw

from twotower.commands.compose import NOTHING_DONE
from twotower.commands.run_command import run_command
from twotower.pipeline.run_config import RunConfig

MOST_BYTES, MOST_SECONDS = 6 * 2**30, 300
"""Of addresses that the process may have, Python's libraries among them; and of one run."""
GIVEN_UP = 1800
"""Seconds by the clock after which a run is ended."""
NAMES_A_KEY = re.compile(rf"^  [^ ]+: |\b({'|'.join(RunConfig.model_fields)})\b[.:= ]", re.MULTILINE)


def tried(overrides: Sequence[str], root: Path) -> dict[str, Any]:
    """Ask the command for a run below `root`, and return how that ended."""
    from twotower.commands.entry_points.train import task

    said, arguments = io.StringIO(), [f"output_root={root}", *overrides]
    before, sys.argv = time.process_time(), ["train.py", *arguments]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            run_command("train", task, "")
        except SystemExit as left:
            status = left.code
    for folder in root.iterdir():
        if folder.name != ".cache":
            shutil.rmtree(folder)
    return {"status": status, "said": said.getvalue(), "seconds": time.process_time() - before}


def violation(end: dict[str, Any]) -> str | None:
    """Return what is wrong with how a run ended."""
    errors = "\n".join(line for line in end["said"].split("\n") if "Warning" not in line)
    if end["status"] not in (0, 2, 3):
        return f"exit status {end['status']}: {errors[-400:]}"
    if "Traceback" in errors:
        return f"a traceback: {errors[-400:]}"
    if end["status"] == 2 and not NAMES_A_KEY.search(errors):
        return f"no key is named: {errors[-400:]}"
    return None


def was_accepted(end: dict[str, Any]) -> bool:
    """Tell whether the check found nothing."""
    return NOTHING_DONE not in end["said"]


class Worker:
    """A process that tries one configuration after the other, and is replaced when it is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def tried(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return how a configuration ended; the status of a process that is gone is None."""
        if self.process is None:
            command = [
                sys.executable,
                str(Path(__file__).resolve()),
                "--worker",
                str(self.folder / "outputs"),
            ]
            (self.folder / "here").mkdir(exist_ok=True)
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.folder / "here"
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(list(overrides)) + "\n")
        self.process.stdin.flush()
        there, _, _ = select.select([self.process.stdout], [], [], GIVEN_UP)
        line = self.process.stdout.readline() if there else ""
        if not line:
            self.close()
            return {"status": None, "said": f"gone, or {GIVEN_UP} seconds were over", "seconds": 0.0}
        end: dict[str, Any] = json.loads(line)
        left = [
            *self.folder.glob("here/*"),
            *(path for path in self.folder.iterdir() if path.name not in ("here", "outputs")),
        ]
        return end if not left else end | {"status": f"wrote {left}"}

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def work(root: Path) -> None:
    """Try what is asked, a line each, until nobody asks."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    root.mkdir(exist_ok=True)
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(tried(json.loads(line), root)), file=answers, flush=True)


def campaign(runs: int, seed: int, folder: Path) -> dict[str, Any]:
    """Draw until so many were accepted and run; returns the figures."""
    rng, worker, ends, violations = random.Random(seed), Worker(folder), Counter[str](), []
    while ends["accepted"] < runs:
        overrides = draw(rng)
        end = worker.tried(overrides)
        ends["drawn"] += 1
        accepted = was_accepted(end)
        ends["accepted" if accepted else "refused"] += 1
        if accepted:
            ends[f"accepted, exit status {end['status']}"] += 1
        wrong = violation(end)
        if wrong is None and end["seconds"] > MOST_SECONDS:
            wrong = f"took {end['seconds']:.0f} seconds"
        if wrong:
            changed = " ".join(text for text in overrides if text not in TINY)
            violations.append(f"{changed}: {wrong}")
            print(violations[-1], flush=True)
    worker.close()
    return {**ends, "violations": len(violations)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", nargs="+", help="changes of one configuration, which is run and shown")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        work(chosen.worker)
        return 0
    with tempfile.TemporaryDirectory() as name:
        if chosen.one:
            worker = Worker(Path(name))
            figures = worker.tried([*TINY, *chosen.one])
            figures["violations"] = violation(figures)
            worker.close()
        else:
            figures = campaign(chosen.runs, chosen.seed, Path(name))
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
