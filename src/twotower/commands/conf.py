"""The YAML files: where they lie, what a door's names, which choices a group has."""

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from twotower.config.errors import InputError

CONF = Path(__file__).parents[3] / "conf"
LOCAL = CONF / "local"
"""The user's own choices, not under version control."""
OTHERS = tuple(
    Path(folder).absolute() for folder in os.environ.get("TWOTOWER_CONF", "").split(os.pathsep) if folder
)
"""Folders of choices that lie elsewhere, as a package of somebody's has them: laid out as `conf/` is."""


def groups() -> frozenset[str]:
    """Return the groups that a choice is made of: the folders of `conf/`."""
    return frozenset(path.name for path in CONF.iterdir() if path.is_dir()) - {"experiment", LOCAL.name}


def choices(group: str) -> dict[str, Path]:
    """Return name -> file of a group's choices, the user's own in `conf/local` among them."""
    places = [conf / group for conf in (CONF, *OTHERS, LOCAL)]
    return {path.stem: path for place in places for path in sorted(place.glob("*.yaml"))}


def searchpath(overrides: Iterable[str]) -> list[str]:
    """Return the override that lets Hydra find choices outside `conf/`, if there are any."""
    given = any("hydra.searchpath" in override for override in overrides)
    places = ",".join(f"file://{conf}" for conf in (LOCAL, *OTHERS) if conf.is_dir())
    return [f"hydra.searchpath=[{places}]"] if places and not given else []


def plain_file(name: str) -> dict[str, Any]:
    """Read `conf/<name>.yaml` as it stands, interpolations unresolved."""
    path = CONF / f"{name}.yaml"
    return dict(_parsed(path, path.stat().st_mtime_ns))


@functools.cache  # a command asks for its own a dozen times, and each job of a sweep does
def _parsed(path: Path, changed_ns: int) -> Mapping[str, Any]:
    values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@contextlib.contextmanager
def readable_choices() -> Iterator[None]:
    """Tell of a YAML that is none, where it is broken. Raises InputError: one is."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.name}: line {mark.line + 1}" if mark else "a YAML of conf/"
        raise InputError(f"{place}: {error.problem or error}; mend it, or move the file away") from error


def shape(config_name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the groups and the plain keys that a door's YAML names, itself or in a file it includes."""
    config = plain_file(config_name)
    named = {key for entry in config["defaults"] if isinstance(entry, dict) for key in entry}
    return frozenset(named & groups()), frozenset(_keys(config_name) - named - {"defaults", "hydra"})


def _keys(name: str) -> set[str]:
    config = plain_file(name)
    included = [entry for entry in config.get("defaults", ()) if isinstance(entry, str) and entry != "_self_"]
    return set(config).union(*map(_keys, included))
