"""The service without HTTP: the current bundle, durable live changes, and the switch to another bundle."""

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from twotower.config.errors import InputError
from twotower.serving.browser import Browser
from twotower.serving.live.change_store import STORE, ChangeStore, StoreFailed
from twotower.serving.live.changes import (
    Change,
    EventAdded,
    ItemRemoved,
    Quarantined,
    UserForgotten,
    check,
    replay,
    subject,
    without_removed,
)
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
MIN_LEFT_BEHIND, LEFT_BEHIND_SHARE = 1_000, 0.25
"""The bundle is reopened if this many rows, and this share of the offered items, are no longer offered."""
CATCH_UPS = 3
RETRY_SECONDS, POLL_SECONDS = 60.0, 0.025


class ReloadUnderWay(InputError):  # noqa: N818
    """Another bundle is being opened; one at a time."""


@dataclass(eq=False)
class Writer:
    """Writes changes of many threads: checked and embedded, then committed, then applied to the retriever.

    Changes that arrive during a commit share the next one: a commit waits for the disk, so ten callers that
    share one wait as long as one caller. A change of an item or user that an earlier change in the queue
    replaces is checked after that one was applied.

    Attributes:
        store: receives the changes.
        catch_up: returns the current retriever, with all changes of other processes applied. Called within
            the transaction, so no other process writes meanwhile.
        is_quarantined: whether the current bundle cannot apply a stored change of the same item or profile.
        lock: held by the thread that writes, or changes what `catch_up` returns.
    """

    store: ChangeStore
    catch_up: Callable[[], Retriever]
    is_quarantined: Callable[[Change], bool] = lambda _: False
    lock: threading.Lock = field(default_factory=threading.Lock)
    _queue: list[tuple[Change, "Future[int]"]] = field(default_factory=list)

    def write(self, change: Change) -> int:
        """Make a change; when this returns, it is on disk and in effect.

        Returns the number of changes, 0 for an event that the data ignore. Raises InputError (the retriever
        refuses the change) or StoreFailed.
        """
        write = change, Future[int]()
        self._queue.append(write)
        with self.lock:
            while write in self._queue:  # else the thread that wrote before included it
                self._write_queue()
        if not write[1].done():
            raise StoreFailed("the thread that wrote this was stopped; the change may be stored or not")
        return write[1].result()

    def _write_queue(self) -> None:
        writes, replaced = [], set()
        for change, future in self._queue[:]:
            name = ("item", change.item_id) if isinstance(change, EventAdded) else subject(change)
            if name not in replaced:
                writes.append((change, future))
                self._queue.remove((change, future))
            if not isinstance(change, EventAdded):
                replaced.add(name)
        checked: list[tuple[Change, Future[int], Callable[[], object] | None]] = []
        try:
            with self.store.transaction():
                retriever = self.catch_up()
                for change, future in writes:
                    try:
                        checked.append((change, future, self._check(change, retriever)))
                    except Exception as error:
                        future.set_exception(error)
                self.store.insert([change for change, _, apply in checked if apply is not None])
        except Exception as error:
            for _, future in writes:
                if not future.done():  # each thread raises its own exception
                    future.set_exception(StoreFailed(f"{error}"))
            return
        for _, future, apply in checked:
            try:
                if apply is not None:
                    apply()
                future.set_result(int(apply is not None))
            except Exception as error:  # the change is on disk, and other writes continue
                future.set_exception(error)

    def _check(self, change: Change, retriever: Retriever) -> Callable[[], object] | None:
        """Check a change; what the retriever does not know but the store has can be deleted."""
        try:
            return check(change, retriever)
        except InputError:
            if isinstance(change, ItemRemoved | UserForgotten) and self.is_quarantined(change):
                return lambda: None
            raise


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
        is_shared: other processes serve from the same store. A thread applies their changes every
            `POLL_SECONDS`, and switches to the bundle that one of them reloaded.

    Attributes:
        retriever: answers requests from the current bundle.
        browser: what the page looks up in it; it names the retriever that it reads.
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
        is_shared: bool = False,
    ) -> None:
        self.trusted_packages = trusted_packages
        self.root, self._find_bundle = Path(root).resolve(), find_bundle
        self._reloading, self._rebuilding = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._retry_at = dict.fromkeys(("rebuild", "follow", "switch"), 0.0)
        self._is_shared = is_shared
        with contextlib.ExitStack() as stack:
            if store is None:
                store = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE
            self._store = stack.enter_context(contextlib.closing(ChangeStore(store, is_shared)))
            self._writer = Writer(
                self._store, self._catch_up, lambda change: subject(change) in self._quarantined
            )
            self._switch((self._store.bundle if is_shared else None) or bundle)
            self._open = stack.pop_all()
        if is_shared:
            self._start("follow", self._follow)

    def write(self, change: Change) -> int:
        """Make a change, on disk and in effect when this returns; see `Writer.write`."""
        number = self._writer.write(change)
        self._quarantined.discard(subject(change))
        return number

    @property
    def num_quarantined(self) -> int:
        """See `LiveService`."""
        return len(self._quarantined)

    def reload(self, name: str) -> str:
        """Switch to another bundle, with all live changes, also those made meanwhile; return its version.

        Requests in progress keep their version, and other processes of the service follow. Raises InputError:
        the bundle does not exist or is damaged (the current one stays), or ReloadUnderWay.
        """
        if not self._reloading.acquire(blocking=False):
            raise ReloadUnderWay("reload: another one is in progress; try again later")
        try:
            self._switch(self._find_bundle(self._folder(name)))
            retriever = self.retriever
            if self._is_shared:
                with self._writer.lock, self._store.transaction():
                    self._store.use_bundle(retriever.bundle.folder)
            return retriever.version
        finally:
            self._reloading.release()

    def rebuild_if_needed(self) -> bool:
        """Start to rebuild the index in the background if the catalogue has drifted; one rebuild at a time.

        If changed and removed items have left many rows behind, the bundle is reopened instead, which frees
        all rows that no history refers to.
        """
        retriever = self.retriever
        with self._rebuilding:
            thread = self._threads.get("rebuild")
            if (thread is not None and thread.is_alive()) or time.monotonic() < self._retry_at["rebuild"]:
                return False
            left_behind = retriever.catalogue.items.num_left_behind - self._left_behind
            if left_behind > max(MIN_LEFT_BEHIND, LEFT_BEHIND_SHARE * retriever.num_items):
                work: Callable[[], None] = self._reopen
            elif retriever.catalogue.drift().needs_rebuild:
                work = retriever.catalogue.rebuild
            else:
                return False
            self._start("rebuild", lambda: self._try("rebuild", work))
            return True

    def close(self) -> None:
        """Wait for background work and close the store; later writes fail."""
        self._closing.set()
        with self._rebuilding:
            for thread in self._threads.values():
                thread.join()
        with self._reloading, self._writer.lock:
            self._open.close()

    def _start(self, name: str, work: Callable[[], None]) -> None:
        self._threads[name] = threading.Thread(target=work, name=name, daemon=True)
        self._threads[name].start()

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
            self._seen, self._applied = self._store.other_commits, self._store.last
            quarantined += replay(self._store.changes(reached), retriever)
            self._left_behind = retriever.catalogue.items.num_left_behind
            self.retriever, self.browser = retriever, Browser(retriever)
            self._quarantined = {subject(each.change) for each in quarantined}
        if quarantined:
            LOG.warning(
                "%s: %d stored changes cannot be applied to this bundle and are quarantined; the first: %s",
                self._store.path,
                len(quarantined),
                f"{quarantined[0].change}: {quarantined[0].reason}",
            )

    def _catch_up(self) -> Retriever:
        """Apply changes of other processes; return the current retriever. The writer's lock is held."""
        if self._is_shared:
            # In this order: a commit between the two is replayed, now and by the next call.
            last, commits = self._store.last, self._store.other_commits
            if commits != self._seen:
                changes = list(self._store.changes(self._applied))
                failed = replay(without_removed(changes, self.retriever), self.retriever)
                self._quarantined -= {*map(subject, changes)}
                self._quarantined |= {subject(each.change) for each in failed}
            self._seen, self._applied = commits, last
        return self.retriever

    def _follow(self) -> None:
        """Apply changes of other processes until `close`, and use the bundle that one of them reloaded."""
        while not self._closing.wait(POLL_SECONDS):
            self._try("follow", self._follow_once)

    def _follow_once(self) -> None:
        with self._writer.lock:
            self._catch_up()
            other = self._other_bundle()
        if other is not None:
            self._try("switch", self._use_other_bundle)

    def _other_bundle(self) -> Path | None:
        """Return the bundle that a process has reloaded, None if it is in use; the writer's lock is held."""
        bundle = self._store.bundle
        return None if bundle == self.retriever.bundle.folder else bundle

    def _use_other_bundle(self) -> None:
        """Switch to the bundle that a process has reloaded, unless a reload of this one ended meanwhile."""
        with self._reloading:
            with self._writer.lock:
                other = self._other_bundle()
            if other is not None:
                self._switch(other)

    def _reopen(self) -> None:
        with self._reloading:
            self._switch(self.retriever.bundle.folder)

    def _try(self, name: str, work: Callable[[], object]) -> None:
        if time.monotonic() < self._retry_at[name]:
            return
        try:
            work()
        except Exception:  # the current bundle and index stay in use
            LOG.exception("%s failed; the next attempt is in %.0f s", name, RETRY_SECONDS)
            self._retry_at[name] = time.monotonic() + RETRY_SECONDS

    def _folder(self, name: str) -> Path:
        """Return the folder of a bundle in the root, never one outside of it."""
        folder = self.root if set(name) & set("/\\\0") else (self.root / name).resolve()
        # Path.is_dir raises if a name is too long.
        if self.root in folder.parents and os.path.isdir(folder):  # noqa: PTH112
            return folder
        folders = [(path.stat().st_mtime_ns, path.name) for path in self.root.iterdir() if path.is_dir()]
        latest = ", ".join(name for _, name in sorted(folders)[-5:]) or "none"
        raise InputError(f"bundle: {name!r:.80} is no folder of the root of bundles; the latest: {latest}")
