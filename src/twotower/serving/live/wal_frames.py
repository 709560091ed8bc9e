"""Which frames of SQLite's write-ahead log check out.

Each frame is a page with a header of 24 bytes; its checksum goes on from the one before, and its salts are
the log's. SQLite reads a log to the first frame that does not check out and says nothing of what comes after.

Reference: https://www.sqlite.org/fileformat2.html#walformat
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

HEADER, FRAME_HEADER, USUAL_PAGE = 32, 24, 4096
LITTLE, BIG = 0x377F0682, 0x377F0683
MASK = 0xFFFFFFFF

Sums = tuple[int, int]


@dataclass(frozen=True)
class Frames:
    """What is in a write-ahead log.

    Args:
        num_sound: frames that check out, from the first on.
        num_lost: frames of the same log from the first that does not; 0 where nothing follows that one, which
            is how a process that was killed within a commit leaves it.
    """

    num_sound: int = 0
    num_lost: int = 0


def read_frames(log: Path) -> Frames:
    """Read a write-ahead log through; one that is not there, or empty, has no frames."""
    if not log.is_file() or log.stat().st_size < HEADER:
        return Frames()
    with log.open("rb") as file:
        header = file.read(HEADER)
        magic, _, page_size = struct.unpack(">3I", header[:12])
        salts, sums = header[16:24], struct.unpack(">2I", header[24:])
        order = "<u4" if magic == LITTLE else ">u4"
        if magic not in (LITTLE, BIG) or _after((0, 0), header[:24], order) != sums:
            return Frames(0, max(1, (log.stat().st_size - HEADER) // (FRAME_HEADER + USUAL_PAGE)))
        num_sound = num_read = num_lost = 0
        for head, page in _frames(file, page_size):
            num_read += 1
            ours = head[8:16] == salts
            if num_sound == num_read - 1 and ours:
                sums = _after(sums, head[:8] + page, order)
                if struct.unpack(">2I", head[16:]) == sums:
                    num_sound += 1
                    continue
            if ours and num_read > num_sound + 1:
                num_lost = num_read - num_sound
        return Frames(num_sound, num_lost)


def _frames(file: BinaryIO, page_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Read whole frames, header and page each."""
    while True:
        head, page = file.read(FRAME_HEADER), file.read(page_size)
        if len(page) < page_size:
            return
        yield head, page


def _after(sums: Sums, content: bytes, order: str) -> Sums:
    """Return the checksums after more content: per pair of words x, y it is a += x + b; b += y + a.

    That is linear, so all words are weighted at once.
    """
    words = np.frombuffer(content, dtype=order).astype(np.uint64).reshape(-1, 2)
    weights, (carry_a, carry_b) = _weights(len(words))
    a = int((weights[:, 0] * words).sum()) + carry_a[0] * sums[0] + carry_a[1] * sums[1]
    b = int((weights[:, 1] * words).sum()) + carry_b[0] * sums[0] + carry_b[1] * sums[1]
    return a & MASK, b & MASK


_KNOWN: dict[int, tuple[NDArray[np.uint64], tuple[Sums, Sums]]] = {}


def _weights(num_pairs: int) -> tuple[NDArray[np.uint64], tuple[Sums, Sums]]:
    """Return what each word adds to the sums in the end, [pairs, sums, words], and what the sums add."""
    if num_pairs not in _KNOWN:
        weights = np.empty((num_pairs, 2, 2), dtype=np.uint64)
        a, b = (1, 0), (0, 1)  # each sum in the end, from the sums before the last pairs
        for place in reversed(range(num_pairs)):
            weights[place] = [[(a[0] + a[1]) & MASK, a[1]], [(b[0] + b[1]) & MASK, b[1]]]
            a, b = _before(a), _before(b)
        _KNOWN[num_pairs] = weights, (a, b)
    return _KNOWN[num_pairs]


def _before(after: Sums) -> Sums:
    return (after[0] + after[1]) & MASK, (after[0] + 2 * after[1]) & MASK
