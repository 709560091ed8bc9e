"""Settings of a run as the base of a command: `reindex` and others start from them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twotower.commands.conf import first_line, groups
from twotower.config.errors import InputError
from twotower.config.problems import Problem
from twotower.config.trust import SETTING as TRUST
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.run_files import require_run

OF_THE_RUN = "of_the_run"
"""Value in a command's YAML: the default of this group or key is the setting of the run."""
COMMAND = "command"
"""Name of the command's settings in Hydra's store."""
INTERPOLATION = re.compile(r"(\\*)\$\{")
PLAIN_PATH = re.compile(r"[\w./-]+")


def keys_from_run(command: Mapping[str, Any]) -> set[str]:
    """Return the groups and keys with the value `of_the_run` in a command's YAML."""
    entries = [command, *(entry for entry in command["defaults"] if isinstance(entry, dict))]
    return {key for entry in entries for key, value in entry.items() if value == OF_THE_RUN}


def store_command(command: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Problem]:
    """Put a command's YAML into Hydra's store, with the settings of the run that `run=` names.

    Args:
        overrides: valid overrides with one value each.

    Returns:
        Key -> problem. If the run cannot be read, `run` has a problem, and the settings that come from it are
        empty.
    """
    from_run, store = keys_from_run(command), ConfigStore.instance()
    own: dict[str, Any] = {}
    problems: dict[str, Problem] = {}
    try:
        run = _run_settings([*overrides]) if from_run else {}
        own = {key: literal(value) for key, value in run.items() if key in from_run}
        OmegaConf.create(own)  # raises for values that no configuration can hold
    except (InputError, OmegaConfBaseException) as error:
        own, problems = {}, {"run": Problem("run", first_line(error))}
    for group in from_run & groups():
        choice = own.get(group)
        store.store(OF_THE_RUN, choice if isinstance(choice, dict) else {}, group)
    store.store(COMMAND, {**command, **{key: own.get(key) for key in from_run - groups()}})
    return problems


def _run_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the run that the last `run=` names."""
    typed = [text for text in overrides if override_key(text) == "run"]
    if not typed or typed[-1].startswith("~"):
        raise InputError("required, but not set")
    value = OverridesParser.create().parse_override(typed[-1]).value()
    folder = Path(str(OmegaConf.create({"run": value})["run"]))
    require_run(folder)
    from twotower.experiments.runs.run import Run  # imports pandas

    # `trusted_packages` is not composed yet; `check_trust` runs before anything is built from the settings.
    return Run.open(folder, None).settings


def check_trust(settings: Mapping[str, Any]) -> None:
    """Raise InputError if a command's run names classes that are not trusted, before any is imported."""
    from twotower.experiments.runs.run import Run

    Run.open(Path(str(settings["run"])), settings[TRUST])


def literal(value: Any) -> Any:
    """Return plain values with `${` escaped, so that OmegaConf resolves nothing in them."""
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [literal(each) for each in value]
    return INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def path_override(key: str, path: str | Sequence[str]) -> str:
    """Return an override of a path or a list; paths with other characters than most are quoted."""
    paths = [path] if isinstance(path, str) else path
    listed = ",".join(each if PLAIN_PATH.fullmatch(each) else quoted(each) for each in paths)
    return f"{key}={listed if isinstance(path, str) else f'[{listed}]'}"


def quoted(text: str) -> str:
    """Return a text quoted for an override."""
    return QuotedString(literal(text), Quote.single).with_quotes()
