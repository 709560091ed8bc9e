"""What a command costs before and beside its work; about two minutes.

  python scripts/bench/startup.py                   this checkout
  python scripts/bench/startup.py --against PATH    the same of another checkout, in turn

Processor seconds of `--help`, of overrides that are refused, and of a default run of one epoch: what of it is
import, and what is neither import nor training, indexing or evaluation."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write

HERE = Path(__file__).parents[2]
REFUSED = {
    "--help": ["--help"],
    "misspelt key of the run": ["negatves=uniform"],
    "misspelt key of a choice": ["loss.temprature=1"],
    "three misspelt": ["negatves=uniform", "trainer.max_epoch=3", "loss.temprature=1"],
    "ill-typed": ["loss.temperature=warm"],
    "choices that do not fit": ["loss=bce", "negatives=impressions"],
}
SHORT = ["console=quiet", "trainer.max_epochs=1", "cache=false", "reuse=false"]
WATCHED = """
import functools, json, sys, time
began = time.process_time()
from twotower.commands import run_command
from twotower.commands.command_keys import settings_class
settings_class("train")
from twotower import job
from twotower.jobs import obtain_towers, quality, train_run as train
from twotower.training import train_towers
imported = time.process_time()
inside, depth = 0.0, 0
def watched(call):
    @functools.wraps(call)
    def timed(*given, **named):
        global inside, depth
        depth, at = depth + 1, time.process_time()
        try:
            return call(*given, **named)
        finally:
            depth -= 1
            inside += 0.0 if depth else time.process_time() - at
    return timed
for module, name in [(train_towers, "fit"), (train_towers, "evaluate_towers"), (job, "index_model"),
                     (quality, "evaluate_towers"), (obtain_towers, "validate_baselines"),
                     (job, "evaluate_baselines")]:
    setattr(module, name, watched(getattr(module, name)))
try:
    run_command.run_command("train", lambda config, _: train.train_in_new_folder(config)[1], "")
finally:
    ended = time.process_time()
    print(json.dumps({"imports": imported, "inside": inside, "beside": ended - imported - inside}))
"""


def environment(checkout: Path) -> dict[str, str]:
    """Return what makes a process run a checkout."""
    return os.environ | {"PYTHONPATH": str(checkout / "src")}


def refused(checkout: Path, arguments: list[str]) -> float:
    """Return the processor seconds of a command that begins nothing."""
    command = [sys.executable, str(checkout / "scripts" / "train.py"), *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment(checkout), capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def short_run(checkout: Path) -> dict[str, float]:
    """Return the processor seconds of a default run of one epoch, by what they were spent on."""
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-c", WATCHED, *SHORT, f"output_root={root}"]
        done = subprocess.run(
            command, cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=True
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every command three times, the checkouts in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    sides = {"here": HERE} | ({"there": arguments.against.resolve()} if arguments.against else {})
    found: dict[str, dict[str, list[float]]] = {}
    began = time.perf_counter()
    for _ in range(arguments.times):
        for side, checkout in sides.items():
            for name, typed in REFUSED.items():
                found.setdefault(name, {}).setdefault(side, []).append(refused(checkout, typed))
            for name, seconds in short_run(checkout).items():
                found.setdefault(f"run: {name}", {}).setdefault(side, []).append(seconds)
    figures = {
        name: {side: round(statistics.median(each), 3) for side, each in of.items()}
        for name, of in found.items()
    }
    print(f"{'processor seconds':28}" + "".join(f"{side:>9}" for side in sides))
    for name, of in figures.items():
        print(f"{name:28}" + "".join(f"{of[side]:9.2f}" for side in sides))
    print(f"load {os.getloadavg()[0]:.1f}, {time.perf_counter() - began:.0f} s")
    print(write("startup", figures))


if __name__ == "__main__":
    main()
