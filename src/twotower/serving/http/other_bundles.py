"""The bundles beside the one that is served, opened to be compared with it."""

import os
import threading
from collections import OrderedDict
from pathlib import Path

from twotower.bundle.layout import BUNDLE, MANIFEST
from twotower.config.errors import InputError
from twotower.serving.live.live_service import LiveService
from twotower.serving.retriever import Retriever

MOST_OPEN = 2


class OtherBundles:
    """Bundles of the root, by the name of their run; the last few stay open."""

    def __init__(self, live: LiveService) -> None:
        self._live = live
        self._open: OrderedDict[Path, Retriever] = OrderedDict()
        self._lock, self._opening = threading.Lock(), threading.Lock()

    def folders(self) -> dict[str, Path]:
        """Return the folders of the bundles by name, the newest first.

        A link counts as what it leads to, and as nothing where it leads out of the root.
        """
        root, ours = self._live.root, self._live.retriever.bundle.folder.resolve()
        found = {}
        for entry in root.iterdir():
            folder = _real(entry)
            inside = [_real(path) for path in (folder / BUNDLE, folder)]
            bundle = next((path for path in inside if (path / MANIFEST).is_file()), None)
            if (
                bundle is not None
                and root in folder.parents
                and root in bundle.parents
                and ours not in inside
            ):
                found[str(folder.relative_to(root))] = bundle
        return dict(sorted(found.items(), key=lambda pair: (_written(pair[1]), pair[0]), reverse=True))

    def get(self, name: str) -> Retriever | None:
        """Return a bundle, opened; None where another thread is opening one, which takes long: ask again.

        Raises InputError: it is none of `folders`, or is damaged.
        """
        folder = self.folders().get(name)
        if folder is None:
            raise InputError(f"other: {name!r:.80} is no other bundle beside the one that is served")
        kept = self._kept(folder)
        if kept is not None or not self._opening.acquire(blocking=False):
            return kept
        try:
            return self._kept(folder) or self._opened(folder)
        finally:
            self._opening.release()

    def _kept(self, folder: Path) -> Retriever | None:
        with self._lock:
            if folder in self._open:
                self._open.move_to_end(folder)
            return self._open.get(folder)

    def _opened(self, folder: Path) -> Retriever:
        try:
            retriever = Retriever.open(folder, self._live.trusted_packages)
        except Exception as error:  # whatever a reader of files may say of one
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            # Where the root lies is not for everybody.
            reason = str(error).replace(f"{self._live.root}{os.sep}", "")
            raise InputError(f"other: cannot be opened: {kind}{reason:.500}") from error
        with self._lock:
            self._open[folder] = retriever
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return retriever


def _written(bundle: Path) -> int:
    try:
        return (bundle / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def _real(path: Path) -> Path:
    """Return a path without links; `Path.resolve` raises where they go round in a circle."""
    return Path(os.path.realpath(path))
