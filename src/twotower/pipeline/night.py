"""The nightly update: export live changes, train further, compare with the served towers, publish."""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twotower.bundle.layout import BUNDLE
from twotower.bundle.manifest import read_manifest
from twotower.bundle.notices import rejection
from twotower.config.errors import InputError
from twotower.config.exits import DONE, GATE_REFUSED, stoppable
from twotower.config.run_keys import WARM_START
from twotower.files.atomic import write_text_atomically
from twotower.files.lock import lock_folder
from twotower.pipeline.grown_data import REBUILD_BUNDLE, rebuild_bundle, refuse_other_towers, warm_start
from twotower.pipeline.live_export import TABLES, export_live, table_paths
from twotower.pipeline.publish_gate import evaluate_gate, resolve_metric
from twotower.pipeline.service_client import ServiceClient
from twotower.runs.run import Run, run_folder

RECORD = "night.json"
EVALUATION_KEYS = ("data", "split", "metrics", "console")
"""Changed settings that also apply to the evaluation of the served towers."""
STOPPED = "the service is unchanged; the next night starts from the run that it serves then"


@dataclass(frozen=True)
class Night:
    """Settings of a nightly update.

    Attributes:
        service: client of the running service.
        store: file of the service's live changes.
        nights: folder of the exports; each night adds a folder.
        epochs: number of epochs; see `WarmStart`.
        replay: share of the old examples; see `WarmStart`.
        changes: nested settings that differ from those of the served run.
        paths: files that replace those of the run, by "interactions", "users" and "items".
        fill: see `export_live`.
        metric: metric of the gate; None: the monitored metric.
        alpha: see `evaluate_gate`.
        trusted: packages whose classes the files of the run may name.
        console: console of the trainings.
    """

    service: ServiceClient
    store: Path
    nights: Path
    epochs: int
    replay: float
    changes: Mapping[str, Any] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)
    metric: str | None = None
    alpha: float = 0.05
    trusted: Collection[str] = ()
    console: str = "quiet"

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Night":
        """Return the settings of `twotower nightly`, typed."""
        same = ("epochs", "replay", "changes", "fill", "metric", "alpha", "console")
        return cls(
            ServiceClient.from_settings(settings),
            store=Path(settings["store"]),
            nights=Path(settings["nights"]),
            paths={table: settings[table] for table in TABLES if settings[table]},
            trusted=settings["trusted_packages"],
            **{key: settings[key] for key in same},
        )


def nightly(night: Night, say: Callable[[str], object] = print) -> int:
    """Update the service; returns the exit status, `GATE_REFUSED` if the new towers are worse.

    The served towers get a bundle on tonight's data too (`rebuild_bundle`). Both runs are then evaluated on
    the same users, targets and catalogue: the newest test window, on which neither was trained. If the new
    towers are refused or a step fails, the service is unchanged. The next night starts from the served run,
    and live changes stay in the store.

    Args:
        night: settings.
        say: called with one line per step.

    Raises:
        InputError: the service cannot be reached, or `export_live`, `rebuild_bundle` or `warm_start` refuses
            its input.
    """
    with stoppable(lambda: STOPPED), lock_folder(night.nights, "night"):
        run = night.service.run()
        say(f"served     {run}")
        old = Run.open(run, night.trusted)
        resolve_metric(run, night.metric)  # a wrong metric is an error before the training
        refuse_other_towers("changes", [f"{key}=" for key in night.changes])
        changed = {key: _merge(old.settings.get(key), value) for key, value in night.changes.items()}
        out = run_folder(night.nights)
        counts = export_live(old.settings, night.store, out, night.paths, night.fill)
        say(f"exported   {counts.message(out)}")
        changed["data"] = {**changed.get("data", old.settings["data"]), **table_paths(out)}
        changed["console"] = night.console
        rebuilt = _new_run(run, night, {key: changed[key] for key in EVALUATION_KEYS if key in changed})
        say(f"rebuilt    {rebuilt}: the served towers on tonight's data")
        warm_start_settings = {"run": str(run), "epochs": night.epochs, "replay": night.replay}
        new = _new_run(run, night, {**changed, WARM_START: warm_start_settings})
        say(f"trained    {new}")
        result = evaluate_gate(rebuilt, new, night.metric, night.alpha)
        say(f"gate       {result.message()}")
        version = night.service.publish(new) if result.passed else night.service.version()
        say(f"{'published' if result.passed else 'unchanged'}  {version}")
        record = {
            "served": str(run),
            "rebuilt": str(rebuilt),
            "trained": str(new),
            "exported": dataclasses.asdict(counts),
            "gate": dataclasses.asdict(result),
            "version": version,
        }
        write_text_atomically(out / RECORD, json.dumps(record, indent=2) + "\n")
        return DONE if result.passed else GATE_REFUSED


def _new_run(run: Path, night: Night, changes: Mapping[str, Any]) -> Path:
    """Train the towers of a run further if the changes have a `WarmStart`, else rebuild its bundle.

    Returns:
        Folder of the new run.

    Raises:
        InputError: the index of the new run was rejected.
    """
    is_warm_start = WARM_START in changes
    folder = run_folder(run.parent, [WARM_START if is_warm_start else REBUILD_BUNDLE])
    start = warm_start if is_warm_start else rebuild_bundle
    if start(run, changes, (), night.trusted, folder=folder) != DONE:
        reason = rejection(read_manifest(folder / BUNDLE)) or "its index was rejected"
        raise InputError(f"{folder}: {reason}; nothing is published, set changes.index to another index")
    return folder


def _merge(before: Any, value: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        return {**before, **{key: _merge(before.get(key), each) for key, each in value.items()}}
    return value
