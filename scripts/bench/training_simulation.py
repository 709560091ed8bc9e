"""A discrete-event simulation of training in several processes: compute, exchange, stragglers, failures.

A step is a sequence of phases. In a phase each process computes, then all exchange, so the slowest process
decides. Meanwhile a thread of each process gathers the next batch. The computations of a machine share its
cores.
"""

import heapq
import math
import random
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Phase:
    """A part of a step.

    Attributes:
        work: seconds of a core that each process computes.
        exchange: seconds of the exchange that begins when all processes have computed.
    """

    work: float
    exchange: float = 0.0


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        phases: one after another.
        gather: seconds of a core for the next batch, in another thread of each process.
    """

    phases: tuple[Phase, ...]
    gather: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Machines with the same number of processes and cores; `cores` may be a fraction."""

    machines: int = 1
    processes: int = 1
    cores: float = math.inf


@dataclass(frozen=True)
class Disturbances:
    """What makes steps longer; none by default.

    Attributes:
        sigma: standard deviation of the logarithm of a computation, whose mean is kept.
        straggler_share: probability that a computation takes `straggler_factor` times as long.
        failure_seconds: mean time between two failures of a machine.
        restart_seconds: from a failure to the first step after the last checkpoint.
        checkpoint_steps: number of steps from one checkpoint to the next; 0 writes none.
        checkpoint_seconds: time of one, in which nothing is trained.
    """

    sigma: float = 0.0
    straggler_share: float = 0.0
    straggler_factor: float = 1.0
    failure_seconds: float = math.inf
    restart_seconds: float = 0.0
    checkpoint_steps: int = 0
    checkpoint_seconds: float = 0.0


@dataclass
class Outcome:
    """Result of a simulation, in seconds; `lost` is from the last checkpoint to the failure."""

    seconds: float = 0.0
    exchanging: float = 0.0
    checkpointing: float = 0.0
    lost: float = 0.0
    failures: int = 0
    ends: list[float] = field(default_factory=list)
    """The time at the end of each step that counts."""


Job = tuple[int, str]
"""Number of a process, and `compute` or `gather`."""


class Cores:
    """The computations of a machine, which share its cores equally; none uses more than one."""

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self.left: dict[Job, float] = {}
        self.updated = 0.0

    def rate(self) -> float:
        """Return the speed of each computation."""
        return min(1.0, self.cores / len(self.left)) if self.left else 0.0

    def advance(self, now: float) -> None:
        """Compute until `now`."""
        done, self.updated = (now - self.updated) * self.rate(), now
        for job in self.left:
            self.left[job] -= done

    def next_end(self) -> float:
        """Return when the first computation ends."""
        return self.updated + max(0.0, min(self.left.values())) / self.rate() if self.left else math.inf

    def finished(self) -> list[Job]:
        """Remove and return the computations that have ended."""
        rounding = 1e-12 * max(1.0, self.updated)
        ended = [job for job, left in self.left.items() if left <= rounding]
        for job in ended:
            del self.left[job]
        return ended


def simulate(
    step: Step, cluster: Cluster, num_steps: int, disturbances: Disturbances | None = None, seed: int = 0
) -> Outcome:
    """Simulate a training. Equal seeds give equal outcomes.

    The heap has one event per machine (a computation ends), the end of an exchange or of a checkpoint, and
    the next failure.
    """
    return _Simulation(step, cluster, disturbances or Disturbances(), random.Random(seed)).run(num_steps)


