"""Main effects of the keys of a sweep, by hand."""

import itertools

import pytest

from twotower.experiments.runs.outcome import main_effects

METRIC = "valid/recall_at_20"
JOBS = list(itertools.product(["8", "16", "32"], ["a", "b"], ["1", "2"]))
SETTINGS = {key: {"".join(job): job[at] for job in JOBS} for at, key in enumerate(("dim", "loss", "seed"))}
SCORES = {"".join(job): {"8": 0.25, "16": 0.5, "32": 0.25}[job[0]] + int(job[2]) / 64 for job in JOBS}


def test_the_mean_over_pairs_that_differ_in_one_key_alone() -> None:
    scores = SCORES | {"16a1": 0.125 + 1 / 64}  # .5 becomes .125 in one of four pairs
    assert main_effects(SETTINGS, scores, METRIC, False) == [
        "dim=16  +0.1562 against 8 (3 of 4 pairs agree), +0.1562 against 32 (3 of 4 pairs agree)",
        "loss=b  +0.0625 against a (1 of 6 pairs agree)",
    ]
    assert main_effects(SETTINGS, SCORES, METRIC, True)[0] == (
        "dim=8  -0.2500 against 16 (4 of 4 pairs agree), equal to 32 in all 4 pairs"
    )
    assert main_effects(SETTINGS, SCORES, METRIC, False)[1] == "loss=a  equal to b in all 6 pairs"


@pytest.mark.parametrize("jobs", [[], ["8a1"], ["8a1", "16b1"], ["8a1", "8a2"]])
def test_jobs_without_a_pair_have_no_effects(jobs: list[str]) -> None:
    assert main_effects(SETTINGS, {job: SCORES[job] for job in jobs}, METRIC, False) == []
