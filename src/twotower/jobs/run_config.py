"""All settings of a run, typed, and their validation."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import PrivateAttr

from twotower.config.choice_context import ChoiceContext
from twotower.config.problems import Problem, raise_problems
from twotower.config.reading import read
from twotower.config.run_keys import MEAN_VALID, WARM_START, RunKeys, WarmStartKey
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.baselines.baseline import Baselines
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.item_content import has_content
from twotower.evaluation.user_values import metric_name
from twotower.experiments.runs.benchmark import Benchmark, contract_problems
from twotower.experiments.runs.folder_name import output_folder_problems
from twotower.index.index import Index
from twotower.model.losses.loss import Loss
from twotower.model.towers.two_tower import TwoTowerConfig
from twotower.parallel.row_wise_table import INSTALL, is_torchrec_installed
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.tracker import Tracker
from twotower.training.trainer import TrainerChoice
from twotower.training.training_config import TrainingConfig


class RunConfig(RunKeys, TrainingConfig):
    """Settings of a single run."""

    data: Source.Config
    split: Split.Config
    index: Index.Config
    metrics: Evaluator.Config
    baselines: Baselines
    benchmark: Benchmark | None = None
    tracker: Tracker.Config | None = None
    _settings: dict[str, Any] = PrivateAttr(default_factory=dict)
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def composed(cls, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> "RunConfig":
        """Read the typed settings of a run from valid plain values. Raises InputError for a wrong key."""
        kind = WarmStartRunConfig if WARM_START in settings else RunConfig
        return kind.from_settings(settings).with_origin(settings, overrides)

    def with_origin(self, settings: Mapping[str, Any], overrides: Sequence[str]) -> "RunConfig":
        """Return these settings with the plain values and overrides from which they were read."""
        kind = WarmStartRunConfig if isinstance(self, WarmStartKey) else RunConfig
        values = {name: getattr(self, name) for name in kind.model_fields}
        config = kind.model_construct(self.model_fields_set & values.keys(), **values)
        config._settings, config._overrides = dict(settings), tuple(overrides)
        return config

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values as composed and as in config.yaml."""
        return self._settings or self.plain()

    @property
    def overrides(self) -> tuple[str, ...]:
        """Overrides as typed."""
        return self._overrides

    @property
    def rebuilds_bundle(self) -> bool:
        """Whether the towers of another run get a bundle, without training."""
        return isinstance(self, WarmStartKey) and not self.warm_start.epochs

    @property
    def is_test_hidden(self) -> bool:
        """Whether nothing may be computed on the test split."""
        return self.test == "hidden"

    def cross_choice_problems(self, num_items: int | None = None) -> Iterator[Problem]:
        """Yield the problems between choices; fields that could not be read count as unknown.

        The size of the catalogue is None before the data is read.
        """
        known = {name: getattr(self, name) for name in RunConfig.model_fields if hasattr(self, name)}
        if "data" in known:
            known["columns"] = self.data.columns()  # reads the headers of files
            num_items = self.data.catalogue_size() if num_items is None else num_items
        yield from contract_problems(self.settings)
        if known.keys() >= TwoTowerConfig.model_fields.keys():
            known["towers"] = self
        if "features" in known:
            known["has_content"] = has_content(self.features.item)
        if known.keys() >= {"history", "features"}:
            known["block_names"] = self.block_names()
        if known.keys() >= {"history", "features", "item_bias"}:
            known["sparse_keys"] = self.sparse_keys()
            if "embedding_dim" in known:
                yield from (Problem(key, message) for key, message in self.input_problems())
        known["monitored"] = self._monitored()
        yield from self._process_problems(known.get("loss"), known.get("objective"))
        for key, choice in self.choices():
            if key.partition(".")[0] not in RunConfig.model_fields:  # of a sweep, which checks its own
                continue
            for field, message in choice.problems(ChoiceContext(known, key, num_items)):
                yield Problem(f"{key}.{field}" if field else key, message)

    def _process_problems(
        self, loss: Loss.Config | None, objective: Objective.Config | None
    ) -> Iterator[Problem]:
        """Yield what several processes cannot train."""
        trainer: TrainerChoice.Config | None = getattr(self, "trainer", None)
        number = 1 if trainer is None else trainer.num_processes
        if number > 1 and loss is not None and loss.compares_examples:
            text = "compares the examples of a batch, so one process trains it; set trainer.devices=1"
            yield Problem("loss", text)
        if objective is not None and objective.batch_size < number:
            text = f"{objective.batch_size} examples do not suffice for {number} processes; raise it"
            yield Problem("objective.batch_size", text)
        optimizer: OptimizerChoice.Config | None = getattr(self, "optimizer", None)
        for key in self.row_wise_keys() if hasattr(self, "features") else ():
            if optimizer is not None and not optimizer.takes_row_wise:
                text = f"{key}=true needs optimizer=rowwise_adagrad; set that, or {key}=false"
                yield Problem("optimizer", text)
            if number > 1 and not is_torchrec_installed():
                yield Problem(key, f"needs TorchRec for several processes: {INSTALL}")
            if trainer is not None and trainer.accelerator != "cpu":
                yield Problem(key, "tables are divided on CPUs only; set trainer.accelerator=cpu")

    def evaluated_metrics(self) -> Evaluator.Config:
        """Return the metrics without metrics of probabilities if the loss trains none."""
        if self.loss.trains_probabilities:
            return self.metrics
        kinds = {
            name: kind
            for name, kind in self.metrics.kinds.items()
            if not getattr(kind.owner, "reads_probabilities", False)
        }
        return self.metrics.model_copy(update={"kinds": kinds})

    def _monitored(self) -> dict[str, bool | None] | None:
        """Return the metrics that `trainer.monitor` may name; None if the metrics are not known."""
        metrics: Evaluator.Config | None = getattr(self, "metrics", None)
        split: Split.Config | None = getattr(self, "split", None)
        if metrics is None:
            return None
        metrics = self.evaluated_metrics() if hasattr(self, "loss") else metrics
        prefixes = ["valid/", MEAN_VALID] if split is not None and split.windows() else ["valid/"]
        ways = metrics.higher_is_better()
        return {f"{prefix}{key}": ways[metric_name(key)] for prefix in prefixes for key in metrics.keys()}  # noqa: SIM118

    def with_epoch_monitor(self) -> Self:
        """Return these settings with the metric that chooses the epoch in `trainer.monitor`."""
        trainer = self.trainer.model_copy(
            update={"monitor": self.trainer.monitor.replace(MEAN_VALID, "valid/")}
        )
        return self.model_copy(update={"trainer": trainer})


class WarmStartRunConfig(RunConfig, WarmStartKey):
    """Settings of a run that starts from the towers of another run."""


def checked_run(
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
    what: str = "the configuration",
    unused: Collection[str] = (),
) -> RunConfig:
    """Read and validate settings of a run. Raises InputError with all mistakes; `what` names the settings.

    Conflicts of the keys in `unused` with other choices do not matter, because the job does not read them.
    """
    config, found = read(WarmStartRunConfig if WARM_START in settings else RunConfig, settings)
    between = [problem for problem in config.cross_choice_problems() if problem.key not in unused]
    raise_problems([*found, *output_folder_problems(settings), *between], what)
    return config.with_origin(settings, overrides)
