"""Kills a small training at file events and random moments, and continues it: as one that was left alone.

An undisturbed run writes its file events down: each rename of a checkpoint, a table, the bundle or the
result, before it and after it. Another run is killed with SIGKILL at some of them, and must have the same
result, curves, towers and TensorBoard scalars, with no file left over. Prints
JSON; `test_end_to_end_training_kills.py` runs this file as a process.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = [
    "data=synthetic",
    "data.num_users=120",
    "data.num_items=60",
    "data.num_interactions=1500",
    "objective.batch_size=32",
    "objective.epoch_requests=128",
    "embedding_dim=8",
    "user_tower.widths=[8]",
    "item_tower.widths=[8]",
    "optimizer.learning_rate=0.05",
    "metrics.num_bootstrap=100",
    "metrics.ks=[10,20]",
    "index=flat_ip",
    *("baselines=all_time", "~baselines.ease", "~baselines.item_knn", "~baselines.content_knn"),
    *("baselines.tune=false", "metrics.importance_repeats=0"),
    "console=quiet",
    "reuse=false",
    "trainer.progress_bar=false",
]
"""Four batches an epoch."""

SHORT = ["trainer.max_epochs=1", "trainer.checkpoint_every_steps=4", "initialization=random"]
DIED, MAX_KILLS = -int(signal.SIGKILL), 3
SEEN = ("metrics", "curves", "training", "intervals")


def in_a_child(work: Callable[[], object], log: Path, kill_after: float | None = None) -> int:
    """Run work in a fork, which prints to a file; returns its exit status, or minus what killed it."""
    child = os.fork()
    if child == 0:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        assert sys.__stdout__ is not None
        assert sys.__stderr__ is not None
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # whoever forks may have others
        try:
            status = work()
            os._exit(status if isinstance(status, int) else 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            os._exit(99)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def watched(work: Callable[[Path], int], folder: Path, last: int = 0, names: Path | None = None) -> int:
    """Work, and die by SIGKILL at the n-th file event, or write down what each of them is about."""
    happened = 0

    def event(target: Path) -> None:
        nonlocal happened
        happened += 1
        if names is not None:
            with names.open("a") as file:
                file.write(f"{target}\n")
        if happened == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def with_events(real: Callable[..., None]) -> Callable[..., None]:
        def call(source: Path, target: Path) -> None:
            event(target)
            real(source, target)
            event(target)

        return call

    os.replace, os.rename = with_events(os.replace), with_events(os.rename)
    return work(folder)


class Attack:
    """Runs of one training, in an empty folder."""

    def __init__(self, root: Path) -> None:
        from tiny_runs import job_settings

        self.root, self.number = root, 0
        self.settings = job_settings(*SMALL, *SHORT, f"output_root={root}")
        self.log = root / "log"
        self.violations: list[str] = []
        import torch

        if torch.cuda.is_available():  # of which a fork can make no use
            in_a_child(lambda: self.train(root / "first"), self.log)
        else:  # which builds the data, and imports what each fork would import again
            self.train(root / "first")
        names, began = root / "names", time.perf_counter()
        status = in_a_child(lambda: watched(self.train, root / "alone", names=names), self.log)
        self.seconds = time.perf_counter() - began
        assert status == 0, self.log.read_text()
        self.events = names.read_text().splitlines()
        self.expected = seen(root / "alone")

    def train(self, folder: Path) -> int:
        from twotower.jobs.run_config import RunConfig
        from twotower.jobs.train_run import train

        return train(RunConfig.composed(self.settings), folder)

    def go_on(self, folder: Path) -> int:
        """Resume a run, or begin it again where it was killed before it had a configuration."""
        from twotower.jobs.train_run import resume

        if (folder / "config.yaml").is_file():
            return resume(folder)
        shutil.rmtree(folder, ignore_errors=True)
        return self.train(folder)

    def violated(self, what: str) -> None:
        self.violations.append(what)
        print(self.violations[-1], file=sys.stderr)

    def at_every_event(self, only: str = "", every: int = 1) -> int:
        """Kill at each that is about a path with this in it; returns how many there were."""
        numbers = [number for number, name in enumerate(self.events, start=1) if only in name][::every]
        for number in numbers:
            folder = self.root / f"event_{number}"
            status = in_a_child(lambda: watched(self.train, folder, number), self.log)  # noqa: B023
            if status != DIED:
                self.violated(f"event {number}: exit status {status} before the kill")
            self.settle(folder, f"event {number}, {Path(self.events[number - 1]).name}")
        return len(numbers)

    def at_random(self, num_kills: int, rng: random.Random) -> int:
        """Kill at random moments, a run up to three times; returns how many kills found a living run."""
        done = 0
        while done < num_kills:
            self.number += 1
            folder = self.root / f"random_{self.number}"
            for _ in range(rng.randint(1, MAX_KILLS)):
                if in_a_child(lambda: self.go_on(folder), self.log, rng.uniform(0, self.seconds)) != DIED:  # noqa: B023
                    break
                done += 1
            self.settle(folder, f"random run {self.number}")
        return done

    def settle(self, folder: Path, what: str) -> None:
        """Go on with a run that was killed, and see whether it ended as it would have."""
        print(what, file=sys.stderr)
        ended = (folder / "result.json").is_file()
        status = 0 if ended else in_a_child(lambda: self.go_on(folder), self.log)
        if status:
            return self.violated(f"{what}: resume ended with {status}")
        for key, value in seen(folder).items():
            if value != self.expected[key]:
                self.violated(f"{what}: {key} {short(value)}, expected {short(self.expected[key])}")
        if not ended and (left := leftovers(folder)):
            self.violated(f"{what}: left over {left}")
        shutil.rmtree(folder)
        return None


def one_thread() -> None:
    """Import what a fork then need not, with one thread, since a fork has no other; children too."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    import twotower.jobs.train_run  # noqa: F401

    torch.set_num_threads(1)


def seen(folder: Path) -> dict[str, Any]:
    """Return what must be equal of two runs."""
    result = json.loads((folder / "result.json").read_text())
    vectors = (folder / "bundle" / "item_embeddings.npy").read_bytes()
    return {
        **{key: result[key] for key in SEEN},
        "towers": hashlib.sha256(vectors).hexdigest(),
        "scalars": scalars(folder),
    }


def scalars(folder: Path) -> dict[str, float]:
    """Return `tag step` -> value of a run's event files, timings left out; a later value counts."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    found: dict[str, float] = {}
    for file in sorted(folder.glob("*tfevents*"), key=lambda path: path.stat().st_mtime):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                timed = any(word in value.tag for word in ("seconds", "latency", "per_second", "bytes"))
                if value.metadata.plugin_data.plugin_name == "scalars" and not timed:
                    found[f"{value.tag} {event.step}"] = float(make_ndarray(value.tensor))
    return found


def leftovers(folder: Path) -> list[str]:
    """Return the hidden files of a run that no run should keep."""
    kept = {".run.lock"}
    return sorted(path.name for path in folder.rglob(".*") if path.name not in kept)


def short(value: Any) -> str:
    return text if len(text := str(value)) < 200 else f"{text[:200]}..."


def main() -> None:
    """Attack: every fourth event of a checkpoint, one kill at random."""
    one_thread()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as root:
        attack = Attack(Path(root))
        figures = {
            "file events": attack.at_every_event(".ckpt", 4),
            "random kills": attack.at_random(1, rng),
            "violations": attack.violations,
        }
    print(json.dumps(figures, indent=1))
    raise SystemExit(bool(attack.violations))


if __name__ == "__main__":
    main()
