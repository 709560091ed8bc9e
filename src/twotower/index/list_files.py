"""Inverted lists in a file next to the index file: written from parts, and searched memory-mapped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

SUFFIX = ".ivfdata"


def lists_path(path: Path) -> Path:
    """Return the path of the lists of an index file."""
    return path.with_suffix(SUFFIX)


def inverted_lists(index: Any) -> Any:
    """Return the lists of an index with cells, as an object of their own class."""
    cells: Any = faiss.extract_index_ivf(index)
    return faiss.downcast_InvertedLists(cells.invlists)


def read_index(path: Path) -> tuple[Any, Any]:
    """Read an index file. Returns the Faiss object, and its lists if they are in a file, else None.

    Raises:
        RuntimeError: the file of the lists is missing or shorter than the index says, or Faiss cannot read.
    """
    lists_file = lists_path(path)
    if not lists_file.is_file():
        return faiss.read_index(str(path)), None
    index = faiss.read_index(str(path), faiss.IO_FLAG_SKIP_IVF_DATA | faiss.IO_FLAG_READ_ONLY)
    lists = inverted_lists(index)
    if not isinstance(lists, faiss.OnDiskInvertedLists):
        raise RuntimeError(f"{lists_file.name} is next to it, but is not part of it")
    if lists_file.stat().st_size != lists.totsize:  # reading beyond its end would end the process
        raise RuntimeError(
            f"{lists_file.name} has not the size that the index expects: {lists.totsize:,} bytes"
        )
    lists.filename, lists.prefetch_nthread = str(lists_file.absolute()), 0
    lists.do_mmap()
    return index, lists


def write_index(index: Any, lists: Any, path: Path) -> None:
    """Write an index; the file names that of its lists without a folder, so both can be moved."""
    if lists is None:
        faiss.write_index(index, str(path))
        return
    stored = lists.filename
    try:
        lists.filename = Path(stored).name
        faiss.write_index(index, str(path))
    finally:
        lists.filename = stored


def merge_files(trained: Path, parts: Sequence[Path], path: Path) -> None:
    """Write the index of all vectors in the parts, which were added to copies of one trained index.

    The lists have the order of the parts, so the index equals one to which all vectors were added at once.

    Args:
        trained: a trained index file without vectors.
        parts: index files.
        path: the new file. The lists are in a file next to it, and memory holds one list at a time.
    """
    index: Any = faiss.read_index(str(trained))
    opened = [faiss.read_index(str(part), faiss.IO_FLAG_MMAP) for part in parts]  # owners of their lists
    cells: Any = faiss.extract_index_ivf(index)
    sizes = _write_lists([inverted_lists(part) for part in opened], cells, lists_path(path))
    lists: Any = faiss.OnDiskInvertedLists(cells.nlist, cells.code_size, str(lists_path(path)))
    lists.set_all_lists_sizes(faiss.swig_ptr(sizes))
    lists.totsize = lists_path(path).stat().st_size
    cells.replace_invlists(lists, False)
    index.ntotal = cells.ntotal = int(sizes.sum())
    write_index(index, lists, path)


def _write_lists(parts: Sequence[Any], cells: Any, path: Path) -> np.ndarray:
    """Write each list as the codes of all parts, then their ids. Returns the sizes, uint64 [cells].

    `merge_from_multiple` of Faiss writes the same file, and a line to the standard output.
    """
    sizes = np.zeros(cells.nlist, dtype=np.uint64)
    with path.open("wb") as file:
        for cell in range(cells.nlist):
            filled = [(part, size) for part in parts if (size := part.list_size(cell))]
            for part, size in filled:
                file.write(faiss.rev_swig_ptr(part.get_codes(cell), size * cells.code_size).tobytes())
            for part, size in filled:
                file.write(faiss.rev_swig_ptr(part.get_ids(cell), size).tobytes())
            sizes[cell] = sum(size for _, size in filled)
    return sizes
