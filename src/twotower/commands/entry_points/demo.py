"""Show the life of a model on the bundled data: train, index, check, recommend, take in a new item, serve.

  twotower demo                     about a minute of training, then a day of its bundle
  twotower demo embedding_dim=32    with anything that `twotower train` takes
The run goes to outputs/demo/.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from twotower.config.exits import exit_on_signals

if TYPE_CHECKING:
    from twotower.pipeline.run_config import RunConfig

SERVICE = ("fastapi", "uvicorn")


def task(config: "RunConfig", overrides: Sequence[str]) -> int:
    """Train, then tell the story of the run."""
    from twotower.commands.entry_points import train
    from twotower.config.exits import DONE, stoppable

    status = train.task(config, overrides)
    if status != DONE:
        return status
    from twotower.commands.demo.bundle_demo import life
    from twotower.commands.demo.service_demo import day

    folder = Path(config.output_root) / config.name
    with stoppable(lambda: f"the run is in {folder}"):
        life(folder)
        if all(map(find_spec, SERVICE)):
            day(folder)
        else:
            print("\nthe service, too: pip install 'twotower[serve]', then twotower demo again")
    return DONE


def run() -> None:
    """Run this command and leave with its exit status."""
    exit_on_signals()  # first of all: the rest takes a while to import
    from twotower.commands.run_command import run_command

    sys.argv.insert(1, "name=demo")
    run_command("train", task, __doc__ or "")
