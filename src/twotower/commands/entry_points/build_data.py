"""Read, check and split data, and store the data set for `twotower train`.

  twotower build_data data=shop split=temporal
  twotower build_data data=table_files data.interactions_path=log split=leave_one_out

`twotower train` with the same keys of data and split opens it. See docs/processes.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Build the data set."""
    from twotower.config.exits import stoppable
    from twotower.data.sources.source import Source
    from twotower.data.splits.split import Split
    from twotower.pipeline.store_data import store_data
    from twotower.reports.console.console import logging_console

    data = Source.Config.from_spec(settings["data"], "data")
    split = Split.Config.from_spec(settings["split"], "split")
    with logging_console() as console, stoppable(lambda: "nothing was written; type the command again"):
        return store_data(data, split, Path(settings["output_root"]), console)
