"""One job of a sweep: a run with a folder named by what it varies."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twotower.config.errors import InputError
from twotower.config.problems import NOT_VARIED, Mistakes, Problem, raise_problems
from twotower.runs.fingerprint import NOT_SHAPING, flat, shaping_training
from twotower.runs.folder_name import folder_name, job_names
from twotower.runs.run import Run
from twotower.runs.run_files import CONFIG
from twotower.sweeps.space import Axis

if TYPE_CHECKING:
    from twotower.data.dataset import RetrievalDataset


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Attributes:
        name: of its folder, inside the sweep's.
        folder: of the run.
        settings: plain checked values.
        overrides: all that was typed for it, the sweep's fixed overrides first.
        training: equal for jobs that can share one training.
        trial: what a search must know to follow the job while it trains, or the `seconds` that it has; None
            in a grid.
        tries: what varies, to be read; empty where the name says it.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    overrides: tuple[str, ...]
    training: str
    trial: Mapping[str, Any] | None = None
    tries: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the job as plain values that JSON can hold."""
        return {
            "folder": str(self.folder),
            "settings": dict(self.settings),
            "overrides": list(self.overrides),
            "trial": None if self.trial is None else dict(self.trial),
        }


@dataclass(frozen=True)
class SweepContext:
    """What the command line asks of a sweep.

    Attributes:
        folder: the sweep's.
        axes: what varies, the YAML's and the command line's.
        fixed: overrides that hold for every job.
        compose: all overrides of a job -> its checked settings; raises `InputError`.
        retry_failed: run failed jobs again.
        monitor: the validation metric that chooses, e.g. `valid/recall_at_20`.
    """

    folder: Path
    axes: tuple[Axis, ...]
    fixed: tuple[str, ...]
    compose: Callable[[Sequence[str]], dict[str, Any]]
    retry_failed: bool
    monitor: str

    def job(
        self, varied: Sequence[str], name: str | None = None, trial: Mapping[str, Any] | None = None
    ) -> Job:
        """Compose and check the job with these varied overrides.

        Args:
            varied: `key=value` texts.
            name: of the folder; by default made of `varied`.
            trial: see `Job`.
        """
        overrides = (*self.fixed, *varied)
        settings = self.compose(overrides)
        name = name or folder_name(varied)
        folder = self.folder / name
        if other := _other_settings(folder, settings):
            raise InputError(
                f"{folder} holds a run with another configuration ({', '.join(other[:5])}); give this sweep "
                "another name=, or move that folder away"
            )
        return Job(name, folder, settings, overrides, training_key(settings), trial)

    def jobs(self, combinations: Iterable[Sequence[str]], what: str) -> list[Job]:
        """Compose and check many jobs, gathering what is wrong with any; each mistake is told once.

        Args:
            combinations: varied `key=value` texts of each.
            what: they are, for the message.

        Raises:
            Mistakes: lists all.
        """
        jobs: list[Job] = []
        problems: list[Problem] = []
        all_texts = list(combinations)
        for texts, name in zip(all_texts, job_names(all_texts), strict=True):
            try:
                jobs.append(self.job(texts, name))
            except Mistakes as error:
                problems += error.problems
            except InputError as error:
                problems.append(Problem(" ".join(texts), str(error)))
        varied = {axis.key for axis in self.axes}
        raise_problems(
            (
                Problem(each.key, f"{each.message}; the sweep varies it: {NOT_VARIED}{each.key} takes it out")
                if each.key in varied and each.message.startswith("unknown key")
                else each
                for each in problems
            ),
            f"{what}; nothing was run",
        )
        return jobs


def _other_settings(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the keys in which the run that is in a folder differs."""
    if not (folder / CONFIG).is_file():
        return []
    try:
        before = Run.open(folder, None).settings
    except InputError:  # a job that was not done says so when it is run
        return []
    there, here = flat(before), flat(settings)
    return [
        key
        for key in sorted(there.keys() | here.keys())
        if key not in NOT_SHAPING and there.get(key) != here.get(key)
    ]


def dataset_of(settings: Mapping[str, Any]) -> "RetrievalDataset":
    """Return the data set of a job, which is then there for the job too."""
    from twotower.data.build_dataset import build_dataset
    from twotower.data.sources.source import Source
    from twotower.data.splits.split import Split
    from twotower.training.training_config import FeaturesConfig

    source = Source.Config.model_validate(settings["data"]).build()
    split = Split.Config.model_validate(settings["split"]).build()
    dataset = build_dataset(source, split, Path(settings["output_root"]) / ".cache")
    return FeaturesConfig.model_validate(settings["features"]).with_files(dataset)


def training_key(settings: Mapping[str, Any]) -> str:
    """Return a key that is equal for settings that can share one training on the same data."""
    text = json.dumps(shaping_training(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
