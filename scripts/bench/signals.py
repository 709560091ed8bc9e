"""Does a training that is told to stop say how it is gone on with, and does it then end as it would have?

  python scripts/bench/signals.py                     60 signals
  python scripts/bench/signals.py --signals 12 --seed 1

Real processes of the commands get SIGTERM or SIGINT at a random moment of each part of their life: while
Python imports, while data is built, in both phases of the training, while the index is built, while towers
are evaluated, while the bundle is written; so do sweeps in worker processes. Each must end with 143 or 130
and say on standard error what to do; doing so must give the result of a run that was left alone, with no file
left over. What is printed is JSON; the exit status is 1 if anything was otherwise.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from training_kills import SMALL, in_a_child, leftovers, one_thread, seen  # noqa: E402

PLAN = [*SMALL, "trainer.max_epochs=3", "trainer.checkpoint_every_steps=2"]
SWEPT = ["-m", "seed=0,1", "launcher=local", "launcher.num_workers=2"]
AFTER = {
    "imports": "",
    "data": "{}/config.yaml",
    "fit": "{}/checkpoints/fit/last.ckpt",
    "refit": "{}/checkpoints/refit/last.ckpt",
    "evaluation": "{}/checkpoints/refit/final.ckpt",
    "bundle": "{}/per_user.parquet",
    "sweep": "{}/seed0/train.log",
}
"""Part of a life -> the file that begins it; in a run's folder or a sweep's."""
PATIENCE_SECONDS = 300.0
STATUS = {signal.SIGTERM: (143, "stopped by SIGTERM"), signal.SIGINT: (130, "interrupted")}


class Trial:
    """One process that is stopped.

    Args:
        root: for outputs; empty, but for the cache of the data.
        part: of its life.
        number: of the signal.
    """

    def __init__(self, root: Path, part: str, number: signal.Signals) -> None:
        self.root, self.part, self.number = root, part, number
        swept = SWEPT if part == "sweep" else ["seed=0"]
        self.command = [
            sys.executable,
            str(ROOT / "scripts" / "train.py"),
            *PLAN,
            f"output_root={root}",
            *swept,
        ]
        self.folder: Path | None = None
        self.said = ""
        self.status = 0

    def run(self, delay: float) -> None:
        """Start, wait for the part of its life and a little longer, and send the signal."""
        with tempfile.TemporaryDirectory() as place:
            it = self.begin(said := Path(place, "said"))
            ends = time.monotonic() + PATIENCE_SECONDS
            while not self._reached(it.pid) and it.poll() is None and time.monotonic() < ends:
                time.sleep(0.002)
            time.sleep(delay)
            it.send_signal(self.number)
            self.status = it.wait(timeout=PATIENCE_SECONDS)
            self.said = said.read_text()
        self._reached(it.pid)

    def begin(self, out: Path) -> "subprocess.Popen[bytes]":
        """Start the process, which writes to a file what it says on standard error."""
        with out.open("wb") as file:
            return subprocess.Popen(self.command, stderr=file, stdout=subprocess.DEVNULL)

    def _reached(self, process: int) -> bool:
        found = sorted((self.root / "default").glob("*")) if (self.root / "default").is_dir() else []
        self.folder = found[0] if found else None
        wanted = AFTER[self.part]
        if not wanted:
            return hears(process, self.number)
        return self.folder is not None and Path(wanted.format(self.folder)).is_file()

    def ended(self) -> bool:
        """Say whether it had done its work when the signal came."""
        return self.folder is not None and (self.folder / "result.json").is_file()

    def problems(self) -> list[str]:
        """Return what is wrong with how it ended."""
        status, words = STATUS[self.number]
        if self.status == 0 and (self.ended() or self.part == "sweep"):
            return []
        found = [] if self.status == status else [f"exit status {self.status}, not {status}"]
        last = (self.said.splitlines() or [""])[-1]
        found += [] if last.startswith(words) else [f"says {last!r}"]
        found += ["has a traceback"] if "Traceback" in self.said else []
        begun = self.folder is not None and (self.folder / "config.yaml").is_file() and not self.ended()
        if begun and f"resume={quote(str(self.folder))} continues it" not in last:
            found.append(f"says {last!r} without the folder")
        if self.part == "sweep" and str(self.folder) not in last:
            found.append(f"says {last!r} without the sweep's folder")
        return found

    def go_on(self, log: Path) -> list[Path]:
        """Do what it says; returns the folders of runs, which have then ended."""
        if self.part == "sweep":
            subprocess.run(self.command, check=True, capture_output=True)
            assert self.folder is not None
            return [self.folder / "seed0", self.folder / "seed1"]
        if self.folder is None or not (self.folder / "config.yaml").is_file():
            return []
        folder = self.folder
        if not self.ended():
            in_a_child(lambda: resume(folder), log)
        return [folder]


def resume(folder: Path) -> int:
    from twotower.pipeline.train_run import resume

    return resume(folder)


def hears(process: int, number: int) -> bool:
    """Say whether a process has a handler for a signal; Python itself has one for SIGINT."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    (caught,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(caught >> (signal.SIGTERM - 1) & 1 and caught >> (number - 1) & 1)


def trained(root: Path) -> dict[str, dict[str, Any]]:
    """Return what a sweep of two seeds gives that is left alone; a single run is its first job."""
    subprocess.run(Trial(root, "sweep", signal.SIGTERM).command, check=True, capture_output=True)
    return {path.name: seen(path) for path in (root / "default").glob("*/seed[01]")}


def attack(root: Path, num_signals: int, rng: random.Random) -> dict[str, Any]:
    """Stop processes of every part; returns the figures."""
    expected, log = trained(root), root / "log"
    shutil.rmtree(root / "default")
    done: Counter[str] = Counter()
    violations: list[str] = []
    for place in range(num_signals):
        part = list(AFTER)[place % len(AFTER)]
        trial = Trial(root, part, rng.choice(list(STATUS)))
        if part == "data":
            shutil.rmtree(root / ".cache", ignore_errors=True)
        trial.run(rng.uniform(0, 3 if part in ("imports", "sweep") else 0.5))
        what = f"signal {place + 1}, {trial.number.name} in {part}"
        done[f"{part}: status {trial.status}"] += 1
        known = len(violations)
        violations += [f"{what}: {problem}" for problem in trial.problems()]
        for folder in trial.go_on(log):
            want = expected[folder.name if part == "sweep" else "seed0"]
            if not (folder / "result.json").is_file():
                violations.append(f"{what}: did not go on")
                continue
            found = seen(folder)
            violations += [f"{what}: other {key}" for key in want if found[key] != want[key]]
            violations += [f"{what}: left over {name}" for name in leftovers(folder)]
        shutil.rmtree(root / "default", ignore_errors=True)
        print(f"{what}: {trial.status}", *violations[known:], sep="\n  ", file=sys.stderr)
    return {"signals": num_signals, **done, "violations": violations}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signals", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    one_thread()
    # Started in the background (nohup, a script's &) this ignores SIGINT, and so would all it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as root:
        figures = attack(Path(root), chosen.signals, random.Random(chosen.seed))
    print(json.dumps(figures, indent=1))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
