"""The texts of `--help` and `--info choices`."""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from twotower.commands.keys import shown
from twotower.commands.main import COMMAND_NAMES
from twotower.commands.run_settings import OF_THE_RUN
from twotower.config.errors import InputError
from twotower.config.reading import NOT_SET
from twotower.config.spec import TARGET, is_ours, locate

HEADINGS = {None: "  (none by default)", OF_THE_RUN: "  (as the run had it by default)"}

REFUSED = {"nightly": ", 5 the gate refused"}

COMMAND = rf"@package|python scripts/|\btwotower ({'|'.join(COMMAND_NAMES)})\b"
"""Pattern of YAML comments that show a command instead of a description."""
MAX_WIDTH = 120
NOTHING: Mapping[str, Any] = {}
Choices = Callable[[str], Mapping[str, Path]]
"""Group -> name -> file of its choices."""


def help_text(
    conf: Path, config_name: str, description: str, choices: Choices, own: Mapping[str, Any] = NOTHING
) -> str:
    """Return the command's description, then each group's choices and the plain keys.

    Args:
        conf: the folder of all choices.
        config_name: the YAML in it that the command starts from.
        description: what the command does.
        choices: of a group.
        own: group -> choice and key path -> value of the user's defaults.
    """
    config = _read(conf / f"{config_name}.yaml")
    lines = [description.strip(), "", "Groups (group=choice):"]
    for group, default in groups_of(config):
        names = ", ".join(sorted(choices(group)))
        line = f"  {group:<12} {names}  [{_of(group, 'none' if default is None else default, own)}]"
        lines += textwrap.wrap(line, MAX_WIDTH, subsequent_indent=" " * 15, break_on_hyphens=False)
    lines += ["", "Keys (key=value; every key of a choice too, e.g. loss.temperature=0.05):"]
    for key, value in keys_of(conf, config).items():
        lines.append(f"  {key:<14} [{_of(key, value, own)}]")
    lines += [f"  {key:<14} [{shown(value)}, yours]" for key, value in own.items() if "." in key]
    further = "--help GROUP what its keys are; --cfg job prints the configuration."
    lines += ["", f"--info choices says what each choice is, {further}"]
    lines += [f"Exit status: 0 done, 1 failed, 2 your input, 3 index rejected{REFUSED.get(config_name, '')}."]
    return "\n".join(lines)


def choices_text(conf: Path, config_name: str, choices: Choices, own: Mapping[str, Any] = NOTHING) -> str:
    """Return every group with its choices, one line each; the default is marked with a star.

    Args:
        conf: the folder of all choices.
        config_name: the YAML in it that the command starts from.
        choices: of a group.
        own: group -> choice of the user's defaults.
    """
    lines = []
    for group, ours in groups_of(_read(conf / f"{config_name}.yaml")):
        default = own.get(group, ours)
        heading = f"  (* is yours; else {'none' if ours is None else ours})"
        lines += ["", f"{group}{heading if group in own else HEADINGS.get(ours, '')}"]
        found = choices(group)
        width = max(map(len, found), default=0)
        for name, path in sorted(found.items()):
            mark = "*" if name == default else " "
            lines.append(f" {mark} {name:<{width}}  {_one_line(path)}".rstrip())
    return "\n".join(lines[1:])


def _of(key: str, default: Any, own: Mapping[str, Any]) -> str:
    """Return a default as `--help` shows it, marked if the user set it."""
    ours = {NOT_SET: "required", OF_THE_RUN: "as the run had it"}.get(str(default), shown(default))
    return f"{shown(own[key])}, yours; else {ours}" if key in own else ours


def groups_of(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each group and its default; `features: ${data}` means the name that is chosen for data."""
    defaults: dict[str, Any] = {}
    for entry in config["defaults"]:
        defaults |= entry if isinstance(entry, dict) else {}
    for group, default in defaults.items():
        if not group.startswith("optional"):
            yield group, defaults[default[2:-1]] if str(default).startswith("${") else default


def keys_of(conf: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return each plain key and its default, of a YAML and of those it includes."""
    keys: dict[str, Any] = {}
    for entry in config.get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            keys |= keys_of(conf, _read(conf / f"{entry}.yaml"))
    return {key: value for key, value in (keys | dict(config)).items() if key != "defaults"}


def _one_line(path: Path) -> str:
    """Return the first sentence of a choice's comments, or the first line of its class."""
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    own = " ".join(line.lstrip("# ") for line in comments if not re.search(COMMAND, line))
    if own:
        return own.partition(". ")[0].removesuffix(".") + "."
    try:
        target = _read(path).get(TARGET)
        if not is_ours(target):  # no code of other packages runs for a description
            return target if isinstance(target, str) else ""
        described = inspect.getdoc(locate(target))
    except (InputError, yaml.YAMLError) as error:
        return f"cannot be used: {' '.join(str(error).split())}"
    return described.splitlines()[0] if described else ""


def _read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    config.pop("hydra", None)
    return config
