"""What differs between two bundles: every setting of their runs, and what they hold."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from twotower.bundle.layout import ITEM_EMBEDDINGS
from twotower.bundle.read import Bundle

OF_THE_MACHINE = frozenset({"output_root", "console", "reuse", "cache", "debug", "launcher", "tracker"})
"""Settings of where and how a run was made, of which its towers know nothing."""
TARGET = "_target_"


def differences(ours: Bundle, theirs: Bundle) -> list[dict[str, str | None]]:
    """Return what is not the same in both: its `name`, and the value in `ours` and `theirs`, None for none.

    Settings come first, key by key, a class under the key of what it was chosen for; then what the bundles
    hold. The embeddings tell apart what the same settings made.
    """
    return [
        {"name": name, "ours": here.get(name), "theirs": there.get(name)}
        for here, there in ((_settings(ours), _settings(theirs)), (_facts(ours), _facts(theirs)))
        for name in sorted(here | there)
        if here.get(name) != there.get(name)
    ]


def _settings(bundle: Bundle) -> dict[str, str]:
    return dict(_flat({name: each for name, each in bundle.settings.items() if name not in OF_THE_MACHINE}))


def _facts(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    facts = {
        "number of items": f"{manifest.num_items:,}",
        "number of users": f"{manifest.num_users:,}",
        "number of interactions": f"{len(bundle.history.items):,}",
        "version of twotower": str(manifest.versions.get("twotower")),
        "embeddings of items": f"SHA-256 {manifest.files[ITEM_EMBEDDINGS].sha256}",
    }
    if manifest.has_times:
        facts["end of the data"] = f"{datetime.fromtimestamp(bundle.request_time, UTC):%Y-%m-%d %H:%M} UTC"
    return facts | dict(_flat({"index in use": {**manifest.index.spec, **manifest.index.search_args}}))


def _flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        key = within if name == TARGET else f"{within}.{name}" if within else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, key)
        else:
            yield key, _text(value)


def _text(value: Any) -> str:
    """Return a setting as YAML has it; of a path the last part: where files are is nobody's business."""
    if isinstance(value, str):
        return PurePath(value).name if PurePath(value).is_absolute() else value
    return json.dumps(value, default=str, ensure_ascii=False)
