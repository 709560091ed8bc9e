"""Where runs may lie: in a root that can be written to, under names that stay below it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem

ROOM_FOR_FILES = 512
"""Bytes of a path below `<output_root>/<name>`: of a sweep's folder, a job's and its files."""


def problems_of_place(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what keeps runs from lying where `output_root` and `name` say; nothing is written to find out."""
    root, name = settings.get("output_root"), settings.get("name")
    if not isinstance(root, str):
        return
    if "\0" in root:
        yield Problem("output_root", f"{root!r} is no path: it holds a zero byte")
        return
    folder = Path(root).absolute()
    there = next(place for place in (folder, *folder.parents) if os.access(place, os.F_OK))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Problem("output_root", f"{there} is not a folder that this user may write to; name another")
        return
    most, longest = (os.pathconf(there, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
    yield from _too_long("output_root", folder, most, longest)
    if not isinstance(name, str):
        return
    if "\0" in name or any(part == "" or part.startswith(".") for part in name.split("/")):
        message = (
            "expected a folder below output_root, as in mine or mine/first; no part may begin with a dot"
        )
        yield Problem("name", f"{message}, got {name!r}")
    else:
        yield from _too_long("name", Path(name), most, longest, len(os.fsencode(folder)) + 1)


def _too_long(key: str, path: Path, most: int, longest: int, before: int = 0) -> Iterator[Problem]:
    part = max((os.fsencode(part) for part in path.parts), key=len)
    if len(part) > most:
        begin = os.fsdecode(part[:20])
        yield Problem(key, f"{begin}... has {len(part)} bytes, and the name of a folder at most {most}")
    elif (length := before + len(os.fsencode(path))) > longest - ROOM_FOR_FILES:
        message = (
            f"the path to it has {length} bytes, and may have {longest}, of which runs need {ROOM_FOR_FILES}"
        )
        yield Problem(key, message)
