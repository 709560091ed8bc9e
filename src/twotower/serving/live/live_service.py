"""The service without HTTP: the current bundle, durable live changes, and the switch to another bundle."""

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from twotower.config.errors import InputError
from twotower.serving.live.change_store import STORE, ChangeStore
from twotower.serving.live.changes import Change, Quarantined, replay
from twotower.serving.live.writer import Writer
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
MIN_LEFT_BEHIND, LEFT_BEHIND_SHARE = 1_000, 0.25
"""The bundle is reopened if this many rows, and this share of the offered items, are no longer offered."""
CATCH_UPS = 3
RETRY_SECONDS = 60.0


class ReloadUnderWay(InputError):  # noqa: N818
    """Another bundle is being opened; one at a time."""


class LiveService:
    """Serves one bundle at a time with all live changes, which survive any end of the process.

    A request reads `retriever` once and answers from it, so that model, index, ids and transforms are of one
    version. Safe from several threads.

    Args:
        root: folder of the bundles that `reload` may name.
        bundle: the bundle to start with.
        store: file of the live changes; None keeps them in a temporary file until `close`.
        find_bundle: maps a folder in `root` to its bundle.
        trusted_packages: packages besides twotower whose classes the files of a bundle may name.

    Attributes:
        num_quarantined: number of stored changes that the current bundle cannot apply, such as an item with
            a column that it lacks. They stay in the store for later bundles.

    Raises:
        InputError: the bundle or the store is damaged, or another service uses the store.
    """

    def __init__(
        self,
        root: Path,
        bundle: Path,
        store: Path | None,
        find_bundle: Callable[[Path], Path] = lambda folder: folder,
        trusted_packages: Collection[str] = (),
    ) -> None:
        self.trusted_packages = trusted_packages
        self.root, self._find_bundle = Path(root).resolve(), find_bundle
        self._reloading, self._rebuilding = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._retry_at = 0.0
        with contextlib.ExitStack() as stack:
            if store is None:
                store = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE
            self._store = stack.enter_context(contextlib.closing(ChangeStore(store)))
            self._writer = Writer(self._store, lambda: self.retriever)
            self._switch(bundle)
            self._open = stack.pop_all()

    def write(self, change: Change) -> int:
        """Make a change, on disk and in effect when this returns; see `Writer.write`."""
        return self._writer.write(change)

    def reload(self, name: str) -> str:
        """Switch to another bundle, with all live changes, also those made meanwhile; return its version.

        Requests in progress keep their version. Raises InputError: the bundle does not exist or is damaged
        (the current one stays), or ReloadUnderWay.
        """
        if not self._reloading.acquire(blocking=False):
            raise ReloadUnderWay("reload: another one is in progress; try again later")
        try:
            self._switch(self._find_bundle(self._folder(name)))
            return self.retriever.version
        finally:
            self._reloading.release()

    def rebuild_if_needed(self) -> bool:
        """Start to rebuild the index in the background if the catalogue has drifted; one rebuild at a time.

        If changed and removed items have left many rows behind, the bundle is reopened instead, which frees
        all rows that no history refers to.
        """
        retriever = self.retriever
        with self._rebuilding:
            if (self._thread and self._thread.is_alive()) or time.monotonic() < self._retry_at:
                return False
            left_behind = retriever.catalogue.items.num_left_behind - self._left_behind
            if left_behind > max(MIN_LEFT_BEHIND, LEFT_BEHIND_SHARE * retriever.num_items):
                work: Callable[[], None] = self._reopen
            elif retriever.catalogue.drift().needs_rebuild:
                work = retriever.catalogue.rebuild
            else:
                return False
            self._thread = threading.Thread(target=self._try, args=[work], name="rebuild", daemon=True)
            self._thread.start()
            return True

    def close(self) -> None:
        """Wait for background work and close the store; later writes fail."""
        with self._rebuilding:
            if self._thread:
                self._thread.join()
        with self._reloading, self._writer.lock:
            self._open.close()

    def _switch(self, bundle: Path) -> None:
        """Open a bundle and use it with all live changes."""
        retriever = Retriever.open(bundle, self.trusted_packages)
        _ = retriever.attributes  # prepares the columns, so that the first filter is as fast as later ones
        reached, quarantined = 0, list[Quarantined]()
        for _ in range(CATCH_UPS):  # writes continue, and each pass is shorter than the one before
            with self._writer.lock:
                after, reached = reached, self._store.last
            quarantined += replay(self._store.changes(after), retriever)
        with self._writer.lock:
            quarantined += replay(self._store.changes(reached), retriever)
            self._left_behind = retriever.catalogue.items.num_left_behind
            self.retriever, self.num_quarantined = retriever, len(quarantined)
        if quarantined:
            LOG.warning(
                "%s: %d stored changes cannot be applied to this bundle and are quarantined; the first: %s",
                self._store.path,
                len(quarantined),
                f"{quarantined[0].change}: {quarantined[0].reason}",
            )

    def _reopen(self) -> None:
        with self._reloading:
            self._switch(self.retriever.bundle.folder)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:  # the current bundle and index stay in use
            LOG.exception("rebuild failed; the next attempt is in %.0f s", RETRY_SECONDS)
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _folder(self, name: str) -> Path:
        """Return the folder of a bundle in the root, never one outside of it."""
        is_plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
        folder = (self.root / name).resolve() if is_plain else self.root
        # Path.is_dir raises if a name is too long.
        if self.root in folder.parents and os.path.isdir(folder):  # noqa: PTH112
            return folder
        folders = [(path.stat().st_mtime_ns, path.name) for path in self.root.iterdir() if path.is_dir()]
        latest = ", ".join(name for _, name in sorted(folders)[-5:]) or "none"
        raise InputError(f"bundle: {name!r:.80} is no folder of the root of bundles; the latest: {latest}")
