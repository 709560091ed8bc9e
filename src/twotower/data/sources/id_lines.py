"""Text files of ids separated by whitespace, as in research benchmarks."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from twotower.config.errors import InputError
from twotower.data.table_paths import open_text_file


def path_problem(path: Path) -> str | None:
    """Return a message if a file does not exist, else None."""
    return None if path.is_file() else f"there is no file {path} (looked in {Path.cwd()})"


def id_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, ids) of each line with ids.

    Raises InputError if the file, plain or `.gz`, cannot be read or is not UTF-8.
    """
    number = 0
    try:
        with open_text_file(path) as file:
            for number, line in enumerate(file, start=1):
                if ids := line.decode("utf-8-sig" if number == 1 else "utf-8").split():
                    yield number, ids
    except UnicodeError as error:
        raise InputError(f"{path}: line {number}: {error}; save the file as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
