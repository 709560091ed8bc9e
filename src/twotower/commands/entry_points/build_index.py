"""Build, tune and check an index of the vectors of `twotower embed`, which several machines can write.

  twotower build_index parts=item_parts queries=user_parts out=item_index index=ivf_sq
  twotower build_index parts=items.parquet out=item_index index=ivf_pq index.num_subquantizers=16
  twotower build_index parts=item_parts out=item_index index=ivf_pq on_disk=true    # little memory

The new folder holds index.faiss, items.parquet (the id at position i belongs to Faiss id i, from 0) and
report.json. It needs no run: only the files. Several machines build an index in shards:

  twotower build_index parts=item_parts queries=user_parts out=index_parts index=ivf_pq shard=train  # once
  twotower build_index parts=item_parts out=index_parts index=ivf_pq shard=3/16     # machine 3 of 16
  twotower build_index parts=item_parts queries=user_parts out=item_index index=ivf_pq shards=index_parts

See docs/vectors.md.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OWN_KEYS = ("out", "shard", "shards", "queries", "on_disk", "debug")


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Build the index or a shard of it, and print its figures."""
    from twotower.config.exits import stoppable
    from twotower.config.problems import raise_problems
    from twotower.files.shards import Shard
    from twotower.index.index import Index
    from twotower.pipeline.index_shards import TRAIN, build_shard, setting_problems, train_shards
    from twotower.pipeline.index_vectors import build_index
    from twotower.reports.console.console import logging_console

    parts, out = Path(settings["parts"]), Path(settings["out"])
    queries, shards = (Path(settings[key]) if settings[key] else None for key in ("queries", "shards"))
    shard, on_disk = settings["shard"], settings["on_disk"]
    shard = shard if shard in (None, TRAIN) else Shard.parse(shard)
    raise_problems(setting_problems(shard, shards, queries, on_disk))
    typed = [text for text in overrides if text.partition("=")[0] not in OWN_KEYS]
    command = shlex.join(["twotower", "build_index", *typed])
    config = Index.Config.from_spec(settings["index"], "index")
    with logging_console(), stoppable(lambda: "nothing was written; run the same command again"):
        if shard == TRAIN:
            return train_shards(parts, queries, config, out)
        if shard is not None:
            return build_shard(parts, config, shard, out, command)
        return build_index(parts, queries, config, out, on_disk, shards, command)
