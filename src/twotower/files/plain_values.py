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
        _refuse_aliases(text, loader)
        values = yaml.load(text, Loader=loader)
        _refuse_other_types(values)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}{getattr(error, 'problem', None) or 'unexpected characters'}") from error
    except Exception as error:  # PyYAML raises an IndexError for `!!int ""`
        raise ValueError(_reason(error)) from error
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


def _refuse_aliases(text: str, loader: Any) -> None:
    import yaml

    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise ValueError(f"line {line}: an alias, *{event.anchor:.50}; write the values out")


def _refuse_other_types(value: Any) -> None:
    """Raise ValueError if a value, or one in it, is not plain."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"key {key!r:.80} is not text; put it in quotes")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _refuse_other_types(each)
    elif value is not None and not isinstance(value, str | bool | int | float):
        kind = type(value).__name__
        raise ValueError(f"{value!r:.80} has type {kind}, which settings cannot have; put it in quotes")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return f"{getattr(error, 'strerror', None) or str(error) or type(error).__name__}"[:300]
