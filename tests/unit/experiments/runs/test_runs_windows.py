"""The summary of windows: means, spread and Kendall's tau by hand."""

import pandas as pd
import pytest

from twotower.experiments.runs.result import Result
from twotower.experiments.runs.windows import agreement, summarize_windows, window_entry

KIND = "recall_at_20"


def entries(towers, ease, popularity):
    """Entries of windows whose models have these (valid, test) figures."""

    def figures(pair):
        return {f"valid/{KIND}": pair[0], f"test/{KIND}": pair[1]}

    return [
        window_entry(
            window,
            f"windows/{window}",
            Result(
                status="ok",
                metrics={**figures(one), f"test_exact/{KIND}": one[1] + 0.125},
                baselines={"ease": figures(two), "popularity": figures(three)},
            ),
        )
        for window, (one, two, three) in enumerate(zip(towers, ease, popularity, strict=True), 1)
    ]


def test_means_are_of_exact_search_and_tau_is_of_towers_and_baselines():
    made = entries([(0.5, 0.25), (0.25, 0.5)], [(0.4, 0.3), (0.3, 0.3)], [(0.1, 0.1), (0.1, 0.4)])
    found = summarize_windows(made, KIND)
    assert found["metrics"][f"valid/{KIND}"] == pytest.approx(
        {"mean": 0.375, "sd": 0.125 * 2**0.5, "min": 0.25, "max": 0.5}
    )
    assert found["metrics"][f"test/{KIND}"]["mean"] == 0.5  # 0.375 + 0.625, not those of the index
    # valid: towers > ease > popularity, then ease > towers > popularity: 2 of 3 pairs agree, (2 - 1) / 3
    # test: towers > ease > popularity, then towers > popularity > ease
    # within: window 1 agrees in all; window 2, valid ease > towers > popularity: 0 - 3 pairs, ...
    taus = found["kendall_tau"]
    assert taus["valid"] == pytest.approx(1 / 3)
    assert taus["test"] == pytest.approx(1 / 3)
    # window 2: ease > towers > popularity against towers > popularity > ease: 1 of 3 pairs agrees
    assert taus["valid_and_test"] == pytest.approx((1 - 1 / 3) / 2)
    result = Result(status="ok", metrics={}, windows=made, windows_summary=found)
    assert result.figures()[f"mean_test/{KIND}"] == 0.5
    assert result.final_figures()[f"sd_valid/{KIND}"] == pytest.approx(0.125 * 2**0.5)


def test_a_failed_window_leaves_no_mean_and_one_window_no_spread():
    made = entries([(0.5, 0.25)] * 2, [(0.4, 0.3)] * 2, [(0.1, 0.1)] * 2)
    failed = window_entry(1, "windows/1", Result(status="failed", error="it diverged"))
    assert failed["error"] == "it diverged"
    assert summarize_windows([failed, made[1]], KIND) == {}
    alone = summarize_windows(made[:1], KIND)
    assert alone["metrics"][f"valid/{KIND}"]["sd"] is None
    assert alone["kendall_tau"]["valid"] is None
    assert Result(status="ok", windows_summary=alone).figures() == {
        f"mean_{key}": each["mean"] for key, each in alone["metrics"].items()
    }


def test_agreement_leaves_out_missing_models_and_ties_of_all():
    table = pd.DataFrame([[3.0, 2.0, 1.0, None], [1.0, 2.0, 3.0, 4.0]])
    assert agreement(table) == -1
    assert agreement(table.T[:1].T) is None
    assert agreement(pd.DataFrame([[1.0, 1.0], [1.0, 2.0]])) is None
