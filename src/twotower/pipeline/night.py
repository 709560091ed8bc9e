"""The nightly update: export live changes, train further, compare with the served towers, publish."""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
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


def nightly(
    settings: Mapping[str, Any], service: ServiceClient, report: Callable[[str], object] = print
) -> int:
    """Update a service; returns the exit status, `GATE_REFUSED` if the new towers are worse.

    The served towers get a bundle on tonight's data too (`rebuild_bundle`). Both runs are then evaluated on
    the same users, targets and catalogue: the newest test window, on which neither was trained. If the new
    towers are refused or a step fails, the service is unchanged. The next night starts from the served run,
    and live changes stay in the store.

    Args:
        settings: of `twotower nightly`, see `conf/nightly.yaml`.
        service: client of the running service.
        report: called with one line per step.

    Raises:
        InputError: the service cannot be reached, or `export_live`, `rebuild_bundle` or `warm_start` refuses
            its input.
    """
    nights, changes, metric = Path(settings["nights"]), settings["changes"], settings["metric"]
    trusted = settings["trusted_packages"]
    with stoppable(lambda: STOPPED), lock_folder(nights, "night"):
        run = service.run()
        report(f"served     {run}")
        old = Run.open(run, trusted)
        resolve_metric(run, metric)  # a wrong metric is an error before the training
        refuse_other_towers("changes", [f"{key}=" for key in changes])
        changed = {key: _merge(old.settings.get(key), value) for key, value in changes.items()}
        out = run_folder(nights)
        paths = {table: settings[table] for table in TABLES if settings[table]}
        counts = export_live(old.settings, Path(settings["store"]), out, paths, settings["fill"])
        report(f"exported   {counts.message(out)}")
        changed["data"] = {**changed.get("data", old.settings["data"]), **table_paths(out)}
        changed["console"] = settings["console"]
        evaluation = {key: changed[key] for key in EVALUATION_KEYS if key in changed}
        rebuilt = _new_run(run, evaluation, trusted)
        report(f"rebuilt    {rebuilt}: the served towers on tonight's data")
        start = {"run": str(run), "epochs": settings["epochs"], "replay": settings["replay"]}
        new = _new_run(run, {**changed, WARM_START: start}, trusted)
        report(f"trained    {new}")
        result = evaluate_gate(rebuilt, new, metric, settings["alpha"])
        report(f"gate       {result.message()}")
        version = service.publish(new) if result.passed else service.version()
        report(f"{'published' if result.passed else 'unchanged'}  {version}")
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


def _new_run(run: Path, changes: Mapping[str, Any], trusted: Collection[str]) -> Path:
    """Train the towers of a run further if the changes have a `WarmStart`, else rebuild its bundle.

    Returns:
        Folder of the new run.

    Raises:
        InputError: the index of the new run was rejected.
    """
    mode, start = (WARM_START, warm_start) if WARM_START in changes else (REBUILD_BUNDLE, rebuild_bundle)
    folder = run_folder(run.parent, [mode])
    if start(run, changes, (), trusted, folder=folder) != DONE:
        reason = rejection(read_manifest(folder / BUNDLE)) or "its index was rejected"
        raise InputError(f"{folder}: {reason}; nothing is published, set changes.index to another index")
    return folder


def _merge(before: Any, value: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        return {**before, **{key: _merge(before.get(key), each) for key, each in value.items()}}
    return value
