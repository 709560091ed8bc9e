"""Files of ids alone, some on each line, whitespace between them: the layouts of the field's benchmarks."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from twotower.config.errors import InputError


def path_problem(path: Path) -> str | None:
    """Return what to say of a path that names no file, None where it names one."""
    return None if path.is_file() else f"there is no file {path} (looked in {Path.cwd()})"


def id_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line, from 1, and its ids; lines without any are left out.

    An InputError names a file that cannot be read (`.gz` too), and the line that is not UTF-8.
    """
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    number = 0
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if ids := line.decode("utf-8-sig" if number == 1 else "utf-8").split():
                    yield number, ids
    except UnicodeError as error:
        raise InputError(f"{path}: line {number}: {error}; save the file as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
