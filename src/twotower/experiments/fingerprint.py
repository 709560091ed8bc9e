"""What makes two runs the same: their configuration and their data."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from twotower.spec import TARGET

NOT_SHAPING = {"name", "output_root", "debug", "run", "logger"}
"""Root keys that change where a run is kept or what it prints, not what it computes."""


def fingerprint(settings: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return a SHA-256 over everything that shapes a run's numbers.

    Args:
        settings: plain resolved values.
        data_fingerprint: of the data set and its split.
    """
    shaping = {key: value for key, value in settings.items() if key not in NOT_SHAPING}
    text = json.dumps([shaping, data_fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flatten nested settings to `key.path -> plain value`; lists become text, nothing is dropped.

    A choice's `_target_` stands under the choice's own key, as the bare class name: `index -> IVFFlat`.
    """
    found: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        if key == TARGET and prefix:
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
            continue
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{path}.")
        elif isinstance(value, bool | int | float | str):
            found[path] = value
        else:
            found[path] = json.dumps(value)
    return found
