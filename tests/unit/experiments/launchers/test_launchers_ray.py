import importlib.util
import logging
import sys
from pathlib import Path

import pytest

from twotower.experiments.launchers import ray as module


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="launcher=ray needs the extra: pip install 'twotower[ray]'",
)
def test_a_job_that_the_cluster_has_no_room_for_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(module, "num_cores", lambda: 1)
    (tmp_path / "meeting").mkdir()
    alone = {"do": "meet", "meeting": str(tmp_path / "meeting"), "wanted": 2, "seconds": 3.0}
    launcher = module.Ray.Config(max_jobs=2).build("launcher_tasks.run", tmp_path)
    with caplog.at_level(logging.INFO, "twotower"), launcher:
        handles = [launcher.submit(alone | {"name": name}) for name in ("first", "second")]
        assert [handle.result() for handle in handles] == [1, 1]
    said = "waits for 1 times {'CPU': 1}; the cluster has 0 of 1 CPU free"
    assert said in caplog.text
