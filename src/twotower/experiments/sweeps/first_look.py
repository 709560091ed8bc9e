"""First look: recipes on a sample of users, the best ones on all users and windows, within a time limit."""

import dataclasses
import itertools
import math
import re
import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import StringConstraints

from twotower.config.errors import InputError
from twotower.config.problems import Mistakes
from twotower.config.run_keys import MEAN_VALID
from twotower.config.spec import PositiveFloat, PositiveFraction, PositiveInt
from twotower.data.actions import TRAIN_WEIGHT
from twotower.data.splits.split import Split
from twotower.experiments.runs.fingerprint import IRRELEVANT_KEYS, override_key
from twotower.experiments.runs.outcome import Outcome, lower_is_better, make_outcome
from twotower.experiments.runs.result import VALID, Result, read_result_or_failure
from twotower.experiments.runs.windows import baseline_means, window_entry
from twotower.experiments.sweeps.sweep import Job, Sweep, SweepContext, build_job_dataset

if TYPE_CHECKING:
    from twotower.data.dataset import RetrievalDataset

MIN_USERS, MIN_INTERACTIONS = 2_000, 200_000
"""Validation users and interactions of a sample; with fewer, recipes hardly differ significantly."""
MAX_SAMPLE_SHARE = 0.5
"""Larger samples save too little time, so all recipes run on all users."""
SAMPLE_TIME_SHARE = 0.5
"""Share of the time limit for the recipes on the sample."""
SAMPLE, WHOLE, WINDOWS = "sample", "whole", "windows"
"""Stages: on a sample of the users; on all users; on all windows, if `trainer.monitor` is their mean."""
UNUSABLE = "failed", "index_rejected"
EVENTS = "events"
"""Recipe that also trains on events of role `history`."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=60)]


class Stage(NamedTuple):
    """A stage in words, the metric that ranks its jobs, and their overrides."""

    words: str
    monitor: str
    overrides: Sequence[str]


@dataclass(frozen=True)
class Recipe:
    """Named overrides, and the job of each stage."""

    name: str
    texts: tuple[str, ...]
    jobs: Mapping[str, Job]


class FirstLook(Sweep):
    """Trains each recipe on a sample of the users, then the best ones on all users; ranked by validation.

    With `split=rolling trainer.monitor=mean_valid/...`, these jobs have the newest window alone, and the best
    recipes are then ranked by the mean over all windows.

    On the sample, the final fit on train and validation is skipped. The recipes share half of the time limit
    equally, with the time that earlier ones left. A recipe is stopped after its share, and its best epoch
    counts. After the time limit, running jobs are stopped and finished ones are reported. The same command
    continues, with the same limit again. Data with events of role `history` adds the recipe `events`, which
    also trains on them.
    """

    class Config(Sweep.Config):
        may_fail: ClassVar[bool] = True

        minutes: PositiveFloat = 20
        """Time limit; the summary takes a little longer."""
        num_whole: PositiveInt = 3
        """Number of best recipes that run on all users, and on all windows."""
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
        settings = context.compose(context.fixed)
        dataset = build_job_dataset(settings)
        self.num_users = len(dataset.users)
        self.share = config.share or share_for(dataset)
        self.metric = context.monitor.replace(MEAN_VALID, VALID)
        self.stages = self._stages(len(Split.Config.model_validate(settings["split"]).windows()))
        self.left_out: dict[str, str] = {}
        texts = {name: tuple(text.split()) for name, text in config.recipes.items()}
        if overrides := events_overrides(settings["data"]):
            texts.setdefault(EVENTS, overrides)
        self.recipes = list(self._recipes(texts))
        if not self.recipes:
            left_out = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
            raise InputError(f"sweep.recipes: no recipe fits: {left_out or 'name one'}")
        self.outcomes: dict[str, Outcome] = {}
        self.jobs = [job for recipe in self.recipes for job in recipe.jobs.values()]
        for job in self.jobs:
            result = read_result_or_failure(job.folder)
            if result is not None and not context.is_retried(result):
                self.ended(job, result)
        self.started = set(self.outcomes)
        """Names of the jobs that have started, or ended in an earlier process."""
        self.began: float | None = None

    def _stages(self, num_windows: int) -> dict[str, Stage]:
        """Return the stages; only the last one has all windows, if the monitored metric is their mean."""
        stages, newest = {}, []
        if self.metric != self.context.monitor:
            newest = [f"split.window={num_windows}", f"trainer.monitor={self.metric}"]
        if self.share < 1:
            on_sample = [*newest, f"split.user_share={self.share}", "trainer.refit=false"]
            stages[SAMPLE] = Stage(f"{self.share:.3g} of users", self.metric, on_sample)
        stages[WHOLE] = Stage("all users", self.metric, newest)
        if newest:
            stages[WINDOWS] = Stage(f"{num_windows} windows", self.context.monitor, [])
        return stages

    def _recipes(self, overrides: Mapping[str, tuple[str, ...]]) -> Iterator[Recipe]:
        """Compose and check the recipes; invalid and duplicate ones go to `left_out` with the reason."""
        composed: list[Recipe] = []
        for name, texts in overrides.items():
            if storage_keys := {override_key(each).partition(".")[0] for each in texts} & IRRELEVANT_KEYS:
                raise InputError(
                    f"sweep.recipes.{name}: {min(storage_keys)} sets where runs are stored; leave it out"
                )
            try:
                texts = self._without_unknown_keys(texts)
                jobs = {
                    key: self.context.job(
                        [*texts, *stage.overrides], name if key == WHOLE else f"{key}-{name}"
                    )
                    for key, stage in self.stages.items()
                }
            except InputError as error:
                problems = error.problems if isinstance(error, Mistakes) else []
                reason = "; ".join(f"{each.key}: {each.message}" for each in problems)
                self.left_out[name] = reason or " ".join(str(error).split())
                continue
            settings = jobs[WHOLE].settings
            if twin := next((each.name for each in composed if each.jobs[WHOLE].settings == settings), None):
                self.left_out[name] = f"equals {twin}"
                continue
            composed.append(Recipe(name, texts, jobs))
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
        """Return lines on the stages and on recipes that are left out."""
        stages = ", then the best on ".join(stage.words for stage in self.stages.values())
        about = f"{self.num_users:,} users, {self.config.minutes:g} minutes"
        first = f"first look: {len(self.recipes)} recipes on {stages} ({about})"
        return [first, *(f"left out    {name}: {why}" for name, why in self.left_out.items())]

    def done_before(self) -> list[Job]:
        """Return the jobs that finished in an earlier process."""
        return [job for job in self.jobs if job.name in self.started]

    @property
    def num_jobs(self) -> int:
        """Number of jobs if the time suffices."""
        number = len(self.recipes)
        return number + (len(self.stages) - 1) * min(number, self.config.num_whole)

    def is_over(self) -> bool:
        """Return whether the time limit has passed."""
        return self._left() <= 0

    def _left(self, share: float = 1.0) -> float:
        """Return the remaining seconds of a share of the time limit, which starts with the first job."""
        now = time.monotonic()
        return (self.began or now) + share * self.config.minutes * 60 - now

    def next(self, running: Collection[Job]) -> Job | None:
        """Return the next job of a stage; after all of these, one of its best recipes in the next stage."""
        self.began = self.began or time.monotonic()
        if self.is_over():
            return None
        recipes = self.recipes
        for stage in self.stages:
            jobs = [recipe.jobs[stage] for recipe in recipes]
            waiting = [job for job in jobs if job.name not in self.started]
            if waiting:
                self.started.add(waiting[0].name)
                if recipes is not self.recipes:
                    return waiting[0]
                turns = math.ceil(len(waiting) / self.context.num_workers())
                left = self._left(SAMPLE_TIME_SHARE if len(self.stages) > 1 else 1.0) / turns
                return dataclasses.replace(waiting[0], trial={"seconds": max(left, 0.0)})
            if not {job.name for job in jobs}.isdisjoint(job.name for job in running):
                return None
            recipes = self.ranked(stage)[: self.config.num_whole]
        return None

    def ended(self, job: Job, result: Result | None) -> None:
        """Store the outcome of a job."""
        seconds = 0.0 if result is None else result.timing.get("total_seconds", 0.0)
        self.outcomes[job.name] = make_outcome(job.name, job.folder, result, seconds, False)

    def ranked(self, stage: str) -> list[Recipe]:
        """Return the recipes with a validation metric in a stage, best first.

        Stopped recipes count with their best epoch.
        """
        scored = [
            (self._sign() * value, recipe)
            for recipe in self.recipes
            if (outcome := self.outcome(recipe, stage)) is not None and outcome.status not in UNUSABLE
            if (value := outcome.figure(self.stages[stage].monitor)) is not None
        ]
        return [recipe for _, recipe in sorted(scored, key=lambda each: each[0])]

    def outcome(self, recipe: Recipe, stage: str) -> Outcome | None:
        """Return the outcome of a recipe's job in a stage, None if it did not run."""
        return self.outcomes.get(recipe.jobs[stage].name) if stage in recipe.jobs else None

    def best(self) -> tuple[Recipe, str] | None:
        """Return the best recipe and the last stage that confirms it; None without any metric.

        The best recipe of a stage remains the best unless it ran in the next stage too and another recipe was
        better there.
        """
        best: tuple[Recipe, str] | None = None
        for stage, following in itertools.pairwise([*self.stages, ""]):
            ranked = self.ranked(stage)
            if best is not None and best[0] not in ranked:
                return best
            later = {recipe.name: self.outcome(recipe, following) for recipe in ranked}
            failed = {name for name, outcome in later.items() if outcome and outcome.status in UNUSABLE}
            best = next(((recipe, stage) for recipe in ranked if recipe.name not in failed), None)
        return best

    def summary(self) -> dict[str, Any]:
        """Return the table of recipes, and the best recipe with its command."""
        best, last = self.best() or (None, WHOLE)
        baselines = {stage: self._baselines(stage) for stage in self.stages}
        choose = min if self._sign() > 0 else max
        leaders = {stage: choose(each, key=each.__getitem__, default="") for stage, each in baselines.items()}
        names = dict.fromkeys(filter(None, leaders.values()))
        last_first = [recipe for stage in reversed(self.stages) for recipe in self.ranked(stage)]
        ranked = [*filter(None, [best]), *last_first, *self.recipes]
        found = {
            "metric": self.stages[last].monitor,
            "num_users": self.num_users,
            "share": self.share,
            "stages": {name: stage.words for name, stage in self.stages.items()},
            "recipes": [self._row(recipe) for recipe in {each.name: each for each in ranked}.values()],
            "left_out": self.left_out,
            "baselines": {name: {each: baselines[each].get(name) for each in baselines} for name in names},
            "best": best and self._best(best, last, baselines[last].get(leaders[last])),
        }
        return {"first_look": found}

    def _sign(self) -> int:
        """Return 1 if lower values of the monitored metric are better, else -1."""
        return 1 if lower_is_better(self.outcomes.values(), self.metric) else -1

    def _row(self, recipe: Recipe) -> dict[str, Any]:
        outcomes = {stage: self.outcome(recipe, stage) for stage in self.stages}
        last = next(filter(None, reversed(outcomes.values())), None)
        note = "not run: the time limit was reached"
        if last is not None:
            error = (last.error or "").partition("\n")[0]
            note = "" if last.status == "ok" else ": ".join(filter(None, [last.status, error]))
        if WINDOWS in outcomes and outcomes[WHOLE] and not outcomes[WINDOWS]:
            note = note or "on the newest window only"
        return {
            "recipe": recipe.name,
            "sets": " ".join(recipe.texts),
            **{stage: each and each.figure(self.stages[stage].monitor) for stage, each in outcomes.items()},
            "seconds": {stage: each and (round(each.seconds, 1) or None) for stage, each in outcomes.items()},
            "note": note,
        }

    def _baselines(self, stage: str) -> dict[str, float]:
        """Return the validation metric of each baseline, equal in all jobs on the same users and windows."""
        outcomes = (self.outcome(recipe, stage) for recipe in self.recipes)
        folders = [outcome.folder for outcome in outcomes if outcome is not None and outcome.finished]
        result = read_result_or_failure(folders[0]) if folders else None
        if result is None:
            return {}
        entries = result.windows if stage == WINDOWS else [window_entry(1, ".", result)]
        return baseline_means(entries, self.metric)

    def _best(self, best: Recipe, stage: str, leader: float | None) -> dict[str, Any]:
        outcome = self.outcome(best, stage)
        assert outcome is not None
        value = outcome.figure(self.stages[stage].monitor)
        assert value is not None
        return {
            "recipe": best.name,
            "job": outcome.name,
            "on": stage,
            "value": value,
            "ended": outcome.finished,
            "behind_baseline": leader is not None and self._sign() * value > self._sign() * leader,
            "command": shlex.join(["twotower", "train", *self.context.fixed, *best.texts]),
        }


def events_overrides(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the overrides that give events of role `history` the role `train`; empty without such events."""
    texts: list[str] = []
    for name, event in (data.get("events") or {}).items():
        if event.get("role") == "history" and re.fullmatch(r"[\w-]+", name):
            texts += [f"data.events.{name}.role=train", f"data.events.{name}.weight={TRAIN_WEIGHT}"]
        elif event.get("role") == "history":  # no name of a key
            texts.append(f"data.events={{{name}: {{role: train, weight: {TRAIN_WEIGHT}}}}}")
    return tuple(texts)


def share_for(dataset: "RetrievalDataset") -> float:
    """Return the share of users with enough data to compare recipes, to two digits; 1 for small data."""
    num_valid, interactions = len(dataset.valid.users), int(dataset.audit["interactions"])
    share = max(MIN_USERS / num_valid, MIN_INTERACTIONS / interactions)
    if share > MAX_SAMPLE_SHARE:
        return 1.0
    digit: float = 10.0 ** (math.floor(math.log10(share)) - 1)
    return round(math.ceil(share / digit) * digit, 12)
