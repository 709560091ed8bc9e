"""Settings of `twotower train`; importing them imports torch."""

from twotower.commands.command_keys import TrainKeys
from twotower.launchers.launcher import Launcher
from twotower.pipeline.run_config import RunConfig
from twotower.sweeps.sweep import Sweep


class TrainSettings(TrainKeys, RunConfig):
    """Settings of `twotower train`: of one run, or of a sweep."""

    sweep: Sweep.Config | None = None
    launcher: Launcher.Config
