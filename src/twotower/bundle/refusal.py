"""What is said of a file that agrees with its checksum and cannot be read all the same."""

import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError


@contextmanager
def refusing(path: Path, manifest: Mapping[str, Any]) -> Iterator[None]:
    """Turn whatever a reader says of a file into an `InputError` that names it.

    Args:
        path: of the file.
        manifest: of its bundle.
    """
    try:
        yield
    except InputError as error:
        if str(path.parent) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # the errors of the libraries that read have no class in common
        wrote, reads = manifest["versions"].get("twotower"), importlib.metadata.version("twotower")
        why = " ".join(f"{type(error).__name__}: {error!s:.300}".split())
        raise InputError(
            f"{path}: written by twotower {wrote!s:.20}, and this is {reads}, which cannot read it ({why}); "
            "use the version that wrote it, or train again"
        ) from error
