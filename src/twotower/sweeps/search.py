"""What all searches have in common: objectives, a number of trials, a study that processes share."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from twotower.config.errors import InputError
from twotower.config.spec import PositiveInt, Seed
from twotower.sweeps.job import Request
from twotower.sweeps.objectives import Direction, Objectives, way_of
from twotower.sweeps.pruning import PrunerName
from twotower.sweeps.space import Space
from twotower.sweeps.sweep import Plan, Sweep

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Search(Sweep):
    """Trials that are chosen one after the other, each in the light of those before.

    The same command started several times, on one machine or on several that see the same folder, works on
    the same trials; started again after it was killed, it goes on.
    """

    class Config(Sweep.Config):
        """Settings of every search; what varies may be an interval."""

        num_trials: PositiveInt = 40
        """How many different configurations to try, all processes together."""
        objectives: dict[str, Direction] | None = None
        """Key of `result.json` -> `maximize` or `minimize`: `valid/...` metrics, or the index's figures such
        as `index/recall_at_100`, `index/latency_ms_p50`, `index/bytes_per_item`. With several, the result is
        the Pareto set. None = the metric that the trainer monitors, as good as can be."""
        pruner: PrunerName = "none"
        """Which trainings to stop early, by the monitored metric."""
        storage: str | None = None
        """Of the study: path of a journal file or a URL as in `sqlite:///outputs/study.db`; None for a
        journal in the sweep's folder."""
        seed: Seed = 0
        """Of the search; the trainings have the root's."""
        num_startup: PositiveInt = 10
        """Trials before the search and the median rule have an opinion."""

    config: Config
    exclusive = False

    @abstractmethod
    def sampler(self, seed: int) -> "BaseSampler":
        """Return what proposes trials; a new one for each, so it must find all it knows in the study."""

    def plan(self, request: Request) -> Plan:
        """Check the space at its corners, then open the study."""
        if not request.axes:
            raise InputError(
                "sweep: nothing varies; give a key an interval, as in 'embedding_dim=int(interval(16, 128))'"
            )
        space = Space(request.axes)
        first = request.jobs(space.corners(), "the corners of this search")[0]
        chosen = way_of(request.monitor, first.settings)
        # A monitor without a better way is refused where settings are checked, an unknown one here.
        objectives = Objectives(self.config.objectives or {request.monitor: chosen or "maximize"})
        objectives.check(first.settings)
        self._check_pruner(objectives, request.monitor, chosen)
        objectives.check_ways(first.settings)
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise InputError("sweep: a search needs Optuna; pip install -e '.[search]'") from error
        from twotower.sweeps.search_plan import SearchPlan

        return SearchPlan(self, request, space, objectives, first.settings)

    def _check_pruner(self, objectives: Objectives, monitor: str, way: Direction | None) -> None:
        if self.config.pruner == "none" or objectives.directions == {monitor: way}:
            return
        why = (
            "with several objectives no trial is worse than another by one metric alone"
            if len(objectives) > 1
            else f"a training shows {monitor} after each epoch, which is not what this search goes by"
        )
        raise InputError(f"sweep.pruner: {why}; set sweep.pruner=none")
