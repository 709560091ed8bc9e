"""The YAML files: their folders, the groups and keys of a command, the choices of a group."""

import functools
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import MarkedYAMLError

from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest

CONF = (Path(__file__).parents[1] / "conf").resolve()
"""Built-in files: `conf/` of a checkout, or of the installed package."""
LOCAL = CONF / "local"
"""The user's choices in a checkout, ignored by git."""
EXPERIMENT = "experiment"
SIZE = "size"
OVERLAYS = frozenset({EXPERIMENT, SIZE})
"""Groups whose choices set keys of other groups, and that are no setting of a run."""
HEADER = re.compile(r"\s*#\s*@package +_global_\s*(\n|$)")
"""Required first line of experiments and defaults; Hydra ignores it after another comment."""
VARIABLE = "TWOTOWER_CONF"
OTHERS = tuple(Path(folder).absolute() for folder in [os.environ.get(VARIABLE, "conf")] if folder)
"""Folder of the user's choices, by default `conf` of the working folder; empty if the variable is."""


def places() -> list[Path]:
    """Return the existing folders of choices; of files with the same name the first one is used."""
    return [*(place for place in (*OTHERS, LOCAL) if place.is_dir() and not _is_a_checkout(place)), CONF]


def own_place() -> Path:
    """Return the folder for the user's choices, which may not exist yet; in a checkout, conf/local.

    Raises:
        InputError: the working folder is a checkout of another installation, or no folder is set.
    """
    found = [place for place in OTHERS if not _is_a_checkout(place)]
    if not found and _is_a_checkout(CONF):
        return LOCAL
    if not found:
        raise InputError(
            f"{Path.cwd()} is a checkout of twotower, or {VARIABLE} is empty; go to a folder of your own"
        )
    return found[0]


def _is_a_checkout(place: Path) -> bool:
    """Return whether a folder of choices belongs to a checkout of twotower."""
    return (place.parent / "src" / "twotower" / "conf").is_dir()


def groups() -> frozenset[str]:
    """Return the groups: the folders of the built-in `conf/`."""
    return frozenset(path.name for path in CONF.iterdir() if path.is_dir()) - OVERLAYS - {LOCAL.name}


def choices(group: str) -> dict[str, Path]:
    """Return name -> file of the choices of a group, including the user's own."""
    folders = [conf / group for conf in reversed(places())]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def nearest_choice(name: str, group: str) -> str:
    """Return a hint with the nearest choice of a group, all choices, and the file of a new one."""
    valid, stem = choices(group), Path(name).stem.lower()
    hint, own = nearest(stem, valid), [place for place in OTHERS if not _is_a_checkout(place)]
    file = Path(*own or [LOCAL], group, f"{name}.yaml")
    if get_close_matches(stem, valid, 1, 0.7) or not name.isidentifier():
        return hint
    return f"{hint}; for a choice of your own, write the file {file}"


def misplaced() -> Iterator[Problem]:
    """Yield folders that do not exist, and files that would replace the YAML of a command."""
    named = os.environ.get(VARIABLE, "")
    for place in OTHERS if named else ():
        if not place.is_dir():
            yield Problem(VARIABLE, f"there is no folder {place}; correct it, or unset {VARIABLE}")
    ours = {path.name for path in CONF.glob("*.yaml")}
    for place in places()[:-1]:
        for name in sorted(ours.intersection(path.name for path in place.glob("*.yaml"))):
            remedy = f"rename it (defaults of your own: {place / LOCAL.name / 'default.yaml'})"
            yield Problem(str(place / name), f"is the name of a file of ours; {remedy}, or set {VARIABLE}")


def plain_file(name: str) -> dict[str, Any]:
    """Read `conf/<name>.yaml`; interpolations stay unresolved."""
    return read_yaml(CONF / f"{name}.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file; interpolations stay unresolved. Raises InputError if it has no `key: value` pairs."""
    return dict(_parsed(path, path.stat().st_mtime_ns))


def choice_values(group: str, name: str) -> dict[str, Any]:
    """Return the values of a choice and of the choices of its group that it extends."""
    values = read_yaml(choices(group)[name])
    bases = [each for each in values.pop("defaults", ()) if isinstance(each, str) and each != "_self_"]
    return {key: value for base in bases for key, value in choice_values(group, base).items()} | values


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error."""
    return str(error).strip().split("\n")[0]


@functools.cache  # read a dozen times per command and per job of a sweep
def _parsed(path: Path, changed_ns: int) -> Mapping[str, Any]:
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(
            f"line {line}: not YAML ({error.problem}); write key: value, indented with spaces"
        ) from error
    except (OSError, UnicodeDecodeError) as error:  # OmegaConf refuses a file with one number or text so
        raise InputError(f"expected key: value in UTF-8 ({first_line(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"expected key: value, got {values!r:.80}")
    return {str(key): value for key, value in values.items()}


def shape(config_name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the groups and the plain keys of a command's YAML and of the files that it includes."""
    chosen = frozenset(groups_of(config_name)) & groups()
    return chosen, frozenset(keys_of(config_name)) - chosen


def groups_of(config_name: str) -> dict[str, Any]:
    """Return group -> default; `features: ${data}` means the name that is chosen for data."""
    entries = [entry for entry in plain_file(config_name)["defaults"] if isinstance(entry, dict)]
    defaults = {group: default for entry in entries for group, default in entry.items()}
    return {
        group: defaults[default[2:-1]] if str(default).startswith("${") else default
        for group, default in defaults.items()
        if not group.startswith("optional")
    }


def keys_of(config_name: str) -> dict[str, Any]:
    """Return each plain key and its default, of a YAML and of those it includes."""
    keys: dict[str, Any] = {}
    config = plain_file(config_name)
    for entry in config.pop("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            keys |= keys_of(entry)
    return keys | config
