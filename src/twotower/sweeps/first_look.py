"""A first look: recipes of different character on a sample of users, the best whole, in a stated time."""

import dataclasses
import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import StringConstraints

from twotower.config.errors import InputError
from twotower.config.problems import Mistakes
from twotower.config.spec import PositiveFloat, PositiveInt, Share
from twotower.runs.fingerprint import NOT_SHAPING, key_of
from twotower.runs.outcome import Outcome, lowest_is_best, make_outcome
from twotower.runs.result import Result, read_result_or_failure
from twotower.sweeps.job import Job, SweepContext, dataset_of
from twotower.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from twotower.data.dataset import RetrievalDataset

ENOUGH_USERS, ENOUGH_INTERACTIONS = 2_000, 200_000
"""Asked on the validation split, and in the log: with fewer, recipes are hardly told apart."""
NEARLY_ALL = 0.5
"""A sample of more than this saves too little: then all recipes are tried on all users."""
FOR_THE_SAMPLE = 0.5
"""Share of the time that recipes on the sample may take together."""
ON_SAMPLE = "sample-"
USELESS = "failed", "index_rejected"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=60)]


@dataclass(frozen=True)
class Recipe:
    """Overrides under a name, and the jobs that try them; there is no sample where it would be nearly all."""

    name: str
    texts: tuple[str, ...]
    whole: Job
    sample: Job | None

    @property
    def jobs(self) -> list[Job]:
        """Return its jobs, the sample's first."""
        return [job for job in (self.sample, self.whole) if job is not None]


