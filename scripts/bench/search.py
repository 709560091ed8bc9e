"""Does TPE with pruning find at least the best of a random search of twice its budget (default data set)?

  python scripts/bench/search.py                         everything, an hour and a half on one core
  python scripts/bench/search.py --only random --seeds 0 1   a part of it, for another process to use

The budget is counted in trained epochs, a pruned trial's included. Both searches are the sweeps themselves
(`sweep=tpe`, `sweep=random`: their spaces, samplers, pruner and study); only the jobs are stripped to the
training and its validation after each epoch. What an epoch reached is kept on disk by configuration, so that
a configuration is trained once, however often it is asked for; started again, the script goes on. What counts
is the best validation metric: of TPE over its complete trials, of random search over every epoch it paid for.
"""

import argparse
import hashlib
import json
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import twotower  # noqa: F401  # sets threads before torch loads
from twotower.commands.compose import checked
from twotower.commands.conf import plain_file
from twotower.commands.overrides import parse_axis
from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import RetrievalDataset
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.evaluator import Evaluator
from twotower.files.atomic import write_text_atomically
from twotower.runs.result import Result, Status
from twotower.sweeps.job import Job, SweepContext
from twotower.sweeps.pruning import make_pruning_callback
from twotower.sweeps.search import Search
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import TrainContext, fit
from twotower.training.parts import build_batches, build_module
from twotower.training.training_config import TrainingConfig

MONITOR = "valid/recall_at_20"
OTHER_METRICS = ("ndcg", "mrr", "hit_rate", "precision", "map", "novelty", "coverage", "gini")
FIXED = (
    "negatives=in_batch",
    "history.length=100",
    "trainer.refit=false",
    "trainer.max_epochs=12",
    "trainer.patience=4",
    "trainer.checkpoint_every_steps=1000000",
    "metrics.num_bootstrap=0",
    "metrics.ks=[20]",
    *(f"~metrics.kinds.{kind}" for kind in OTHER_METRICS),
)
Stop = Callable[[int, float], bool]


def no_index(*_: object) -> NoReturn:
    raise AssertionError("a bench builds no index")


