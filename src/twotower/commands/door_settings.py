"""All settings of the doors that have choices."""

from twotower.commands.doors import AgainKeys, TrainKeys
from twotower.evaluation.baselines.baseline import Baseline
from twotower.evaluation.evaluator import Evaluator
from twotower.index.index import Index
from twotower.launchers.launcher import Launcher
from twotower.pipeline.run_config import RunConfig
from twotower.sweeps.sweep import Sweep


class TrainSettings(TrainKeys, RunConfig):
    """Of scripts/train.py: one run, or what its sweep varies."""

    sweep: Sweep.Config | None = None
    launcher: Launcher.Config


class ReindexSettings(AgainKeys):
    """Of scripts/reindex.py."""

    index: Index.Config


class EvaluateSettings(AgainKeys):
    """Of scripts/evaluate.py."""

    metrics: Evaluator.Config
    baselines: dict[str, Baseline.Config]
