"""Trackers: what they are told, by whom, and what becomes of one that fails."""

from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger, Logger

from twotower.config.errors import InputError
from twotower.files.plain_values import load_yaml
from twotower.training.phase_logger import PhaseLogger
from twotower.training.tracker import Tracker

CONF = Path(__file__).parents[3] / "conf/tracker"


class Told(Tracker):
    """Keeps what it is told; `broken` says what fails."""

    def __init__(self, config: Tracker.Config, folder: Path) -> None:
        super().__init__(config, folder)
        self.calls: list[Any] = []
        self.broken = ""

    def open(self) -> Logger:
        tracker = self

        class Fake(CSVLogger):
            def log_metrics(self, metrics: Any, step: int | None = None) -> None:
                if tracker.broken == "log":
                    raise OSError("disk is full")
                tracker.calls.append((step, dict(metrics)))

            def log_hyperparams(self, params: Any = None) -> None:
                tracker.calls += [params["status"]] if "status" in params else []

            def finalize(self, status: str) -> None:
                tracker.calls.append(status)

        if self.broken == "open":
            raise OSError("no such\nhost")
        return Fake(self.folder, name="fake")


def chosen(name: str, folder: Path, **arguments: Any) -> Tracker:
    """The tracker of a file of conf/tracker, with further arguments."""
    values = load_yaml(CONF / f"{name}.yaml")
    if arguments:
        values["arguments"] |= arguments
    return Tracker.Config.from_spec(values, "tracker").build(folder)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(Told.Config(), tmp_path)


def test_figures_of_phases_have_the_names_that_tensorboard_has(told: Told) -> None:
    with told:
        told.start({"loss": "Bce"})
        for prefix in ("", "refit-"):
            logger = PhaseLogger(told, prefix)
            logger.log_metrics({"train/loss": 0.5, "epoch": 3}, 7)
            logger.finalize("success")  # the trainer's: the run goes on
        told.log({"test/recall_at_5": 0.25})
        told.status = "ok"
    assert told.calls == [
        (7, {"train/loss": 0.5}),
        (7, {"refit-train/loss": 0.5}),
        (0, {"test/recall_at_5": 0.25}),
        "ok",
        "success",
    ]


ENDS = [(ValueError, "failed"), (KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted")]


@pytest.mark.parametrize(("error", "status"), ENDS)
def test_how_a_run_ended_badly(told: Told, error: type[BaseException], status: str) -> None:
    def end() -> None:
        with told:
            told.start({})
            told.status = "ok"
            raise error

    with pytest.raises(error):
        end()
    assert told.calls == [status, "failed"]


def test_one_that_cannot_begin_is_refused(told: Told) -> None:
    told.broken = "open"
    with pytest.raises(InputError, match=r"^tracker: Told cannot open a run: OSError: no such host$"), told:
        told.start({})
    assert told.calls == []


def test_one_that_fails_later_is_warned_of_once(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    with told:
        told.start({})
        told.broken = "log"
        logger = PhaseLogger(told, "")
        for step in range(3):
            logger.log_metrics({"train/loss": 1.0}, step)
        told.status = "ok"
    assert [record.message for record in caplog.records] == [
        "tracker Told failed and receives no more metrics: disk is full"
    ]
    assert told.calls == ["ok", "success"]


def test_tensorboard_alone_adds_nothing(tmp_path: Path) -> None:
    tracker = chosen("tensorboard", tmp_path)
    with tracker:
        tracker.start({"loss": "Bce"})
        assert not tracker.is_open
        tracker.log({"test/recall_at_5": 0.25})
    assert list(tmp_path.iterdir()) == []


def test_csv_reads_back(tmp_path: Path) -> None:
    for version, status in enumerate(("failed", "ok")):  # the second goes on with the run
        tracker = chosen("csv", tmp_path)
        with tracker:
            tracker.start({"loss": "Bce", "trainer.max_epochs": 2, "reuse": True})
            logger = PhaseLogger(tracker, "")
            for step in (4, 9):
                logger.log_metrics({"train/loss": step / 2, "epoch": 1}, step)
            logger.save()
            tracker.log({"test/recall_at_5": 0.25})
            tracker.status = status
        folder = tmp_path / "csv" / f"version_{version}"
        table = pd.read_csv(folder / "metrics.csv").set_index("step")
        assert table["train/loss"].dropna().to_dict() == {4: 2.0, 9: 4.5}
        assert table["test/recall_at_5"].dropna().to_dict() == {0: 0.25}
        assert "epoch" not in table
        settings = yaml.safe_load((folder / "hparams.yaml").read_text())
        assert settings == {"loss": "Bce", "trainer.max_epochs": 2, "reuse": True, "status": status}


def test_a_logger_that_does_not_exist_is_refused() -> None:
    problems = dict(Tracker.Config(logger="MLflowLogger").problems())
    assert "there is no 'MLflowLogger'; did you mean 'MLFlowLogger'? valid: CSVLogger, " in problems["logger"]
    with pytest.raises(InputError, match=r"^tracker: CSVLogger cannot open a run: TypeError: .*'uri'"):
        chosen("csv", Path(), uri="sqlite:///store.db").start({})


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="tracker=mlflow needs MLflow: pip install 'twotower[mlflow]'")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    uri, folder = f"sqlite:///{tmp_path}/store.db", tmp_path / "mine" / "first"
    folder.mkdir(parents=True)
    client = MlflowClient(uri)
    for status, word in (("failed", "FAILED"), ("ok", "FINISHED")):
        tracker = chosen("mlflow", folder, tracking_uri=uri)
        with tracker:
            tracker.start({"loss": "Bce", "trainer.max_epochs": 2})
            logger = PhaseLogger(tracker, "")
            logger.log_metrics({"train/loss": 0.5, "epoch": 1}, 7)
            logger.finalize("success")
            tracker.log({"test/recall_at_5": 0.25})
            tracker.status = status
        (experiment,) = [each for each in client.search_experiments() if each.name == "mine"]
        run, *_ = client.search_runs([experiment.experiment_id])  # the newest
        assert (run.info.run_name, run.info.status) == ("first", word)
        assert run.data.params == {"loss": "Bce", "trainer.max_epochs": "2", "status": status}
        assert run.data.metrics == {"train/loss": 0.5, "test/recall_at_5": 0.25}
        (point,) = client.get_metric_history(run.info.run_id, "train/loss")
        assert (point.step, point.value) == (7, 0.5)


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="tracker=wandb needs Weights & Biases: pip install 'twotower[wandb]'")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    import wandb

    for name, status, code in (("first", "ok", 0), ("second", "failed", 1)):  # jobs of a sweep in one process
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        tracker = chosen("wandb", folder)
        with tracker:
            tracker.start({"loss": "Bce"})
            run = wandb.run
            assert run is not None
            finish = mock.Mock(wraps=run.finish)
            monkeypatch.setattr(run, "finish", finish)
            assert (run.name, run.project, run.offline) == (name, "mine", True)
            tracker.log({"test/recall_at_5": 0.25})
            assert dict(run.config) == {"loss": "Bce"}
            assert run.summary["test/recall_at_5"] == 0.25
            tracker.status = status
        assert wandb.run is None
        finish.assert_called_once_with(exit_code=code)
        assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))
