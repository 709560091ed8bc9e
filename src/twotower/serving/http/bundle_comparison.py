"""The bundles next to the served one, and their differences from it."""

import functools
import json
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from twotower.bundle.layout import BUNDLE, ITEM_EMBEDDINGS, MANIFEST
from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.config.spec import TARGET
from twotower.serving.live.live_service import LiveService
from twotower.serving.retriever import Retriever

MAX_OPEN = 2
IRRELEVANT = frozenset({"output_root", "console", "reuse", "cache", "debug", "launcher", "tracker"})
"""Settings without an effect on towers."""


class OtherBundles:
    """Bundles of the root folder, by the name of their run; the last two stay open. Thread-safe."""

    def __init__(self, live: LiveService) -> None:
        self._live, self._lock = live, threading.Lock()
        self._open = functools.lru_cache(maxsize=MAX_OPEN)(Retriever.open)

    def folders(self) -> dict[str, Path]:
        """Return name -> folder of each bundle, latest first, without links that leave the root."""
        root, served = self._live.root, self._live.retriever.bundle.folder.resolve()
        bundles = {}
        for entry in root.iterdir():
            # Not `Path.resolve`, which raises an error for circular links.
            run = Path(os.path.realpath(entry))
            for bundle in (Path(os.path.realpath(run / BUNDLE)), run):
                if (bundle / MANIFEST).is_file():
                    if bundle != served and root in run.parents and root in bundle.parents:
                        bundles[str(run.relative_to(root))] = bundle
                    break
        times = {name: (bundle / MANIFEST).stat().st_mtime_ns for name, bundle in bundles.items()}
        return {name: bundles[name] for name in sorted(times, key=lambda name: (-times[name], name))}

    def get(self, name: str) -> Retriever:
        """Return an opened bundle. Raises InputError: it is not one of `folders`, or is damaged."""
        folder = self.folders().get(name)
        if folder is None:
            raise InputError(f"other: {name!r:.80} is no other bundle next to the served one")
        try:
            with self._lock:
                return self._open(folder, tuple(self._live.trusted_packages))
        except InputError as error:
            raise InputError(f"other: cannot be opened: {error!s:.500}") from error


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
