"""Bundles next to the served one, opened for comparison."""

import functools
import os
import threading
from pathlib import Path

from twotower.bundle.layout import BUNDLE, MANIFEST
from twotower.config.errors import InputError
from twotower.serving.live.live_service import LiveService
from twotower.serving.retriever import Retriever

MAX_OPEN = 2


class OtherBundles:
    """Bundles of the root folder, by the name of their run; the last two stay open. Thread-safe."""

    def __init__(self, live: LiveService) -> None:
        self._live, self._lock = live, threading.Lock()
        self._open = functools.lru_cache(maxsize=MAX_OPEN)(self._read)

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
        with self._lock:
            return self._open(folder)

    def _read(self, folder: Path) -> Retriever:
        try:
            return Retriever.open(folder, self._live.trusted_packages)
        except InputError as error:
            # Clients need not know the path of the root.
            reason = str(error).replace(f"{self._live.root}{os.sep}", "")
            raise InputError(f"other: cannot be opened: {reason:.500}") from error
