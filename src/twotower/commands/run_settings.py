"""What a command that starts from a run composes on: the run's own settings, lent to Hydra."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twotower.commands.conf import groups
from twotower.config.errors import InputError
from twotower.config.problems import Problem
from twotower.config.trust import SETTING as TRUST
from twotower.runs.run_files import refuse_no_run

OF_THE_RUN = "of_the_run"
"""How a command's YAML says that a group or a key is as the run had it, unless something is typed."""
OF_THE_DOOR = "of_the_command"
"""Under which Hydra finds what a command starts from that asks nothing of a run."""
INTERPOLATION = re.compile(r"(\\*)\$\{")


def asked_of_the_run(command: Mapping[str, Any]) -> set[str]:
    """Return the groups and keys for which a command's YAML says `of_the_run`."""
    entries = [command, *(entry for entry in command["defaults"] if isinstance(entry, dict))]
    return {key for entry in entries for key, value in entry.items() if value == OF_THE_RUN}


def store_run_settings(
    command: Mapping[str, Any], overrides: Iterable[str]
) -> tuple[str, dict[str, Problem]]:
    """Let Hydra find a command, and what it asks of the run that `run=` names, wherever else it looks first.

    Args:
        command: its YAML.
        overrides: that can be read, one value each.

    Returns:
        The name of what Hydra shall compose, and key -> what is wrong with it. Of a run that cannot be read,
        which is a problem of `run`, everything is empty.
    """
    asked = asked_of_the_run(command)
    store = ConfigStore.instance()
    if not asked:
        store.store(OF_THE_DOOR, dict(command))
        return OF_THE_DOOR, {}
    own: dict[str, Any] = {}
    problems: dict[str, Problem] = {}
    try:
        own = {key: literal(value) for key, value in _own_settings(overrides).items() if key in asked}
        OmegaConf.create(own)  # refuses what no configuration can hold
    except (InputError, OmegaConfBaseException) as error:
        own, problems = {}, {"run": Problem("run", str(error).strip().split("\n")[0])}
    for group in asked & groups():
        choice = own.get(group)
        store.store(OF_THE_RUN, choice if isinstance(choice, dict) else {}, group)
    store.store(OF_THE_RUN, {**command, **{key: own.get(key) for key in asked - groups()}})
    return OF_THE_RUN, problems


def _own_settings(overrides: Iterable[str]) -> dict[str, Any]:
    typed = OverridesParser.create().parse_overrides(list(overrides))
    folders = [each.value() for each in typed if each.key_or_group == "run" and not each.is_delete()]
    if not folders:
        raise InputError("required, but not set")
    folder = Path(str(OmegaConf.create({"run": folders[-1]})["run"]))
    refuse_no_run(folder)
    from twotower.runs.run import Run  # with torch, which a mistake need not wait for

    # Only to look at: whom the user trusts is part of what is being composed; see `check_trust`.
    return Run.open(folder, None).settings


def check_trust(settings: Mapping[str, Any]) -> None:
    """Refuse a run whose settings name classes of packages that are not trusted, before any is imported.

    Args:
        settings: composed, of a command that asks something of a run.

    Raises:
        InputError: see `Run.open`.
    """
    from twotower.runs.run import Run

    Run.open(Path(str(settings["run"])), settings[TRUST])


def literal(value: Any) -> Any:
    """Return plain values as OmegaConf must be told them to take them as they stand."""
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [literal(each) for each in value]
    return INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def quoted(text: str) -> str:
    """Return a text as an override must say it to mean just this text."""
    return QuotedString(literal(text), Quote.single).with_quotes()
