"""Read, check and split data and store it for `twotower train`; several machines can share the reading.

  twotower build_data data=shop split=temporal
  twotower build_data data=shop out=log_parts shard=3/16     # machine 3 of 16 reads its share of a long log
  twotower build_data data=shop split=temporal parts=log_parts

The data set is the same to the last bit. `twotower train` with the same keys of data and split opens it. See
docs/processes.md.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OWN_KEYS = ("shard", "out", "parts", "debug")


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Build the data set or a part of it."""
    from twotower.config.exits import stoppable
    from twotower.config.problems import raise_problems
    from twotower.data.sources.source import Source
    from twotower.data.splits.split import Split
    from twotower.files.shards import Shard
    from twotower.pipeline.store_data import setting_problems, store_data, store_part
    from twotower.reports.console.console import logging_console

    data = Source.Config.from_spec(settings["data"], "data")
    split = Split.Config.from_spec(settings["split"], "split")
    shard = None if settings["shard"] is None else Shard.parse(settings["shard"])
    out, parts = (None if settings[key] is None else Path(settings[key]) for key in ("out", "parts"))
    raise_problems(setting_problems(data, split, shard, out, parts))
    typed = [text for text in overrides if text.partition("=")[0] not in OWN_KEYS]
    root = Path(settings["output_root"])
    with logging_console() as console, stoppable(lambda: "nothing was written; type the command again"):
        if shard is not None and out is not None:
            return store_part(data, shard, out)
        command = shlex.join(["twotower", "build_data", *typed])
        return store_data(data, split, root, parts, command, console)
