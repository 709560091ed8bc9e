"""Differences between two bundles: settings of their runs, and content."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from twotower.bundle.layout import ITEM_EMBEDDINGS
from twotower.bundle.read import Bundle
from twotower.config.spec import TARGET

IRRELEVANT = frozenset({"output_root", "console", "reuse", "cache", "debug", "launcher", "tracker"})
"""Settings without an effect on towers."""


def differences(ours: Bundle, theirs: Bundle) -> list[dict[str, str | None]]:
    """Return `name` and both values of everything that differs, settings first; None = not set.

    A class has the name of the key that chooses it.
    """
    return [
        {"name": name, "ours": left.get(name), "theirs": right.get(name)}
        for left, right in ((_settings(ours), _settings(theirs)), (_content(ours), _content(theirs)))
        for name in sorted(left | right)
        if left.get(name) != right.get(name)
    ]


def _settings(bundle: Bundle) -> dict[str, str]:
    return dict(_flatten({name: each for name, each in bundle.settings.items() if name not in IRRELEVANT}))


def _content(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    content = {
        "number of items": f"{manifest.num_items:,}",
        "number of users": f"{manifest.num_users:,}",
        "number of interactions": f"{len(bundle.history.items):,}",
        "version of twotower": str(manifest.versions.get("twotower")),
        "embeddings of items": f"SHA-256 {manifest.files[ITEM_EMBEDDINGS]}",
    }
    if manifest.has_times:
        content["end of the data"] = f"{datetime.fromtimestamp(bundle.request_time, UTC):%Y-%m-%d %H:%M} UTC"
    return content | dict(_flatten({"index in use": {**manifest.index.spec, **manifest.index.search_args}}))


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted name and YAML text of each setting; absolute paths are shortened to their last part."""
    for name, value in settings.items():
        key = prefix if name == TARGET else f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, key)
        elif isinstance(value, str):
            yield key, PurePath(value).name if PurePath(value).is_absolute() else value
        else:
            yield key, json.dumps(value, default=str, ensure_ascii=False)
