"""The two phases of a training: choose on the validation split, then fit again on all before the test."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from twotower.config.errors import InputError
from twotower.config.spec import build
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.encode import encode_catalogue
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.predict import rank_all
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.report import Report
from twotower.files.atomic import write_text_atomically
from twotower.index.index import Index
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.curves import Watch
from twotower.training.callbacks.index import BuildIndex
from twotower.training.callbacks.keep import FINAL
from twotower.training.callbacks.rehearsal import Rehearsal
from twotower.training.checkpoints import read_checkpoint, unusable
from twotower.training.examples import TrainBatches
from twotower.training.fit import Fitted, fit
from twotower.training.module import RetrievalModule
from twotower.training.parts import build_batches, build_module
from twotower.training.trainer import TrainerChoice

LOG = logging.getLogger("twotower")
FIT, REFIT = "fit", "refit"
MANY_EMPTY = 0.8


@dataclass(frozen=True)
class Trained:
    """Towers, how they came about and how they did on the validation split.

    Attributes:
        model: with the weights that are indexed and served.
        valid: evaluates the best checkpoint of the first phase, which never saw the validation split.
        epochs: the best checkpoint's.
        refit: whether the weights are from the second phase.
        seconds: of both phases.
        interactions: examples of both phases.
        curves: of the first phase, key -> one value an epoch.
        epoch_steps: of the first phase; see `Fitted`.
    """

    model: TwoTower
    valid: Callable[[], Report]
    epochs: int
    refit: bool
    seconds: float
    interactions: int
    curves: dict[str, list[float]]
    epoch_steps: int


def train_towers(
    settings: Mapping[str, Any],
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    folder: Path,
    index_catalogue: Callable[[TwoTower], None],
    watch: Watch | None = None,
) -> Trained:
    """Train, choosing the epoch on the validation split; refit on train + valid if the settings say so.

    A phase that ended before is not run again, one that was interrupted goes on from its last checkpoint.

    Args:
        settings: plain checked values.
        dataset: split and encoded.
        evaluator: of the validation split.
        folder: the run's.
        index_catalogue: called with the final weights at the end of the last phase.
        watch: is shown the monitored metric after each epoch of the first phase; may stop the training.

    Raises:
        Pruned: the watcher did.
    """
    choice = build(settings["trainer"], TrainerChoice)
    choice.progress_bar &= settings["console"] == "rich"
    batches = build_batches(settings, dataset.train)
    module = build_module(settings, dataset, dataset.train, len(batches), evaluator)
    index = Index.Config.model_validate(settings["index"])
    callbacks: list[Callback] = [Rehearsal(index, settings["embedding_dim"], len(dataset.items), batches)]
    last = BuildIndex(index_catalogue)
    warn_of_empty_histories(batches)
    same_data(folder, dataset.fingerprint)
    callbacks += [] if choice.refit else [last]
    fitted = run_phase(FIT, module, batches, choice, folder, callbacks, watch=watch)
    if choice.refit:
        log = dataset.train_and_valid
        batches = build_batches(settings, log)
        module = build_module(settings, dataset, log, len(batches), None)
        run_phase(REFIT, module, batches, choice, folder, [last], fitted.epochs)
    return trained_before(settings, dataset, evaluator, folder)


def trained_before(
    settings: Mapping[str, Any], dataset: RetrievalDataset, evaluator: Evaluator, folder: Path
) -> Trained:
    """Load the towers of a run whose phases have ended.

    Args:
        settings: plain checked values that shape training as the run's did.
        dataset: the one it was trained on.
        evaluator: of the validation split.
        folder: of the run; only read.
    """
    refit = build(settings["trainer"], TrainerChoice).refit
    first, *again = [read_phase(folder, name) for name in (FIT, REFIT)[: 1 + refit]]

    def chosen() -> TwoTower:
        module = build_module(settings, dataset, dataset.train, 1, evaluator)
        load_weights(module, folder, FIT)
        return module.model.eval()

    def fitted_again() -> TwoTower:
        module = build_module(settings, dataset, dataset.train_and_valid, 1, None)
        load_weights(module, folder, REFIT)
        return module.model.eval()

    return Trained(
        fitted_again() if refit else chosen(),
        lambda: evaluate_valid(chosen(), dataset, evaluator),
        first.epochs,
        refit,
        sum(phase.seconds for phase in [first, *again]),
        sum(phase.interactions for phase in [first, *again]),
        first.curves,
        first.epoch_steps,
    )


def warn_of_empty_histories(batches: TrainBatches) -> None:
    """Say it when most examples have no history, which serving would not match."""
    share = batches.share_without_history()
    if share > MANY_EMPTY:
        LOG.warning(
            "warning: %.0f %% of the training examples have no history; with coarse or equal timestamps set "
            "history.strict=false",
            100 * share,
        )


def same_data(folder: Path, fingerprint: str) -> None:
    """Remember what data a run is trained on; a resumed run must find the same.

    Raises:
        InputError: it was begun on other data.
    """
    path = folder / "checkpoints" / "data_fingerprint"
    if path.is_file() and path.read_bytes() != fingerprint.encode():
        raise InputError(
            f"{folder}: was begun on other data (content or split has changed); bring the data back, or "
            "train again"
        )
    write_text_atomically(path, fingerprint)


def run_phase(
    name: str,
    module: RetrievalModule,
    batches: TrainBatches,
    choice: TrainerChoice,
    folder: Path,
    callbacks: list[Callback],
    epochs: int | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Run a phase, or read how it went if it ended in an earlier process."""
    if _final(folder, name).is_file():
        LOG.info("%s had ended before", name)
        return read_phase(folder, name)
    return fit(module, batches, choice, folder, name, callbacks, epochs, watch)


def read_phase(folder: Path, name: str) -> Fitted:
    """Read how a phase went that has ended.

    Raises:
        InputError: its checkpoint is damaged, or another one.
    """
    path = _final(folder, name)
    try:
        return Fitted(**read_checkpoint(path)["fitted"])
    except (KeyError, TypeError) as error:
        raise unusable(path, "does not say how a fit went") from error


def load_weights(module: RetrievalModule, folder: Path, name: str) -> None:
    """Load the weights a phase ended with: its best, or its last where nothing was monitored."""
    module.load_state_dict(read_checkpoint(_final(folder, name), module.device)["state_dict"])


def _final(folder: Path, name: str) -> Path:
    return folder / "checkpoints" / name / FINAL


def evaluate_valid(model: TwoTower, dataset: RetrievalDataset, evaluator: Evaluator) -> Report:
    """Evaluate on the validation split."""
    items = encode_catalogue(model)
    _, top = rank_all(model, items, dataset.valid, evaluator.max_k, evaluator.config.filter_seen)
    return evaluator.evaluate(top, dataset.valid, item_popularity(dataset.train, len(items)))
