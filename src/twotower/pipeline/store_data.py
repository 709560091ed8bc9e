"""The data set of a training, built before it."""

import logging
import time
from pathlib import Path

from twotower.config.exits import DONE
from twotower.config.problems import Problem, raise_problems
from twotower.data.audit import WARNING, audit_summary, audit_table
from twotower.data.build_dataset import build_dataset, cache_key
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.reports.console.console import Console

LOG = logging.getLogger("twotower")


def store_data(data: Source.Config, split: Split.Config, root: Path, console: Console) -> int:
    """Build the data set that `twotower train` opens, unless it is stored already; returns the exit status.

    Args:
        root: folder of all runs.

    Raises:
        InputError: mistakes in the settings or in the data.
    """
    started = time.perf_counter()
    raise_problems(
        Problem(f"{key}.{field}" if field else key, message)
        for key, problems in (("data", data.problems()), ("split", split.problems(data)))
        for field, message in problems
    )
    source, cut = data.build(), split.build()
    content = source.fingerprint()
    folder = root / ".cache" / cache_key(source, cut, content)
    is_stored = folder.exists()
    dataset = build_dataset(source, cut, folder.parent, content=content)
    if WARNING in dataset.audit:
        LOG.warning("%s", dataset.audit[WARNING])
    console.audit(audit_summary(dataset.audit), audit_table(dataset.audit))
    seconds = time.perf_counter() - started
    print(f"ok  {'stored before' if is_stored else 'stored'}, {seconds:.1f} s  {folder}")
    return DONE
