"""The service behind the web: the bundle in use, live changes that last, and the switch to another bundle."""

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore, StoreFailed
from twotower.serving.live.changes import Change, Quarantined, replay
from twotower.serving.live.writer import Writer
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
STORE_NAME = "live.db"
MIN_LEFT_BEHIND, LEFT_BEHIND_SHARE = 1_000, 0.25
"""So many rows of items that are offered no more, and such a share of those that are, are let go of."""
CATCH_UPS = 3
PAUSE_SECONDS = 60.0


class ReloadUnderWay(InputError):  # noqa: N818
    """Another bundle is being opened; one at a time."""


class ChangeSource(Protocol):
    """What a service reads of its store, the owner's or another's; see `ChangeStore`."""

    path: Path

    @property
    def last(self) -> int:
        """The number of the latest change."""

    def changes(self, after: int = 0) -> Iterator[Change]:
        """Return what leads from a number to the latest."""

    def quarantine(self, changes: Sequence[Quarantined]) -> None:
        """Note what the bundle in use cannot take."""

    def close(self) -> None:
        """Let go of the file."""


class LiveService:
    """One bundle in use at a time, with the changes made since, whatever happens to the process.

    A request takes `retriever` once and answers from it: model, index, ids and transforms are of one version,
    whichever comes meanwhile. Safe from several threads.

    `reload` may name the bundles of `root`, and `bundle_of` turns a folder below it into that of its bundle.
    The file `store` has the live changes; None keeps them as long as this object, in a temporary file. Files
    of bundles, of those switched to later too, may name classes of `trusted_packages`. Of the changes in the
    store this bundle cannot take `num_quarantined` (an item it does not know, a column it lacks); they stay
    there for later bundles, with the reasons in a table of their own.

    Raises InputError: the bundle or the store is damaged, or another process uses the store.
    """

    def __init__(
        self,
        root: Path,
        bundle: Path,
        store: Path | None,
        bundle_of: Callable[[Path], Path] = lambda folder: folder,
        trusted_packages: Collection[str] = (),
    ) -> None:
        self.trusted_packages = trusted_packages
        self.root, self._bundle_of = Path(root).resolve(), bundle_of
        self._reloading, self._rebuilding = threading.Lock(), threading.Lock()
        self._rebuild: threading.Thread | None = None
        self._not_before = 0.0
        with contextlib.ExitStack() as stack:
            if store is None:
                store = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE_NAME
            self._store = stack.enter_context(contextlib.closing(self._store_at(store)))
            retriever = self._opened(bundle, Path)
            self._use(retriever, replay(self._store.changes(), retriever))
            self._open = stack.pop_all()

    def is_ready(self) -> bool:
        """Tell whether all who answer beside this one, if any do, are there."""
        return True

    def write(self, changes: Sequence[Change]) -> int:
        """Make all of some changes or none, on the disk and seen when this returns; see `Writer.write`."""
        return self._writer.write(changes, lambda: self.retriever)

    def reload(self, name: str) -> str:
        """Switch to another bundle, with all live changes, those made meanwhile too; return its version.

        Requests that are under way keep the version they began with. Raises InputError where there is no such
        bundle or it is damaged (the one in use goes on), and ReloadUnderWay.
        """
        if not self._reloading.acquire(blocking=False):
            raise ReloadUnderWay("reload: another one is under way; ask again when it is done")
        try:
            return self._switch(self._folder(name))
        finally:
            self._reloading.release()

    def rebuild_if_needed(self) -> bool:
        """Begin to build the index anew in the background where it has drifted; one at a time.

        Where changed and removed items have left many rows behind, the bundle is opened anew instead: that
        lets go of them, but for those in somebody's history.
        """
        retriever = self.retriever
        with self._rebuilding:
            busy = self._rebuild is not None and self._rebuild.is_alive()
            if busy or time.monotonic() < self._not_before:
                return False
            left_behind = retriever.num_left_behind - self._left_behind
            if left_behind > max(MIN_LEFT_BEHIND, LEFT_BEHIND_SHARE * retriever.num_items):
                work = self._reopen
            elif retriever.drift().needs_rebuild:
                work = retriever.rebuild
            else:
                return False
            self._rebuild = threading.Thread(target=self._try, args=(work,), name="rebuild", daemon=True)
            self._rebuild.start()
            return True

    def close(self) -> None:
        """Wait for what is under way, and let go of the store; later writes fail."""
        with self._rebuilding:
            if self._rebuild is not None:
                self._rebuild.join()
        with self._reloading, self._writing:
            self._open.close()

    def _store_at(self, path: Path) -> ChangeSource:
        store = ChangeStore(path)
        self._writer = Writer(store)
        self._writing = self._writer.writing
        return store

    def _switch(self, folder: Path) -> str:
        retriever = self._opened(folder, self._bundle_of)
        reached, aside = 0, list[Quarantined]()
        for _ in range(CATCH_UPS):  # each is shorter than the one before, and writes go on
            since, reached = reached, self._store.last
            aside += replay(self._store.changes(after=since), retriever)
        with self._writing:
            aside += replay(self._store.changes(after=reached), retriever)
            self._use(retriever, aside)
        return retriever.version

    def _use(self, retriever: Retriever, aside: Sequence[Quarantined]) -> None:
        if aside:
            LOG.warning(
                "%s: %d stored changes cannot be applied to this bundle and are quarantined (reasons: "
                "table quarantine); the first: %s",
                self._store.path,
                len(aside),
                aside[0].reason,
            )
        try:
            self._store.quarantine(aside)
        except StoreFailed as error:
            LOG.warning("the changes that are quarantined could not be recorded: %s", error)
        self._left_behind = retriever.num_left_behind
        self.retriever, self.num_quarantined = retriever, len(aside)

    def _reopen(self) -> None:
        with self._reloading:
            self._switch(self.retriever.bundle.folder)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:  # the old index goes on
            LOG.exception("the index could not be built anew; the next try is in %.0f s", PAUSE_SECONDS)
            self._not_before = time.monotonic() + PAUSE_SECONDS

    def _folder(self, name: str) -> Path:
        """Return the bundle's folder that a name means, which is never one outside of the root."""
        plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
        folder = (self.root / name).resolve() if plain else self.root
        # Path.is_dir raises where a name is too long.
        if self.root in folder.parents and os.path.isdir(folder):  # noqa: PTH112
            return folder
        folders = [(path.stat().st_mtime_ns, path.name) for path in self.root.iterdir() if path.is_dir()]
        there = ", ".join(name for _, name in sorted(folders)[-5:]) or "none"
        raise InputError(f"bundle: {name!r:.80} is no folder of the root of bundles; there is {there}")

    def _opened(self, folder: Path, bundle_of: Callable[[Path], Path]) -> Retriever:
        try:
            retriever = Retriever.open(bundle_of(folder), self.trusted_packages)
            _ = (
                retriever.attributes
            )  # prepares the columns, so that the first filter is as fast as the others
            return retriever
        except InputError:
            raise
        except Exception as error:  # an export that fails, say: the bundle in use goes on
            raise InputError(
                f"{folder}: cannot be served ({type(error).__name__}: {error!s:.300})"
            ) from error
