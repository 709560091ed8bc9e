"""First look: recipes on a sample of users, then the best ones on all users, within a time limit."""

import dataclasses
import math
import shlex
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import StringConstraints

from twotower.config.errors import InputError
from twotower.config.problems import Mistakes
from twotower.config.spec import PositiveFloat, PositiveFraction, PositiveInt
from twotower.runs.fingerprint import IRRELEVANT_KEYS, override_key
from twotower.runs.outcome import Outcome, lower_is_better, make_outcome
from twotower.runs.result import Result, read_result_or_failure
from twotower.sweeps.sweep import Job, Sweep, SweepContext, build_job_dataset

if TYPE_CHECKING:
    from twotower.data.dataset import RetrievalDataset

MIN_USERS, MIN_INTERACTIONS = 2_000, 200_000
"""Validation users and interactions of a sample; with fewer, recipes hardly differ significantly."""
MAX_SAMPLE_SHARE = 0.5
"""Larger samples save too little time, so all recipes run on all users."""
SAMPLE_TIME_SHARE = 0.5
"""Share of the time limit for the recipes on the sample."""
ON_SAMPLE = "sample-"
UNUSABLE = "failed", "index_rejected"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=60)]


@dataclass(frozen=True)
class Recipe:
    """Named overrides and their jobs; without a sample job if all users are used."""

    name: str
    texts: tuple[str, ...]
    whole: Job
    sample: Job | None

    @property
    def jobs(self) -> list[Job]:
        """Return the jobs, that of the sample first."""
        return [job for job in (self.sample, self.whole) if job is not None]


