"""Whether jobs that an earlier start of a sweep had ended can stand beside those that it runs now."""

import json
from collections.abc import Iterable
from pathlib import Path

from twotower.config.errors import InputError
from twotower.config.spec import build
from twotower.data.build import build_dataset
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.runs.record import training_identity
from twotower.runs.result import read_ending
from twotower.sweeps.job import Job


def stale(jobs: Iterable[Job]) -> list[str]:
    """Return the names of jobs whose towers the code of today would not make.

    Args:
        jobs: that an earlier process ended.

    Raises:
        InputError: the data has changed since, so that the figures of the sweep would not be comparable.
    """
    outdated: list[str] = []
    fingerprints: dict[str, str] = {}  # of the data, which the jobs of a sweep mostly share
    for job in jobs:
        result = read_ending(job.folder)
        if result is None or result.data.fingerprint is None:
            continue
        specs = json.dumps([job.settings["data"], job.settings["split"]])
        if specs not in fingerprints:
            source, split = build(job.settings["data"], Source), build(job.settings["split"], Split)
            cache = Path(job.settings["output_root"]) / ".cache"
            fingerprints[specs] = build_dataset(source, split, cache).fingerprint
        data = fingerprints[specs]
        if result.data.fingerprint != data:
            raise InputError(
                f"{job.folder.parent}: the data, or the way it is split, is not what {job.name} was run on; "
                "give this sweep another name=, or move that folder away"
            )
        if result.training_fingerprint != training_identity(job.settings, data):
            outdated.append(job.name)
    return outdated
