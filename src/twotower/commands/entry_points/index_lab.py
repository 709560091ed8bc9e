"""Compare indexes of your vectors: recall, speed, bytes and building time, without a run.

  twotower index_lab vectors=items.npy queries=users.npy out=lab
  twotower index_lab run=outputs/default/<time> out=lab target_recall=0.99
  twotower index_lab vectors=items.parquet out=lab "cases=[ivf_sq,'ivf_pq num_subquantizers=16']"
  twotower index_lab vectors=items.npy out=lab "cases=['OPQ16,IVF256,PQ16x4fsr,Refine(SQfp16)']"
  twotower index_lab vectors=items.npy queries=users.npy out=best "cases=['auto target_recall=.9']" save=true

A case is a choice of index=, with keys if you like, or a text for faiss.index_factory. The new folder holds
report.json, index.html and what TensorBoard reads; save=true adds index.faiss, of the first row of the
table, whose ids are positions in the vectors. See docs/index-lab.md.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Measure every case and write the report."""
    from twotower.commands.compose import load_settings
    from twotower.commands.conf import choices
    from twotower.config.errors import InputError
    from twotower.config.exits import stoppable
    from twotower.experiments.console.rich import logging_console
    from twotower.index.index import Index
    from twotower.index_lab.compare_indexes import Vectors, compare_indexes

    def config_of(case: str) -> Index.Config:
        try:
            name, *keys = shlex.split(case)
        except ValueError as error:
            raise InputError(
                f"cases: {case!r} is blank or has an unclosed quote; write a choice of index=, with keys, or "
                "a text for faiss.index_factory"
            ) from error
        if name not in choices("index"):
            name, keys = "factory", [f"factory='{case}'"]
        try:
            composed = load_settings(
                "build_index", ["parts=.", "out=.", f"index={name}", *(f"index.{key}" for key in keys)]
            )
        except InputError as error:
            raise InputError(f"cases: {case}: {error}") from error
        return Index.Config.from_spec(composed["index"], "index")

    configs = {case: config_of(case) for case in dict.fromkeys(settings["cases"])}
    trusted = settings["trusted_packages"]
    vectors = Vectors(
        settings["vectors"], settings["queries"], settings["run"], settings["num_queries"], trusted
    )
    with logging_console(), stoppable(lambda: "nothing was written; run the same command again"):
        out = Path(settings["out"])
        return compare_indexes(configs, vectors, settings["target_recall"], out, settings["save"])