class FirstLook(Sweep):
    """Trains each recipe on a sample of the users, then the best ones on all users; ranked by validation.

    On the sample, the final fit on train and validation is skipped. The recipes share half of the time limit
    equally, with the time that earlier ones left. A recipe is stopped after its share, and its best epoch
    counts. After the time limit, running jobs are stopped and finished ones are reported. The same command
    continues, with the same limit again.
    """

    class Config(Sweep.Config):
        """Recipes and time limit."""

        may_fail: ClassVar[bool] = True

        minutes: PositiveFloat = 20
        """Time limit; the summary takes a little longer."""
        num_whole: PositiveInt = 3
        """Number of best recipes that run on all users."""
        share: PositiveFraction | None = None
        """Share of users in the sample. None: enough for 2,000 validation users and 200,000 interactions;
        all users if that is more than half."""
        recipes: dict[Name, str]
        """Name -> overrides, separated by spaces. Recipes that do not fit the data are left out."""

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        super().__init__(config, context)
        if context.axes:
            raise InputError(
                f"sweep: a first look compares recipes and cannot vary {context.axes[0].key}; add a "
                "recipe with '+sweep.recipes.mine=\"KEY=VALUE KEY=VALUE\"'"
            )
        dataset = build_job_dataset(context.compose(context.fixed))
        self.num_users = len(dataset.users)
        self.share = config.share or share_for(dataset)
        self.left_out: dict[str, str] = {}
        self.recipes = list(self._recipes())
        if not self.recipes:
            left_out = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
            raise InputError(f"sweep.recipes: no recipe fits: {left_out or 'name one'}")
        self.outcomes: dict[str, Outcome] = {}
        repeated = {"failed"} if context.retry_failed else set()
        for job in (job for recipe in self.recipes for job in recipe.jobs):
            result = read_result_or_failure(job.folder)
            if result is not None and result.status not in repeated:
                self.ended(job, result)
        self.before = list(self.outcomes)
        self.waiting = [recipe.jobs[0] for recipe in self.recipes if recipe.jobs[0].name not in self.before]
        self.whole: list[Recipe] | None = None if self.share < 1 else []
        self.began: float | None = None

    def _recipes(self) -> Iterator[Recipe]:
        """Compose and check the recipes; invalid and duplicate ones go to `left_out` with the reason."""
        composed: list[Recipe] = []
        more = [f"split.user_share={self.share}", "trainer.refit=false"]
        for name, text in self.config.recipes.items():
            texts = tuple(text.split())
            if storage_keys := {override_key(each).partition(".")[0] for each in texts} & IRRELEVANT_KEYS:
                raise InputError(
                    f"sweep.recipes.{name}: {min(storage_keys)} sets where runs are stored; leave it out"
                )
            try:
                texts = self._without_unknown_keys(texts)
                whole = self.context.job(texts, name)
                sample = self.context.job([*texts, *more], f"{ON_SAMPLE}{name}") if self.share < 1 else None
            except InputError as error:
                self.left_out[name] = _reason(error)
                continue
            twin = next((each for each in composed if each.whole.settings == whole.settings), None)
            if twin is not None:
                self.left_out[name] = f"equals {twin.name}"
                continue
            composed.append(Recipe(name, texts, whole, sample))
            yield composed[-1]

    def _without_unknown_keys(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Remove keys of an experiment that do not exist in the choices of the recipe."""
        try:
            self.context.compose([*self.context.fixed, *texts])
        except Mistakes as error:
            own = {override_key(text) for text in texts}
            unknown = [each.key for each in error.problems if each.message.startswith("unknown key")]
            return (*texts, *(f"~{key}" for key in unknown if key not in own))
        return texts

    def notes(self) -> list[str]:
        """Return lines on the users and on recipes that are left out."""
        users = f"all {self.num_users:,} users"
        if self.share < 1:
            users = f"{self.share:.3g} of {self.num_users:,} users, then the best on all"
        lines = [f"first look: {len(self.recipes)} recipes on {users}; {self.config.minutes:g} minutes"]
        return [*lines, *(f"left out    {name}: {why}" for name, why in self.left_out.items())]

    def done_before(self) -> list[Job]:
        """Return the jobs that finished in an earlier process."""
        return [job for recipe in self.recipes for job in recipe.jobs if job.name in self.before]

    @property
    def num_jobs(self) -> int:
        """Number of jobs if the time suffices."""
        number = len(self.recipes)
        return number if self.share == 1 else number + min(number, self.config.num_whole)

    def is_over(self) -> bool:
        """Return whether the time limit has passed."""
        return self.began is not None and self._left() <= 0

    def _left(self, share: float = 1.0) -> float:
        """Return the remaining seconds of a share of the time limit."""
        assert self.began is not None
        return self.began + share * self.config.minutes * 60 - time.monotonic()

    def next(self, running: Collection[Job]) -> Job | None:
        """Return the next job on the sample; after all of these, one of the best recipes on all users."""
        if self.began is None:
            self.began = time.monotonic()
        if self.is_over():
            return None
        if self.waiting:
            left = self._left(1.0 if self.share == 1 else SAMPLE_TIME_SHARE) / len(self.waiting)
            return dataclasses.replace(self.waiting.pop(0), trial={"seconds": max(left, 0.0)})
        if any(job.name.startswith(ON_SAMPLE) for job in running):
            return None
        if self.whole is None:
            best = self.ranked(sample=True)[: self.config.num_whole]
            self.whole = [recipe for recipe in best if recipe.whole.name not in self.outcomes]
        return self.whole.pop(0).whole if self.whole else None

    def ended(self, job: Job, result: Result | None) -> None:
        """Store the outcome of a job."""
        seconds = 0.0 if result is None else result.timing.get("total_seconds", 0.0)
        self.outcomes[job.name] = make_outcome(job.name, job.folder, result, seconds, False)

    def ranked(self, sample: bool) -> list[Recipe]:
        """Return the recipes with a validation metric, on the sample or on all users, best first.

        Stopped recipes count with their best epoch.
        """
        scored = [
            (self._sign() * value, recipe)
            for recipe in self.recipes
            if (outcome := self.outcome(recipe, sample)) is not None and outcome.status not in UNUSABLE
            if (value := outcome.figure(self.context.monitor)) is not None
        ]
        return [recipe for _, recipe in sorted(scored, key=lambda each: each[0])]

    def outcome(self, recipe: Recipe, sample: bool) -> Outcome | None:
        """Return the outcome of a recipe's job, None if it did not run."""
        job = recipe.sample if sample else recipe.whole
        return None if job is None else self.outcomes.get(job.name)

    def best(self) -> tuple[Recipe, bool] | None:
        """Return the best recipe, and whether it is the best on all users; None without any metric.

        The best recipe on the sample remains the best unless it ran on all users too and another recipe was
        better there.
        """
        whole = self.ranked(sample=False)
        for recipe in self.ranked(sample=True):
            outcome = self.outcome(recipe, sample=False)
            if recipe not in whole and not (outcome and outcome.status in UNUSABLE):
                return recipe, False
            if recipe in whole:
                break
        return (whole[0], True) if whole else None

    def summary(self) -> dict[str, Any]:
        """Return the table of recipes, and the best recipe with its command."""
        best, on_all = self.best() or (None, False)
        part = "whole" if on_all else "sample"
        baselines = {each: self._baselines(each == "sample") for each in ("sample", "whole")}
        choose = min if self._sign() > 0 else max
        leaders = {
            each: choose(values, key=values.__getitem__, default=None) for each, values in baselines.items()
        }
        names = dict.fromkeys(name for name in leaders.values() if name is not None)
        ranked = [*filter(None, [best]), *self.ranked(sample=False), *self.ranked(sample=True), *self.recipes]
        found = {
            "metric": self.context.monitor,
            "num_users": self.num_users,
            "share": self.share,
            "recipes": [self._row(recipe) for recipe in {each.name: each for each in ranked}.values()],
            "left_out": self.left_out,
            "baselines": {name: {each: baselines[each].get(name) for each in baselines} for name in names},
            "best": best and self._best(best, part, baselines[part].get(leaders[part] or "")),
        }
        return {"first_look": found}

    def _sign(self) -> int:
        """Return 1 if lower values of the monitored metric are better, else -1."""
        return 1 if lower_is_better(self.outcomes.values(), self.context.monitor) else -1

    def _row(self, recipe: Recipe) -> dict[str, Any]:
        outcomes = {"sample": self.outcome(recipe, True), "whole": self.outcome(recipe, False)}
        return {
            "recipe": recipe.name,
            "sets": " ".join(recipe.texts),
            **{part: each and each.figure(self.context.monitor) for part, each in outcomes.items()},
            "seconds": {part: each and (round(each.seconds, 1) or None) for part, each in outcomes.items()},
            "note": _note(outcomes["whole"] or outcomes["sample"]),
        }

    def _baselines(self, sample: bool) -> dict[str, float]:
        """Return the validation metric of each baseline, equal in all jobs on the same users."""
        values: dict[str, float] = {}
        for recipe in self.recipes:
            outcome = self.outcome(recipe, sample)
            result = read_result_or_failure(outcome.folder) if outcome and outcome.finished else None
            for name, figures in {} if result is None else result.baselines.items():
                if self.context.monitor in figures:
                    values.setdefault(name, figures[self.context.monitor])
        return values

    def _best(self, best: Recipe, part: str, leader: float | None) -> dict[str, Any]:
        outcome = self.outcome(best, part == "sample")
        assert outcome is not None
        value = outcome.figure(self.context.monitor)
        assert value is not None
        return {
            "recipe": best.name,
            "job": outcome.name,
            "on": part,
            "value": value,
            "ended": outcome.finished,
            "behind_baseline": leader is not None and self._sign() * value > self._sign() * leader,
            "command": shlex.join(["twotower", "train", *self.context.fixed, *best.texts]),
        }


def share_for(dataset: "RetrievalDataset") -> float:
    """Return the share of users with enough data to compare recipes, to two digits; 1 for small data."""
    num_valid, interactions = len(dataset.valid.users), int(dataset.audit["interactions"])
    share = max(MIN_USERS / num_valid, MIN_INTERACTIONS / interactions)
    if share > MAX_SAMPLE_SHARE:
        return 1.0
    digit: float = 10.0 ** (math.floor(math.log10(share)) - 1)
    return round(math.ceil(share / digit) * digit, 12)


def _reason(error: InputError) -> str:
    if isinstance(error, Mistakes):
        return "; ".join(f"{each.key}: {each.message}" for each in error.problems)
    return " ".join(str(error).split())


def _note(outcome: Outcome | None) -> str:
    """Return the state of a recipe in words, empty if its job finished."""
    if outcome is None:
        return "not run: the time limit was reached"
    return {
        "pruned": "stopped: its share of the time had passed",
        "interrupted": "stopped: the time limit was reached; the same command continues",
        "failed": f"failed: {(outcome.error or '').partition(chr(10))[0]}",
        "index_rejected": "its index was rejected",
    }.get(outcome.status, "")
