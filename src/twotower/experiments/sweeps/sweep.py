"""Base class of sweeps, and their jobs: runs in folders named by their varied settings."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.problems import NOT_VARIED, Mistakes, Problem, raise_problems
from twotower.experiments.runs.fingerprint import IRRELEVANT_KEYS, flatten, training_settings
from twotower.experiments.runs.folder_name import job_names
from twotower.experiments.runs.result import Result
from twotower.experiments.runs.run import Run
from twotower.experiments.runs.run_files import CONFIG
from twotower.experiments.sweeps.axis import Axis
from twotower.files.plain_values import fingerprint_values

if TYPE_CHECKING:
    from twotower.data.dataset import RetrievalDataset


@dataclass(frozen=True)
class Job:
    """A run of a sweep.

    Attributes:
        name: name of its folder in the folder of the sweep.
        settings: plain checked values.
        overrides: overrides of the job, the fixed ones of the sweep first.
        training: equal for jobs that can share one training on the same data.
        trial: settings of the pruner of a search, or a limit of `seconds`; None in a grid.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    overrides: tuple[str, ...]
    training: str
    trial: Mapping[str, Any] | None = None

    def payload(self) -> dict[str, Any]:
        """Return the job as JSON values."""
        return {
            "folder": str(self.folder),
            "settings": dict(self.settings),
            "overrides": list(self.overrides),
            "trial": None if self.trial is None else dict(self.trial),
        }


@dataclass(frozen=True)
class SweepContext:
    """Arguments of a sweep.

    Attributes:
        axes: varied keys, from the YAML and the command line.
        fixed: overrides of every job.
        compose: overrides of a job -> its checked settings; raises `InputError`.
        monitor: validation metric that ranks jobs, e.g. `valid/recall_at_20`.
        num_workers: returns the maximum number of jobs that run at once; called when the launcher runs.
    """

    folder: Path
    axes: tuple[Axis, ...]
    fixed: tuple[str, ...]
    compose: Callable[[Sequence[str]], dict[str, Any]]
    retry_failed: bool
    monitor: str
    num_workers: Callable[[], int] = lambda: 1

    def is_retried(self, result: Result | None) -> bool:
        """Return whether a job with this result runs again, because it or one of its windows failed."""
        return self.retry_failed and result is not None and result.has_failed

    def job(self, varied: Sequence[str], name: str) -> Job:
        """Compose and check the job with these varied overrides, in the folder of this name."""
        overrides = (*self.fixed, *varied)
        settings = self.compose(overrides)
        folder = self.folder / name
        if changed := _changed_settings(folder, settings):
            raise InputError(
                f"{folder} has a run with other settings ({', '.join(changed[:5])}); give this sweep "
                "another name=, or move that folder away"
            )
        return Job(name, folder, settings, overrides, fingerprint_values(training_settings(settings)))

    def jobs(self, combinations: Iterable[Sequence[str]], what: str) -> list[Job]:
        """Compose and check many jobs; each mistake is reported once.

        Args:
            combinations: varied `key=value` texts of each job.
            what: name of the jobs in messages.

        Raises:
            Mistakes: lists the mistakes of all jobs.
        """
        jobs: list[Job] = []
        problems: list[Problem] = []
        varied = {axis.key for axis in self.axes}
        all_texts = list(combinations)
        for texts, name in zip(all_texts, job_names(all_texts), strict=True):
            try:
                jobs.append(self.job(texts, name))
            except Mistakes as error:
                for each in error.problems:
                    message = each.message
                    if each.key in varied and message.startswith("unknown key"):
                        message += f"; the sweep varies it; {NOT_VARIED}{each.key} removes it"
                    problems.append(Problem(each.key, message))
            except InputError as error:
                problems.append(Problem(" ".join(texts), str(error)))
        raise_problems(problems, f"{what}; nothing was run")
        return jobs


class Sweep(Component, ABC):
    """Chooses the jobs of a sweep and yields them to the scheduler.

    The constructor composes and checks the jobs; none runs before.

    Raises:
        InputError: no key varies, or the settings of a job are wrong.
    """

    class Config(Component.Config):
        may_fail: ClassVar[bool] = False
        """Whether the sweep succeeds although some jobs failed."""

        vary: dict[str, str] | None = None
        """Key -> its values, in the grammar of the command line: `32,64,128`, `range(1, 5)`,
        `interval(0.1, 0.9)`, `tag(log, interval(1e-4, 1e-2))`."""

        @field_validator("vary", mode="before")
        @classmethod
        def _check_vary(cls, value: Any) -> Any:
            for key, values in value.items() if isinstance(value, dict) else ():
                if isinstance(values, list):
                    raise InputError(f"{key}: is a list; write `{key}: {','.join(map(str, values))}`")
                if not isinstance(values, str):
                    raise InputError(f"{key}: is one value; write several with commas, or leave it out")
            return value

        def build(self, context: SweepContext) -> "Sweep":
            """Build the sweep."""
            return self.make(Sweep, context)

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        self.config, self.context = config, context

    def notes(self) -> list[str]:
        """Return lines to print before the first job."""
        return []

    def varied_keys(self) -> list[str]:
        """Return the keys in which the jobs may differ; empty if these are not keys, but recipes."""
        return [axis.key for axis in self.context.axes]

    @abstractmethod
    def done_before(self) -> list[Job]:
        """Return finished jobs of an earlier process, which are skipped."""

    @abstractmethod
    def next(self, running: Collection[Job]) -> Job | None:
        """Return a job to start now; None without one, or if it must wait for a running job."""

    @abstractmethod
    def ended(self, job: Job, result: Result | None) -> None:
        """Process the end of a job; `result` is its `result.json`, None if it is missing."""

    @property
    @abstractmethod
    def num_jobs(self) -> int:
        """Number of jobs, finished ones included."""

    def is_over(self) -> bool:
        """Return whether to stop running jobs; called about once a second."""
        return False

    def summary(self) -> dict[str, Any]:
        """Return further entries of `sweep.json`."""
        return {}


def _changed_settings(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the keys that differ from an existing run in the folder."""
    if not (folder / CONFIG).is_file():
        return []
    try:
        before = Run.open(folder, None).settings
    except InputError:  # the job reports it when it runs
        return []
    old, new = (
        flatten({key: value for key, value in each.items() if key not in IRRELEVANT_KEYS})
        for each in (before, settings)
    )
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def build_job_dataset(settings: Mapping[str, Any]) -> "RetrievalDataset":
    """Build the data set of a job, or load it from the cache."""
    from twotower.data.build_dataset import build_dataset
    from twotower.data.sources.source import Source
    from twotower.data.splits.split import Split
    from twotower.training.training_config import FeaturesConfig

    source = Source.Config.model_validate(settings["data"]).build()
    split = Split.Config.model_validate(settings["split"]).build()
    dataset = build_dataset(source, split, Path(settings["output_root"]) / ".cache")
    return FeaturesConfig.model_validate(settings["features"]).with_files(dataset)