class Curves:
    """Validation curves by configuration, trained where they are not known yet.

    Args:
        folder: keeps them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_trained, self.seconds = 0, 0.0
        self.data: tuple[RetrievalDataset, Evaluator] | None = None

    def play(self, job: Job, stop: Stop) -> tuple[list[float], bool]:
        """Return the metric after each epoch, and whether `stop` ended it."""
        varied = sorted(text for text in job.overrides if text not in FIXED)
        path = self.folder / f"{hashlib.sha256(chr(10).join(varied).encode()).hexdigest()[:24]}.json"
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            for epoch, value in enumerate(kept["curve"]):
                if stop(epoch, value):
                    return kept["curve"][: epoch + 1], True
            if kept["ended"]:
                return kept["curve"], False
        began = time.perf_counter()
        curve, stopped = self._train(job.settings, stop)
        seconds = time.perf_counter() - began
        self.num_trained, self.seconds = self.num_trained + len(curve), self.seconds + seconds
        kept = {"overrides": varied, "curve": curve, "ended": not stopped, "seconds": seconds}
        write_text_atomically(path, json.dumps(kept))
        return curve, stopped

    def _train(self, settings: Any, stop: Stop) -> tuple[list[float], bool]:
        import torch

        torch.set_num_threads(1)
        if self.data is None:
            source, split = (
                Source.Config.model_validate(settings["data"]).build(),
                Split.Config.model_validate(settings["split"]).build(),
            )
            dataset = build_dataset(source, split, self.folder / ".cache")
            self.data = dataset, Evaluator.Config.model_validate(settings["metrics"]).build()
        curve: list[float] = []

        def seen(epoch: int, value: float | None) -> bool:
            if value is None:  # asked in the midst of an epoch
                return False
            curve.append(value)
            return stop(epoch, value)

        dataset, evaluator = self.data
        config = TrainingConfig.from_settings(settings)
        batches = build_batches(config, dataset.train)
        module = build_module(config, dataset, dataset.train, len(batches), evaluator)
        with tempfile.TemporaryDirectory() as folder:
            try:
                context = TrainContext(config.trainer, Path(folder), no_index, seen)
                fit(context, module, batches, "fit")
            except TrialPruned:
                return curve, True
            except InputError:  # it diverged: what it reached until then stands
                pass
        return curve, False


@dataclass
class Spent:
    """How far a search has come.

    Attributes:
        budget: epochs it may train.
        epochs: trained so far.
        trials: begun.
        pruned: of them.
        best: metric it would hand to the user.
    """

    budget: int
    epochs: int = 0
    trials: int = 0
    pruned: int = 0
    best: float = 0.0


def run(search: Search.Config, vary: dict[str, str], folder: Path, curves: Curves, budget: int) -> Spent:
    """Run a search from its start until its budget is spent."""
    shutil.rmtree(folder, ignore_errors=True)
    axes = tuple(parse_axis(key, text) for key, text in vary.items())
    request = SweepContext(folder, axes, FIXED, lambda texts: checked("train", texts), False, MONITOR)
    plan, spent = search.build(request), Spent(budget)
    while spent.epochs < budget and (job := plan.next([])) is not None:
        assert job.trial is not None
        is_hopeless, left = make_pruning_callback(job.trial), budget - spent.epochs

        def stop(epoch: int, value: float, left: int = left, is_hopeless: Stop = is_hopeless) -> bool:
            return is_hopeless(epoch, value) or epoch + 1 >= left

        curve, stopped = curves.play(job, stop)
        spent.epochs, spent.trials = spent.epochs + len(curve), spent.trials + 1
        spent.pruned += stopped
        if not stopped or search.pruner == "none":
            spent.best = max(spent.best, *curve)
        status: Status = "pruned" if stopped else "ok" if curve else "failed"
        plan.ended(job, Result(status=status, metrics={MONITOR: max(curve, default=0.0)}))
    return spent


def searches(seed: int, tpe: dict[str, Any]) -> dict[str, Search.Config]:
    """Return both, as their YAMLs are."""
    found = {}
    for name, changes in (("tpe", tpe), ("random", {})):
        spec = plain_file(f"sweep/{name}")
        found[name] = Search.Config.model_validate(spec | changes | {"seed": seed, "num_trials": 1000})
    return found


def main() -> None:
    """Run all that was asked for, and say who won."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("outputs/bench_search"))
    parser.add_argument(
        "--budget",
        type=int,
        default=280,
        help="epochs of TPE, about its 40 trials; random search has twice as many",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", choices=["tpe", "random"])
    parser.add_argument("--pruner", choices=["median", "hyperband", "none"], default=None)
    given = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    curves, rows = Curves(given.folder / "curves"), []
    budgets = {"tpe": given.budget, "random": 2 * given.budget}
    changes = {"pruner": given.pruner} if given.pruner else {}
    for seed in given.seeds:
        row: dict[str, Any] = {"seed": seed}
        for name, search in searches(seed, changes).items():
            if given.only in (None, name):
                folder = given.folder / f"{name}_{seed}"
                row[name] = vars(run(search, search.vary or {}, folder, curves, budgets[name]))
                print(f"seed {seed}  {name:6}  {row[name]}", flush=True)
        rows.append(row)
    print(f"trained here: {curves.num_trained} epochs in {curves.seconds:.0f} s")
    if given.only is None:
        finalize(rows, given.folder / "result.json")


def finalize(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Print and keep who found more."""
    wins = 0
    for row in rows:
        row["tpe_at_least_random"] = row["tpe"]["best"] >= row["random"]["best"]
        wins += row["tpe_at_least_random"]
        print(f"seed {row['seed']}  tpe {row['tpe']['best']:.5f}  random {row['random']['best']:.5f}")
    means = {name: statistics.fmean(row[name]["best"] for row in rows) for name in ("tpe", "random")}
    print(f"{wins} of {len(rows)} seeds: TPE at least as good; means {means}")
    whole = {"monitor": MONITOR, "fixed": FIXED, "seeds": rows, "wins": wins, "means": means}
    write_text_atomically(path, json.dumps(whole, indent=2))


if __name__ == "__main__":
    main()
