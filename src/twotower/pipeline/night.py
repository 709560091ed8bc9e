"""A night: live changes into the log, towers trained further, compared with those served, and published."""

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
from twotower.files.lock import held
from twotower.pipeline.grown_data import REBUILD_BUNDLE, refresh, refuse_other_towers, warm_start
from twotower.pipeline.live_export import TABLES, export_live, table_paths, told
from twotower.pipeline.publish_gate import judge, metric_of
from twotower.pipeline.served import Served
from twotower.runs.run import Run, run_folder

RECORD = "night.json"
JUDGED = ("data", "split", "metrics", "console")
"""Changed settings that the towers that are served are judged by, too."""
STOPPED = "the service goes on as it did, and the next night begins with what it serves then"


@dataclass(frozen=True)
class Night:
    """What a night is told.

    Attributes:
        served: the service.
        store: its file of live changes.
        nights: folder of the exports, a new one in it each night.
        epochs: of the training; see `WarmStart`.
        replay: share of the old examples; ditto.
        changes: settings that tonight's training has otherwise than the run that is served, nested.
        paths: other files than the run's, by "interactions", "users" and "items".
        fill: see `export_live`.
        metric: that the gate looks at; None for the monitored one.
        alpha: see `judge`.
        trusted: packages whose classes the run's files may name.
        console: what the trainings say.
    """

    served: Served
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
    def of(cls, settings: Mapping[str, Any]) -> "Night":
        """Read it from the settings of its command."""
        same = ("epochs", "replay", "changes", "fill", "metric", "alpha", "console")
        return cls(
            Served.of(settings),
            store=Path(settings["store"]),
            nights=Path(settings["nights"]),
            paths={table: settings[table] for table in TABLES if settings[table]},
            trusted=settings["trusted_packages"],
            **{key: settings[key] for key in same},
        )


def nightly(night: Night, say: Callable[[str], object] = print) -> int:
    """Do a night's work; returns the exit status, `GATE_REFUSED` where the new towers are worse.

    The towers that are served get a bundle on tonight's data too (`rebuild_bundle`), so that both are judged
    on the same users, targets and catalogue: those of the test window, the newest, which neither was trained
    on. Where the new ones are refused, or anything fails, the service goes on as it did, and the next night
    starts from the run that is served; live changes stay in the store.

    Args:
        night: what it is told.
        say: is given each step's line.

    Raises:
        InputError: the service cannot be reached, or what `export_live`, `rebuild_bundle` and `warm_start`
        refuse.
    """
    with stoppable(lambda: STOPPED), held(night.nights, "night"):
        run = night.served.run()
        say(f"served     {run}")
        old = Run.open(run, night.trusted)
        metric_of(run, night.metric)  # what cannot be done at the end is told at the beginning
        changed = _with(old.settings, night.changes)
        out = run_folder(night.nights)
        counts = export_live(old.settings, night.store, out, night.paths, night.fill)
        say(f"exported   {told(counts, out)}")
        changed["data"] = {**changed.get("data", old.settings["data"]), **table_paths(out)}
        changed["console"] = night.console
        frozen = _trained(run, night, {key: changed[key] for key in JUDGED if key in changed}, None)
        say(f"refreshed  {frozen}: the towers that are served, on tonight's data")
        how = {"run": str(run), "epochs": night.epochs, "replay": night.replay}
        new = _trained(run, night, changed, how)
        say(f"continued  {new}")
        verdict = judge(frozen, new, night.metric, night.alpha)
        say(f"gate       {verdict.told()}")
        version = night.served.publish(new) if verdict.passed else night.served.version()
        say(f"{'published' if verdict.passed else 'kept     '}  {version}")
        facts = {"served": run, "refreshed": frozen, "continued": new}
        record = {name: str(path) for name, path in facts.items()} | {
            "exported": dataclasses.asdict(counts),
            "gate": dataclasses.asdict(verdict),
            "version": version,
        }
        write_text_atomically(out / RECORD, json.dumps(record, indent=2) + "\n")
        return DONE if verdict.passed else GATE_REFUSED


def _trained(run: Path, night: Night, changes: Mapping[str, Any], how: Mapping[str, Any] | None) -> Path:
    """Go on from a run, or refresh it where nothing says how; return the new run.

    Raises:
        InputError: its index was rejected, so that there is nothing to publish.
    """
    folder = run_folder(run.parent, [REBUILD_BUNDLE if how is None else WARM_START])
    if how is None:
        status = refresh(run, changes, (), night.trusted, folder=folder)
    else:
        status = warm_start(run, {**changes, WARM_START: how}, (), night.trusted, folder=folder)
    if status != DONE:
        reason = rejection(read_manifest(folder / BUNDLE)) or "its index was rejected"
        raise InputError(f"{folder}: {reason}; nothing is published, set changes.index to another")
    return folder


def _with(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the root keys of settings that changes touch, with these, nested, in them.

    Raises:
        InputError: they would make other towers.
    """
    refuse_other_towers("changes", [f"{key}=" for key in changes])
    return {key: _merged(settings.get(key), value) for key, value in changes.items()}


def _merged(before: Any, value: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        return {**before, **{key: _merged(before.get(key), each) for key, each in value.items()}}
    return value