class FirstLook(Sweep):
    """Every recipe on a sample of the users, then the best on all of them; told by the validation split.

    On the sample nothing is fitted again on train and validation. A recipe there has an equal part of half
    the time and of what others before it left, and is stopped in its midst where that is over; how far it
    came counts. When all time is over, what runs is stopped, and what has ended is told; the same command
    goes on, with as much time again.
    """

    class Config(Sweep.Config):
        """What to try, and for how long."""

        may_fail: ClassVar[bool] = True

        minutes: PositiveFloat = 20
        """That it takes, a little more for what comes after the last job."""
        num_whole: PositiveInt = 3
        """Most recipes that are tried on all users."""
        share: Share | None = None
        """Of the users in the sample. None for as many as tell recipes apart: 2,000 that are asked and
        200,000 interactions; all where that is more than half."""
        recipes: dict[Name, str]
        """Name -> overrides, separated by spaces. One that the data cannot have is left out."""

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        super().__init__(config, context)
        if context.axes:
            raise InputError(
                f"sweep: a first look tries recipes and varies no key, so not {context.axes[0].key}; a "
                "recipe more is '+sweep.recipes.mine=\"KEY=VALUE KEY=VALUE\"'"
            )
        dataset = dataset_of(context.compose(context.fixed))
        self.num_users = len(dataset.users)
        self.share = config.share or share_for(dataset)
        self.left_out: dict[str, str] = {}
        self.recipes = list(self._recipes())
        if not self.recipes:
            raise InputError(f"sweep.recipes: none is left: {_told(self.left_out) or 'name one'}")
        self.outcomes: dict[str, Outcome] = {}
        again = {"failed"} if context.retry_failed else set()
        for job in (job for recipe in self.recipes for job in recipe.jobs):
            result = read_result_or_failure(job.folder)
            if result is not None and result.status not in again:
                self.ended(job, result)
        self.before = list(self.outcomes)
        self.waiting = [recipe.jobs[0] for recipe in self.recipes if recipe.jobs[0].name not in self.before]
        self.whole: list[Recipe] | None = None if self.share < 1 else []
        self.began: float | None = None

    def _recipes(self) -> Iterator[Recipe]:
        """Compose and check every recipe; of those that cannot be, or are there already, keep why."""
        known: list[Recipe] = []
        more = [f"split.user_share={self.share}", "trainer.refit=false"]
        for name, text in self.config.recipes.items():
            texts = tuple(text.split())
            if kept := {key_of(each).partition(".")[0] for each in texts} & NOT_SHAPING:
                raise InputError(
                    f"sweep.recipes.{name}: {min(kept)} is about where runs are kept; leave it out"
                )
            try:
                texts = self._fitting(texts)
                whole = self.context.job(texts, name)
                sample = self.context.job([*texts, *more], f"{ON_SAMPLE}{name}") if self.share < 1 else None
            except InputError as error:
                self.left_out[name] = _reason(error)
                continue
            twin = next((each for each in known if each.whole.settings == whole.settings), None)
            if twin is not None:
                self.left_out[name] = f"comes to the same as {twin.name}"
                continue
            known.append(Recipe(name, texts, whole, sample))
            yield known[-1]

    def _fitting(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Take out keys of choices that a recipe replaces: an experiment set them for those that it made."""
        try:
            self.context.compose([*self.context.fixed, *texts])
        except Mistakes as error:
            own = {key_of(text) for text in texts}
            idle = [each.key for each in error.problems if each.message.startswith("unknown key")]
            return (*texts, *(f"~{key}" for key in idle if key not in own))
        return texts

    def notes(self) -> list[str]:
        """Return who is asked, and which recipes are left out."""
        whom = f"all {self.num_users:,} users"
        if self.share < 1:
            whom = f"{self.share:.3g} of {self.num_users:,} users, then the best on all"
        found = [f"first look: {len(self.recipes)} recipes on {whom}; {self.config.minutes:g} minutes"]
        return [*found, *(f"left out    {name}: {why}" for name, why in self.left_out.items())]

    def done_before(self) -> list[Job]:
        """Return the jobs that an earlier process ended."""
        return [job for recipe in self.recipes for job in recipe.jobs if job.name in self.before]

    @property
    def num_jobs(self) -> int:
        """Return how many jobs there are if there is time."""
        number = len(self.recipes)
        return number if self.share == 1 else number + min(number, self.config.num_whole)

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return self.began is not None and self._left() <= 0

    def _left(self, share: float = 1.0) -> float:
        """Return the seconds left of a share of the time."""
        assert self.began is not None
        return self.began + share * self.config.minutes * 60 - time.monotonic()

    def next(self, running: Collection[Job]) -> Job | None:
        """Return a recipe's job on the sample; when all of these ended, one of the best on all users."""
        if self.began is None:
            self.began = time.monotonic()
        if self.is_over():
            return None
        if self.waiting:
            left = self._left(1.0 if self.share == 1 else FOR_THE_SAMPLE) / len(self.waiting)
            return dataclasses.replace(self.waiting.pop(0), trial={"seconds": max(left, 0.0)})
        if any(job.name.startswith(ON_SAMPLE) for job in running):
            return None
        if self.whole is None:
            best = self.ranked(sample=True)[: self.config.num_whole]
            self.whole = [recipe for recipe in best if recipe.whole.name not in self.outcomes]
        return self.whole.pop(0).whole if self.whole else None

    def ended(self, job: Job, result: Result | None) -> None:
        """Keep how a job ended."""
        seconds = 0.0 if result is None else result.timing.get("total_seconds", 0.0)
        self.outcomes[job.name] = make_outcome(job.name, job.folder, result, seconds, False)

    def ranked(self, sample: bool) -> list[Recipe]:
        """Return the recipes that have a figure, on the sample or on all users, best first.

        Those that were stopped are among them, with the best that they reached.
        """
        found: dict[str, float] = {}
        for recipe in self.recipes:
            outcome = self.outcome(recipe, sample)
            value = None if outcome is None else outcome.figure(self.context.monitor)
            if value is not None and outcome is not None and outcome.status not in USELESS:
                found[recipe.name] = value
        sign = 1 if lowest_is_best(self.outcomes.values(), self.context.monitor) else -1
        able = (recipe for recipe in self.recipes if recipe.name in found)
        return sorted(able, key=lambda recipe: sign * found[recipe.name])

    def outcome(self, recipe: Recipe, sample: bool) -> Outcome | None:
        """Return how a recipe's job ended, if it was run."""
        job = recipe.sample if sample else recipe.whole
        return None if job is None else self.outcomes.get(job.name)

    def best(self) -> tuple[Recipe, bool] | None:
        """Return the best recipe, and whether it is so on all users; None if nothing can be said.

        A recipe that is best on the sample gives way only to what was better on all users beside it: where
        it was not tried there, or not to its end, it stays the best, on the sample.
        """
        whole = self.ranked(sample=False)
        for recipe in self.ranked(sample=True):
            outcome = self.outcome(recipe, sample=False)
            if recipe not in whole and not (outcome and outcome.status in USELESS):
                return recipe, False
            if recipe in whole:
                break
        return (whole[0], True) if whole else None

    def summary(self) -> dict[str, Any]:
        """Return the table, the best recipe with its command, and how sure it is to be the best."""
        from twotower.sweeps.first_look_summary import summary_of

        return {"first_look": summary_of(self)}


def share_for(dataset: "RetrievalDataset") -> float:
    """Return the share of the users that is enough to tell recipes apart, to two digits; 1 of small data."""
    asked, interactions = len(dataset.valid.users), int(dataset.audit["interactions"])
    enough = max(ENOUGH_USERS / asked, ENOUGH_INTERACTIONS / interactions)
    if enough > NEARLY_ALL:
        return 1.0
    digit: float = 10.0 ** (math.floor(math.log10(enough)) - 1)
    return round(math.ceil(enough / digit) * digit, 12)


def _reason(error: InputError) -> str:
    if isinstance(error, Mistakes):
        return "; ".join(f"{each.key}: {each.message}" for each in error.problems)
    return " ".join(str(error).split())


def _told(left_out: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in left_out.items())