class _Simulation:
    def __init__(self, step: Step, cluster: Cluster, disturbances: Disturbances, rng: random.Random) -> None:
        self.step, self.cluster, self.disturbances, self.rng = step, cluster, disturbances, rng
        self.machines = [Cores(cluster.cores) for _ in range(cluster.machines)]
        self.heap: list[tuple[float, int, str, int]] = []
        self.versions = [0] * cluster.machines  # an event of an older version is void
        self.number, self.now = 0, 0.0
        self.saved, self.saved_steps = 0.0, 0
        self.outcome = Outcome()

    def run(self, num_steps: int) -> Outcome:
        """Process events in the order of time until all steps are done."""
        handlers = {
            "computed": self._computed,
            "exchanged": self._next_phase,
            "saved": self._save,
            "failure": self._fail,
        }
        self._schedule_failure()
        self._begin_step()
        while len(self.outcome.ends) < num_steps:
            self.now, _, kind, argument = heapq.heappop(self.heap)
            handlers[kind](argument)
        self.outcome.seconds = self.now
        return self.outcome

    def _push(self, seconds: float, kind: str, argument: int = 0) -> None:
        self.number += 1
        heapq.heappush(self.heap, (seconds, self.number, kind, argument))

    def _begin_step(self) -> None:
        self.phase = -1
        self.gathering = self.cluster.machines * self.cluster.processes if self.step.gather else 0
        if self.step.gather:
            self._start("gather", self.step.gather)
        self._next_phase(0)

    def _next_phase(self, _: int) -> None:
        self.phase += 1
        self.computing = 0
        if self.phase < len(self.step.phases):
            self.computing = self.cluster.machines * self.cluster.processes
            self._start("compute", self.step.phases[self.phase].work)
        else:
            self._end_step_if_done()

    def _start(self, kind: str, work: float) -> None:
        """Start a computation of every process."""
        for machine, cores in enumerate(self.machines):
            cores.advance(self.now)
            for process in range(self.cluster.processes):
                cores.left[process, kind] = work * self._factor()
            self._schedule(machine)

    def _factor(self) -> float:
        sigma, factor = self.disturbances.sigma, 1.0
        if sigma:
            factor = self.rng.lognormvariate(-(sigma**2) / 2, sigma)
        if self.disturbances.straggler_share and self.rng.random() < self.disturbances.straggler_share:
            factor *= self.disturbances.straggler_factor
        return factor

    def _schedule(self, machine: int) -> None:
        self.versions[machine] += 1
        if (ends := self.machines[machine].next_end()) < math.inf:
            self._push(ends, "computed", machine + len(self.machines) * self.versions[machine])

    def _computed(self, argument: int) -> None:
        version, machine = divmod(argument, len(self.machines))
        if version != self.versions[machine]:
            return
        self.machines[machine].advance(self.now)
        ended = [kind for _, kind in self.machines[machine].finished()]
        self._schedule(machine)
        self.gathering -= ended.count("gather")
        self.computing -= (computed := ended.count("compute"))
        if computed and not self.computing:
            exchange = self.step.phases[self.phase].exchange
            self.outcome.exchanging += exchange
            self._push(self.now + exchange, "exchanged")
        elif ended.count("gather"):
            self._end_step_if_done()

    def _end_step_if_done(self) -> None:
        if self.phase < len(self.step.phases) or self.gathering:
            return
        self.outcome.ends.append(self.now)
        every = self.disturbances.checkpoint_steps
        if every and len(self.outcome.ends) % every == 0:
            self._push(self.now + self.disturbances.checkpoint_seconds, "saved")
        else:
            self._begin_step()

    def _save(self, _: int) -> None:
        self.outcome.checkpointing += self.disturbances.checkpoint_seconds
        self.saved, self.saved_steps = self.now, len(self.outcome.ends)
        self._begin_step()

    def _schedule_failure(self) -> None:
        rate = self.cluster.machines / self.disturbances.failure_seconds
        if rate:
            self._push(self.now + self.rng.expovariate(rate), "failure")

    def _fail(self, _: int) -> None:
        """Go back to the last checkpoint: all processes start again."""
        self.outcome.failures += 1
        self.outcome.lost += self.now - self.saved
        del self.outcome.ends[self.saved_steps :]
        self.heap.clear()
        self.now += self.disturbances.restart_seconds
        self.saved = self.now
        for machine, cores in enumerate(self.machines):
            cores.left.clear()
            cores.updated = self.now
            self.versions[machine] += 1
        self._schedule_failure()
        self._begin_step()


def mean_step(
    step: Step, cluster: Cluster, disturbances: Disturbances, num_steps: int, seed: int = 0
) -> float:
    """Return the seconds of a step without failures and checkpoints."""
    steady = replace(disturbances, failure_seconds=math.inf, checkpoint_steps=0)
    return simulate(step, cluster, num_steps, steady, seed).seconds / num_steps


def long_training(
    step_seconds: float, num_steps: int, num_machines: int, disturbances: Disturbances, seed: int = 0
) -> Outcome:
    """Simulate checkpoints and failures of a long training; the steps of a checkpoint are one event."""
    every = disturbances.checkpoint_steps
    blocks = Step((Phase(step_seconds * every),))
    of_blocks = replace(disturbances, sigma=0.0, straggler_share=0.0, checkpoint_steps=1)
    return simulate(blocks, Cluster(num_machines), math.ceil(num_steps / every), of_blocks, seed)
