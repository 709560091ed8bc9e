"""A read-write lock: searches run concurrently, changes run alone."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class ReadWriteLock:
    """A lock with shared reading and exclusive writing. Waiting writers have priority. Not re-entrant."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._num_readers = 0
        self._num_waiting_writers = 0
        self._writing = False
        self._reading = _Reading(self)

    def reading(self) -> AbstractContextManager[None]:
        """Hold the lock together with other readers."""
        return self._reading

    def begin_reading(self) -> None:
        """Wait for writers, then block them until `end_reading`."""
        with self._mutex:
            while self._writing or self._num_waiting_writers:
                self._changed.wait()
            self._num_readers += 1

    def end_reading(self) -> None:
        """Release the lock; the last reader wakes the writers."""
        with self._mutex:
            self._num_readers -= 1
            if not self._num_readers and self._num_waiting_writers:
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._changed:
            self._num_waiting_writers += 1
            try:
                self._changed.wait_for(lambda: not self._writing and not self._num_readers)
                self._writing = True
            finally:
                self._num_waiting_writers -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


class _Reading:
    """Context manager of all readers; it has no state, because creating one per search is slow."""

    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.begin_reading()

    def __exit__(self, *error: object) -> None:
        self._lock.end_reading()
