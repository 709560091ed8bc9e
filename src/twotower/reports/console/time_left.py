"""How long a sweep still takes, from the jobs that have ended."""

from collections.abc import Collection

from twotower.runs.outcome import Outcome


class TimeLeft:
    """An estimate from the jobs that ran; those that were done before or failed teach nothing.

    Jobs that trained and jobs that took another's towers are averaged apart. How many of the jobs to come
    train is known if the sweep says so; else their share is that of the jobs so far.

    Args:
        num_jobs: in all, or None where it is not known.
        num_trainings: how many of them train, or None where it is not known.
    """

    def __init__(self, num_jobs: int | None, num_trainings: int | None = None) -> None:
        self.num_jobs = num_jobs
        self.num_trainings = num_trainings
        self.num_ended = 0
        self.num_skipped = 0
        self.most_running = 1
        self.began: dict[str, float] = {}
        self.trained: list[float] = []
        self.reused: list[float] = []

    def started(self, name: str, now: float) -> None:
        """Take note of a job that begins."""
        self.began[name] = now
        self.most_running = max(self.most_running, len(self.began))

    def ended(self, outcome: Outcome) -> None:
        """Take note of a job that ended."""
        self.began.pop(outcome.name, None)
        self.num_ended += 1
        if outcome.skipped:
            self.num_skipped += 1
        elif outcome.finished or outcome.status == "pruned":
            (self.reused if outcome.reused_from else self.trained).append(outcome.seconds)

    def seconds(self, now: float) -> float | None:
        """Return the estimate, or None where there is nothing to judge by.

        Args:
            now: on the clock of `started`.
        """
        if self.num_jobs is None or not (self.trained or self.reused):
            return None
        to_come = max(0, self.num_jobs - self.num_ended)
        share = len(self.trained) / (len(self.trained) + len(self.reused))
        to_train = to_come * share
        if self.num_trainings is not None:
            to_train = min(to_come, max(0, self.num_trainings - len(self.trained)))
        train, reuse = _mean(self.trained or self.reused), _mean(self.reused or self.trained)
        work = to_train * train + (to_come - to_train) * reuse
        spent = sum(min(now - began, max(train, reuse)) for began in self.began.values())
        return max(0.0, work - spent) / self.most_running


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def in_words(seconds: float) -> str:
    """Return a duration to read: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
