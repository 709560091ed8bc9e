"""What a source or a split was asked for, as a value that can be hashed."""

import hashlib
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twotower.config.spec import spec_of
from twotower.files.atomic import sha256_of_file


def arguments_of(instance: object) -> dict[str, Any]:
    """Return the spec of an instance that keeps its keyword-only arguments as attributes."""
    parameters = inspect.signature(type(instance)).parameters.values()
    names = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    return spec_of(instance, **{name: getattr(instance, name) for name in names})


def fingerprint_of(content: Any) -> str:
    """Return the SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fingerprint_of_files(instance: object, files: Iterable[Path]) -> str:
    """Return the SHA-256 of an instance's arguments and of the content of its files."""
    return fingerprint_of([arguments_of(instance), [sha256_of_file(path) for path in files]])
