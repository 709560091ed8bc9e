"""All settings of the commands that have groups."""

from twotower.commands.command_keys import DerivedRunKeys, TrainKeys, WarmStartKeys
from twotower.config.component import Config
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.baselines.baseline import Baselines
from twotower.evaluation.evaluator import Evaluator
from twotower.index.index import Index
from twotower.launchers.launcher import Launcher
from twotower.losses.loss import Loss
from twotower.negatives.sampler import NegativeSampler
from twotower.pipeline.run_config import RunConfig
from twotower.sweeps.sweep import Sweep
from twotower.training.objectives.objective import Objective
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.trainer import TrainerChoice


class TrainSettings(TrainKeys, RunConfig):
    """Settings of `twotower train`: of one run, or of a sweep."""

    sweep: Sweep.Config | None = None
    launcher: Launcher.Config


class RebuildBundleSettings(DerivedRunKeys):
    """Settings of `twotower train rebuild_bundle=RUN`."""

    data: Source.Config
    split: Split.Config
    index: Index.Config
    metrics: Evaluator.Config
    baselines: Baselines


class WarmStartSettings(WarmStartKeys, RebuildBundleSettings):
    """Settings of `twotower train warm_start=RUN`."""

    objective: Objective.Config
    negatives: NegativeSampler.Config
    loss: Loss.Config
    optimizer: OptimizerChoice.Config
    trainer: TrainerChoice.Config


class ReindexSettings(DerivedRunKeys):
    """Settings of `twotower reindex`."""

    index: Index.Config


class EvaluateSettings(DerivedRunKeys):
    """Settings of `twotower evaluate`."""

    metrics: Evaluator.Config
    baselines: Baselines


SETTINGS: dict[str, type[Config]] = {
    "train": TrainSettings,
    "warm_start": WarmStartSettings,
    "rebuild_bundle": RebuildBundleSettings,
    "reindex": ReindexSettings,
    "evaluate": EvaluateSettings,
}
"""Command or mode of `train` -> class of its settings."""
