"""Nothing acknowledged is lost.

The process killed here is the service without HTTP, forked from one that has imported everything, so that
eight kills take seconds.
"""

import pytest
import tiny_bundle
from kills import ACTIONS, InsideService, rounds


@pytest.mark.slow
def test_eight_kills_lose_nothing_that_was_acknowledged(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items="tower")
    service = InsideService(tmp_path / "bundle", tmp_path / "live.db")
    try:
        figures = rounds(service, num_kills=8, seed=3, most_load_seconds=0.1, least_acknowledged=40)
    finally:
        service.kill()
    assert figures["violations"] == []
    assert figures["kills"] == 8
    for action in ACTIONS:
        assert figures[f"acknowledged: {action}"] > 8
    assert (
        figures.get("under way and kept", 0) + figures.get("under way and absent", 0)
        <= figures["under way when killed"]
    )
