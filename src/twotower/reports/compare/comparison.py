"""One difference between two rows, and what can be said of it in words."""

from dataclasses import dataclass

from twotower.reports.compare.entries import Entry, direction_of
from twotower.reports.compare.metric import written
from twotower.reports.compare.seeds import Luck

ALPHA = 0.05
BETTER, WORSE, NONE_SHOWN = "better", "worse", "no difference shown"
HIGHER, LOWER = "higher", "lower"
"""What is said of a figure that has no better direction."""
SAME = "the same in every user"
SEED_ONLY, BY_SEED = "same configuration: seed only", "differs by seed"
REPEAT, BY_REPEAT = "same configuration and seed", "differs, though repeated"
NOT_COMPARABLE, NOT_TESTED, UNTESTED = "not comparable", "not tested", ""


@dataclass(frozen=True)
class PairedTest:
    """Figures of a paired test of left - right.

    Args:
        low: of the 95 % interval of this difference alone, as `high`.
        high: its upper end.
        p_value: two-sided, of this comparison alone.
        corrected: for the number of comparisons made.
        with_seeds: whether seeds, not only users, were counted as luck.
    """

    low: float
    high: float
    p_value: float
    corrected: float
    with_seeds: bool


@dataclass(frozen=True)
class Comparison:
    """What is known of left - right.

    Args:
        left: the row judged.
        right: the row it is set against.
        verdict: one of the words above; empty where no test was asked for.
        reason: why there is no test or no comparison, or what to keep in mind of the verdict.
        delta: the difference, None where it would mean nothing.
        tested: None without a test.
    """

    left: Entry
    right: Entry
    verdict: str
    reason: str = ""
    delta: float | None = None
    tested: PairedTest | None = None


def judged(
    left: Entry, right: Entry, metric: str, delta: float, tested: PairedTest, luck: Luck | None
) -> Comparison:
    """Put a tested difference into words.

    Args:
        left: the row judged.
        right: the row it is set against.
        metric: the figure compared.
        delta: left - right.
        tested: the test's figures.
        luck: what the seed alone changes, where that is known.
    """
    shown = tested.corrected <= ALPHA
    if _same_configuration(left, right):
        repeat = left.run.seed == right.run.seed
        words = (BY_REPEAT, REPEAT) if repeat else (BY_SEED, SEED_ONLY)
        return Comparison(left, right, words[0] if shown else words[1], "", delta, tested)
    if not shown:
        return Comparison(left, right, NONE_SHOWN, "", delta, tested)
    verdict = _verdict(delta, direction_of(metric, (left, right)))
    reason = "" if tested.with_seeds else _luck_of_the_seed(left, right, metric, delta, luck)
    return Comparison(left, right, verdict, reason, delta, tested)


def _verdict(delta: float, higher_is_better: bool | None) -> str:
    if higher_is_better is None:
        return HIGHER if delta > 0 else LOWER
    return BETTER if (delta > 0) == higher_is_better else WORSE


def _same_configuration(left: Entry, right: Entry) -> bool:
    runs = left.kind != "baseline" and right.kind != "baseline"
    return runs and bool(left.run.configuration) and left.run.configuration == right.run.configuration


def _luck_of_the_seed(left: Entry, right: Entry, metric: str, delta: float, luck: Luck | None) -> str:
    """Say it when a difference is no larger than other seeds could make it."""
    if luck is None:
        return ""
    # A baseline has no seed; a mean over n seeds varies with 1 / n.
    shares = sum(1 / len(entry.runs) for entry in (left, right) if entry.kind != "baseline")
    if abs(delta) > luck.reach * (shares / 2) ** 0.5:
        return ""
    return f"within the luck of the seed: sd {written(metric, luck.sd)} over {luck.num_seeds} seeds"
