"""The nightly update: export live changes, train further, compare with the served towers, publish."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twotower.bundle.layout import BUNDLE
from twotower.bundle.manifest import read_manifest
from twotower.bundle.notices import known_until, rejection
from twotower.config.errors import InputError, NothingNewError
from twotower.config.exits import DONE, GATE_REFUSED, stoppable
from twotower.config.problems import nearest
from twotower.config.run_keys import WARM_START
from twotower.config.spec import TARGET
from twotower.evaluation.user_values import metric_name
from twotower.experiments.compare.paired import (
    UnpairedError,
    read_column,
    sign_flips,
    user_difference,
)
from twotower.experiments.runs.result import read_finished_result
from twotower.experiments.runs.run import Run, run_folder
from twotower.experiments.runs.run_files import CONFIG, GATE, PER_USER
from twotower.files.atomic import clear_killed, temporary_folder, write_text_atomically
from twotower.files.lock import lock_folder
from twotower.jobs.train_run import rebuild_bundle, refuse_other_towers, warm_start
from twotower.serving.nightly.live_export import TABLES, export_live, is_exported
from twotower.serving.nightly.service_client import ServiceClient

ALSO_SERVED = ("data", "split", "metrics", "index", "console", "test")
"""Changed settings that also apply to the new bundle and the evaluation of the served towers."""
READ_AGAIN = ("data", "split", "trainer")
"""Settings that decide which interactions are new to the towers."""
STOPPED = "the service is unchanged; the next night starts from the run that it serves then"
TEST = "test/"


def nightly(settings: Mapping[str, Any], service: ServiceClient) -> int:
    """Update a service; returns the exit status, `GATE_REFUSED` if the new towers are worse.

    The served towers get a bundle on tonight's data too (`rebuild_bundle`). Both runs are then evaluated on
    the same users, targets and catalogue: the newest test window, on which neither was trained. If the new
    towers are refused, nothing is new or a step fails, the service is unchanged. The next night starts from
    the served run, and live changes stay in the store. `conf/nightly.yaml` has the settings.
    """
    nights, changes, metric = Path(settings["nights"]), settings["changes"], settings["metric"]
    with stoppable(lambda: STOPPED), lock_folder(nights, "night"):
        clear_killed(nights)  # each night writes to another name
        served = service.run()
        print(f"served     {served}")
        old = Run.open(served, settings["trusted_packages"])
        if (changes.get("test") or old.settings.get("test")) == "hidden":
            raise InputError(
                f"{served}: test=hidden, but the gate compares towers on the newest test window; "
                "changes.test=read evaluates them there, and the test split of that run stays hidden"
            )
        if not read_finished_result(served).is_test_hidden:
            _read_metric(served, metric)  # a wrong metric is an error before the training
        refuse_other_towers("changes", [f"{key}=" for key in changes])
        changed = {key: merged(old.settings.get(key), value) for key, value in changes.items()}
        paths = {table: settings[table] for table in TABLES if settings[table]}
        try:
            same = all(changed.get(key, old.settings[key]) == old.settings[key] for key in READ_AGAIN)
            if same and not paths and is_exported(old.settings, Path(settings["store"])):
                raise NothingNewError
            return _update(settings, service, served, old.settings, changed, paths)
        except NothingNewError:
            since = known_until(read_manifest(served / BUNDLE)) or served
            print(f"unchanged  nothing new since {since}, so nothing is trained")
            return DONE


def _update(
    settings: Mapping[str, Any],
    service: ServiceClient,
    served: Path,
    old: Mapping[str, Any],
    changed: dict[str, Any],
    paths: Mapping[str, str],
) -> int:
    """Export, train, compare and publish. A NothingNewError leaves neither an export nor a run."""
    trusted, out = settings["trusted_packages"], run_folder(Path(settings["nights"]))
    export = export_live(old, Path(settings["store"]), out, paths)
    changed["data"] = {**changed.get("data", old["data"]), **export.data}
    changed["console"] = settings["console"]
    print(f"exported   {export.message(out)}")
    start = {"run": str(served), "epochs": settings["epochs"], "replay": settings["replay"]}
    new = run_folder(served.parent, [WARM_START])
    write_text_atomically(new / GATE, json.dumps({"passed": False}))  # until it has passed
    optimizer = settings["changes"].get("optimizer", {})
    overrides = [f"optimizer.{key}={value}" for key, value in optimizer.items()]
    try:
        status = warm_start(served, {**changed, WARM_START: start}, overrides, trusted, new)
        _refuse_rejected(status, new, f"{new}")
    except InputError as error:
        if not (new / CONFIG).exists():
            shutil.rmtree(new, ignore_errors=True)
        if isinstance(error, NothingNewError):
            shutil.rmtree(out)
        raise
    print(f"trained    {new}")
    evaluation = {key: changed[key] for key in ALSO_SERVED if key in changed} | {"console": "silent"}
    with temporary_folder(served.parent / "rebuilt") as rebuilt:
        status = rebuild_bundle(served, evaluation, (), trusted, rebuilt)
        _refuse_rejected(status, rebuilt, f"{served} on tonight's data")
        gate = evaluate_gate(rebuilt, new, settings["metric"], settings["alpha"], settings["max_loss"])
    write_text_atomically(new / GATE, json.dumps(dataclasses.asdict(gate), indent=2) + "\n")
    print(f"gate       {gate.message()}")
    version = service.publish(new) if gate.passed else service.version()
    print(f"{'published' if gate.passed else 'unchanged'}  {version}")
    record = {
        **{"served": str(served), "trained": str(new), "version": version},
        **{"exported": dataclasses.asdict(export), "gate": dataclasses.asdict(gate)},
    }
    write_text_atomically(out / "night.json", json.dumps(record, indent=2) + "\n")
    return DONE if gate.passed else GATE_REFUSED


def _refuse_rejected(status: int, run: Path, name: str) -> None:
    """Raise InputError unless a run ended with an accepted index."""
    if status != DONE:
        reason = rejection(read_manifest(run / BUNDLE)) or "its index was rejected"
        raise InputError(f"{name}: {reason}; nothing is published, set changes.index to another index")


def merged(before: Any, value: Any) -> Any:
    """Return settings with changes; another class has its own keys."""
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        if value.get(TARGET, before.get(TARGET)) != before.get(TARGET):
            return value
        return {**before, **{key: merged(before.get(key), each) for key, each in value.items()}}
    return value


@dataclasses.dataclass(frozen=True)
class GateResult:
    """Comparison of two runs on the newest test window.

    `old` and `new` are means of the metric over the test users, `low` and `high` the 95 % bootstrap interval
    of new - old, and `p_value` is from a two-sided paired sign-flip test.
    """

    metric: str
    old: float
    new: float
    low: float
    high: float
    p_value: float
    num_users: int
    num_differing: int
    passed: bool
    max_loss: float | None = None

    def message(self) -> str:
        """Return the result as one line."""
        end = "not significantly worse" if self.passed else "significantly worse"
        if self.max_loss is not None:
            end = f"worse by {'at most' if self.passed else 'more than'} max_loss={self.max_loss:g}"
        return (
            f"{self.metric} {self.old:.4f} -> {self.new:.4f}, difference {self.new - self.old:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}], p {self.p_value:.4f}, {self.num_users:,} users of whom "
            f"{self.num_differing:,} differ: {end}"
        )


def evaluate_gate(
    old: Path,
    new: Path,
    metric: str | None = None,
    alpha: float = 0.05,
    max_loss: float | None = None,
) -> GateResult:
    """Compare the runs of the served towers and of the new towers by the users of the test window.

    The new towers are refused if their mean is worse and p is below alpha or, with `max_loss`, if their mean
    is worse by more than that, whatever p is. The default metric is the one that the training monitors.

    Reference: Smucker et al. 2007, "A comparison of statistical significance tests for information retrieval
    evaluation".
    """
    results = [read_finished_result(run) for run in (old, new)]
    if results[0].data.fingerprint != results[1].data.fingerprint:
        raise InputError(f"{old} and {new}: evaluated on different data, so they cannot be compared")
    metric, higher, users, values = _read_metric(new, metric)
    _, _, old_users, old_values = _read_metric(old, metric)
    if reason := user_difference(old_users, users):
        raise InputError(f"{new}: {reason} than {old}")
    difference = values - old_values
    (test,) = sign_flips(difference[None])
    p_value, (low, high) = test.p_value(), test.interval(alpha)
    before, after = np.stack([old_values, values]).mean(axis=1).tolist()
    loss = before - after if higher else after - before
    differing = int(np.count_nonzero(difference))
    passed = not (loss > 0 and p_value < alpha) if max_loss is None else loss <= max_loss
    return GateResult(metric, before, after, low, high, p_value, len(users), differing, passed, max_loss)


def _read_metric(run: Path, metric: str | None) -> tuple[str, bool, np.ndarray, np.ndarray]:
    """Return the metric, by default the monitored one, whether higher is better, its users and values."""
    result = read_finished_result(run)
    if metric is None:
        metric = str(Run.open(run, None).settings["trainer"]["monitor"]).rpartition("/")[2]
    names = {key.removeprefix(TEST): metric_name(key) for key in result.metrics if key.startswith(TEST)}
    better = {key: result.higher_is_better.get(name) for key, name in names.items()}
    higher = better.get(metric)
    if higher is None:
        valid = {key for key, way in better.items() if way is not None}
        raise InputError(
            f"metric={metric}: {run} has no metric of this name with a preferred direction; "
            f"{nearest(metric, valid)}"
        )
    try:
        return metric, higher, *read_column(run / PER_USER, metric)
    except UnpairedError as error:
        raise InputError(f"metric={metric}: {run}: {error}; name another, such as recall_at_20") from error
