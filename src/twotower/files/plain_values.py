"""Plain values from untrusted JSON and YAML files: no code, no aliases, one type of error."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError

BREAKS = set("\r\x85\u2028\u2029")


def fingerprint_values(content: Any) -> str:
    """Return the SHA-256 of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file. Raises InputError with the reason and the remedy."""
    try:
        return load_json(path)
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error}); {remedy}") from error


def read_yaml(path: Path, remedy: str) -> Any:
    """Read a YAML file, see `load_yaml`. Raises InputError with the reason and the remedy."""
    try:
        return load_yaml(path)
    except ValueError as error:
        raise InputError(f"{path}: not readable as YAML ({error}); {remedy}") from error


def load_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError with the reason."""
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from error


def load_yaml(path: Path) -> Any:
    """Read a YAML file of mappings with text keys, lists, texts, numbers, booleans and null.

    Raises ValueError with the reason. Aliases are refused: a few lines of them can expand beyond any memory.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = path.read_bytes().decode("utf-8")
        why = _refusal_of_text(text, loader)
        values = None if why else yaml.load(text, Loader=loader)
        why = why or _refusal_of_value(values)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}{getattr(error, 'problem', None) or 'unexpected characters'}") from error
    except Exception as error:  # PyYAML raises an IndexError for `!!int ""`
        raise ValueError(_reason(error)) from error
    if why:
        raise ValueError(why)
    return values


def yaml_text(values: Any) -> str:
    """Return plain values as YAML for `read_yaml`, without aliases."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_str(self, data: str) -> yaml.ScalarNode:
            style = '"' if BREAKS & set(data) else None  # else YAML reads them as line breaks
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _refusal_of_text(text: str, loader: Any) -> str | None:
    import yaml

    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 0
            return f"line {line}: an alias, *{event.anchor:.50}; write the values out"
    return None


def _refusal_of_value(value: Any) -> str | None:
    """Return why a value is not plain."""
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            return f"key {wrong!r:.80} is not text; put it in quotes"
        return next(filter(None, map(_refusal_of_value, value.values())), None)
    if isinstance(value, list):
        return next(filter(None, map(_refusal_of_value, value)), None)
    if value is None or isinstance(value, str | bool | int | float):
        return None
    return f"{value!r:.80} has type {type(value).__name__}, which settings cannot have; put it in quotes"


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return f"{getattr(error, 'strerror', None) or str(error) or type(error).__name__}"[:300]
