"""The service behind the web: the bundle in use, live changes that last, and the switch to another bundle."""

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from twotower.errors import InputError
from twotower.serving.changes import Change, apply
from twotower.serving.retriever import Retriever
from twotower.serving.store import Store
from twotower.serving.writer import Writer

LOG = logging.getLogger("twotower")
STORE_NAME = "live.db"


class LiveService:
    """One bundle in use at a time, with the changes made since, whatever happens to the process.

    A request takes `retriever` once and answers from it: model, index, ids and transforms are of one version,
    whichever comes meanwhile. Safe from several threads.

    Args:
        root: the folder whose bundles `reload` may name.
        bundle: the first one.
        store: file of the live changes; None keeps them as long as this object, in a temporary file.
        bundle_of: from a folder below `root` to the folder of its bundle.

    Attributes:
        root: as given, in full.
        retriever: of the bundle in use.
        skipped: changes in the store that this bundle cannot take (an item it does not know, a column it
            lacks); they stay there for later bundles.

    Raises:
        InputError: the bundle or the store is damaged, or another process uses the store.
    """

    def __init__(
        self,
        root: Path,
        bundle: Path,
        store: Path | None,
        bundle_of: Callable[[Path], Path] = lambda folder: folder,
    ) -> None:
        self.root, self._bundle_of = Path(root).resolve(), bundle_of
        self._reloading, self._rebuilding = threading.Lock(), threading.Lock()
        self._rebuild: threading.Thread | None = None
        with contextlib.ExitStack() as stack:
            if store is None:
                store = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE_NAME
            self._store = stack.enter_context(contextlib.closing(Store(store)))
            self._writer = Writer(self._store)
            self.retriever = Retriever.open(bundle)
            self.skipped = _replay(self._store.changes(), self.retriever)
            self._open = stack.pop_all()

    def write(self, changes: Sequence[Change]) -> None:
        """Make all of some changes or none; they are on the disk and seen when this returns.

        Raises:
            InputError: the bundle in use cannot take one of them.
            StoreFailed: the disk did not take them.
        """
        self._writer.write(changes, lambda: self.retriever)

    def reload(self, name: str) -> str:
        """Switch to another bundle, with all live changes, those made meanwhile too.

        Requests that are under way keep the version they began with.

        Args:
            name: of a folder in `root`.

        Returns:
            The version now in use.

        Raises:
            InputError: there is no such bundle, or it is damaged; the one in use goes on. Or another reload
                is under way.
        """
        if not self._reloading.acquire(blocking=False):
            raise InputError("reload: another one is under way; ask again when it is done")
        try:
            folder = self._folder(name)
            reached = self._store.last
            retriever = self._opened(folder)
            skipped = _replay(self._store.changes(), retriever)
            with self._writer.paused():
                skipped += _replay(self._store.changes(after=reached), retriever)
                self.retriever, self.skipped = retriever, skipped
            return retriever.version
        finally:
            self._reloading.release()

    def rebuild_if_needed(self) -> bool:
        """Begin to build the index anew in the background where it has drifted; one at a time.

        Returns:
            Whether one was begun.
        """
        retriever = self.retriever
        with self._rebuilding:
            if self._rebuild is not None and self._rebuild.is_alive():
                return False
            if not retriever.drift().needs_rebuild:
                return False
            self._rebuild = threading.Thread(target=_rebuilt, args=(retriever,), name="rebuild", daemon=True)
            self._rebuild.start()
            return True

    def close(self) -> None:
        """Wait for what is under way, and let go of the store; later writes fail."""
        with self._rebuilding:
            if self._rebuild is not None:
                self._rebuild.join()
        with self._reloading, self._writer.paused():
            self._open.close()

    def _folder(self, name: str) -> Path:
        """Return the bundle's folder that a name means, which is never one outside of the root."""
        plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
        folder = (self.root / name).resolve() if plain else self.root
        if self.root not in folder.parents or not folder.is_dir():
            names = sorted(path.name for path in self.root.iterdir() if path.is_dir())
            there = ", ".join(names[-5:]) or "none"
            raise InputError(f"reload: {name!r:.80} is no folder of the root of bundles; there is {there}")
        return folder

    def _opened(self, folder: Path) -> Retriever:
        try:
            return Retriever.open(self._bundle_of(folder))
        except InputError:
            raise
        except Exception as error:  # whatever a reader of files may say of one: the bundle in use goes on
            raise InputError(
                f"{folder}: cannot be served ({type(error).__name__}: {error!s:.300})"
            ) from error


def _replay(changes: Iterable[Change], retriever: Retriever) -> int:
    """Make changes again, and return how many the retriever could not take."""
    skipped = 0
    for change in changes:
        try:
            apply(change, retriever)
        except InputError as error:
            skipped += 1
            LOG.debug("left out for this bundle: %s", error)
    return skipped


def _rebuilt(retriever: Retriever) -> None:
    try:
        retriever.rebuild()
    except Exception:  # the old index goes on
        LOG.exception("the index could not be built anew")
