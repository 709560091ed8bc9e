"""Build, tune and check an index of the vectors of `twotower embed`, which several machines can write.

  twotower build_index parts=item_parts queries=user_parts out=item_index index=ivf_sq
  twotower build_index parts=items.parquet out=item_index index=ivf_pq index.num_subquantizers=16

The new folder holds index.faiss, items.parquet (the id at position i belongs to Faiss id i, from 0) and
report.json. It needs no run: only the files. See docs/vectors.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Build the index, and print its figures."""
    from twotower.config.exits import stoppable
    from twotower.experiments.console.rich import logging_console
    from twotower.index.index import Index
    from twotower.index_lab.build_index import build_index

    parts, out = Path(settings["parts"]), Path(settings["out"])
    queries = Path(settings["queries"]) if settings["queries"] else None
    config = Index.Config.from_spec(settings["index"], "index")
    with logging_console(), stoppable(lambda: "nothing was written; run the same command again"):
        return build_index(parts, queries, config, out)
