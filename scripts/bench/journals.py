"""Does a damaged study make a search fail without saying which file, or go on for ever?

  python scripts/bench/journals.py --journals 600

The journal of a search that was stopped is cut, its bytes are flipped or added to, its lines lost, doubled or
changed about, and the search is gone on with. It must end with its trials, or refuse with the file's name. No
tower is trained. The exit status is 1 where anything else came of it.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twotower.commands.overrides import parse_axis
from twotower.config.errors import InputError
from twotower.runs.result import Result
from twotower.sweeps.job import Job, SweepContext
from twotower.sweeps.random_search import RandomSearch
from twotower.sweeps.sweep import Sweep

MONITOR, NUM_TRIALS, MOST = "valid/recall_at_20", 4, 12
GOOD = ("went on", "was refused")
VARY = {"optimizer.learning_rate": "tag(log, interval(1e-4, 1.0))", "embedding_dim": "16,32,64,128"}


def settings_of(overrides: Sequence[str]) -> dict[str, Any]:
    kinds = {"recall": {"_target_": "twotower.metrics.recall.Recall"}}
    metrics = {"_target_": "twotower.evaluation.evaluator.Evaluator", "ks": [20], "kinds": kinds}
    trainer = {"_target_": "twotower.training.trainer.TrainerChoice"}
    varied = dict(text.split("=", 1) for text in overrides)
    return {**varied, "reuse": True, "metrics": metrics, "trainer": trainer}


def plan_of(folder: Path) -> Sweep:
    axes = tuple(parse_axis(key, text) for key, text in VARY.items())
    return RandomSearch.Config(num_trials=NUM_TRIALS).build(
        SweepContext(folder, axes, (), settings_of, False, MONITOR)
    )


def run(plan: Sweep, most: int) -> int:
    """Run so many jobs at most; with one running, a plan does not wait for who may be dead."""
    number = 0
    running: list[Job] = []
    while number < most and (job := plan.next(running)) is not None:
        plan.ended(job, Result(status="ok", metrics={MONITOR: 0.5}))
        number, running = number + 1, [job]
    return number


def damaged(journal: bytes, rng: random.Random) -> tuple[str, bytes]:
    at, lines = rng.randrange(len(journal)), journal.splitlines(keepends=True)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    ways = {
        "cut": journal[:at],
        "byte flipped": journal[:at] + rng.randbytes(1) + journal[at + 1 :],
        "bytes added": journal[:at] + rng.randbytes(5) + journal[at:],
        "line lost": b"".join(lines[:one] + lines[one + 1 :]),
        "line doubled": b"".join([*lines[:one], lines[other], *lines[one:]]),
        "line moved": b"".join([*lines[:one], *lines[one + 1 :], lines[one]]),
    }
    way = rng.choice(list(ways))
    return way, ways[way]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--journals", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, counts, wrong = random.Random(asked.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as root:
        first = Path(root) / "search" / "random"
        run(plan_of(first), most=2)
        journal = (first / "study.journal").read_bytes()
        for number in range(asked.journals):
            folder = Path(root) / "search" / str(number)
            folder.mkdir()
            way, content = damaged(journal.replace(b"search/random", f"search/{number}".encode()), rng)
            (folder / "study.journal").write_bytes(content.replace(bytes(first), bytes(folder)))
            try:
                outcome = "went on" if run(plan_of(folder), MOST) < MOST else "went on for ever"
            except InputError as error:
                outcome = "was refused" if "study" in str(error) else f"was refused without a name: {error}"
            except Exception as error:
                outcome = f"failed: {type(error).__name__}: {error}"
            counts[f"{way}: {outcome}"] += 1
            wrong += outcome not in GOOD
    for text, count in sorted(counts.items()):
        print(f"{count:6}  {text}")
    print(f"{wrong} of {asked.journals} neither went on nor were refused by name")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
