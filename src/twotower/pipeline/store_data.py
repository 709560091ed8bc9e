"""The data set of a training, built before it: by one machine, or by several that read a share each."""

import logging
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.config.problems import Problem
from twotower.data.audit import WARNING, audit_table
from twotower.data.build_dataset import build_dataset, cache_key
from twotower.data.interaction_files import MAX_ROWS_IN_MEMORY, InteractionFiles
from twotower.data.interaction_parts import InteractionParts, part_facts, write_part
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.files.part_files import check_new
from twotower.files.shards import Shard
from twotower.reports.console.console import Console

LOG = logging.getLogger("twotower")


def setting_problems(
    data: Source.Config, split: Split.Config, shard: Shard | None, out: Path | None, parts: Path | None
) -> Iterator[Problem]:
    """Yield what is wrong with the settings of `twotower build_data`; reads headers of files only."""
    for key, problems in (("data", data.problems()), ("split", split.problems(data))):
        for field, message in problems:
            yield Problem(f"{key}.{field}" if field else key, message)
    if shard is not None and out is None:
        yield Problem("out", f"shard={shard} writes a part; type out=FOLDER, the folder of all parts")
    if shard is not None and parts is not None:
        yield Problem("parts", "merges what shard=k/n has written; type one of both")
    if shard is None and out is not None:
        yield Problem("out", "is the folder of the parts of shard=k/n; type shard=, or parts= to merge them")


def store_part(data: Source.Config, shard: Shard, out: Path) -> int:
    """Read, check and sort a share of long interactions into a part; returns the exit status.

    Raises:
        InputError: the interactions are not long, or a row is wrong, or the part exists.
    """
    started = time.perf_counter()
    path = shard.part(out, suffix="")
    check_new(path)
    source = data.build()
    own = _files(source, f"shard={shard}").share(shard)
    write_part(own, part_facts(source, source.fingerprint(), shard), path)
    print(f"ok  {own.num_rows:,} interactions, {time.perf_counter() - started:.1f} s  {path}")
    return DONE


def store_data(
    data: Source.Config, split: Split.Config, root: Path, parts: Path | None, command: str, console: Console
) -> int:
    """Build the data set that `twotower train` opens, unless it is stored already; returns the exit status.

    Args:
        root: folder of all runs.
        parts: folder of all parts of the interactions; None: read the files.
        command: writes a part, with `shard=k/n` at its end.

    Raises:
        InputError: mistakes in the data or in a part, or a part is missing.
    """
    started = time.perf_counter()
    source, cut, opened = data.build(), split.build(), None
    content = source.fingerprint()
    if parts is not None:
        files = _files(source, f"parts={parts}")
        opened = InteractionParts.open(
            source, content, parts, f"{command} {shlex.quote(f'out={parts}')}", files.tables
        )
    folder = root / ".cache" / cache_key(source, cut, content)
    is_stored = folder.exists()
    dataset = build_dataset(source, cut, folder.parent, content=content, parts=opened)
    if WARNING in dataset.audit:
        LOG.warning("%s", dataset.audit[WARNING])
    console.audit(audit_table(dataset.audit))
    seconds = time.perf_counter() - started
    print(f"ok  {'stored before' if is_stored else 'stored'}, {seconds:.1f} s  {folder}")
    return DONE


def _files(source: Source, setting: str) -> InteractionFiles:
    """Return the files of long interactions; raises InputError about a setting if there are none."""
    if (files := source.interaction_files()) is None:
        raise InputError(
            f"{setting}: only more than {MAX_ROWS_IN_MEMORY:,} interactions in Parquet, with no columns but "
            "ids and times, are read in shares; leave shard, out and parts out"
        )
    return files
