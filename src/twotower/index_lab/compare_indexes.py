"""Indexes of one set of vectors, measured side by side.

Shapes: N items, Q queries, D embedding.
"""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from twotower.bundle.layout import INDEX
from twotower.bundle.manifest import bundle_in
from twotower.bundle.vectors import write_vectors
from twotower.bundle.write import versions
from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.experiments.console.console_tables import table_text
from twotower.files.atomic import write_text_atomically
from twotower.files.part_files import check_new, new_folder
from twotower.files.vector_arrays import read_vectors
from twotower.index.ground_truth import as_vectors, evenly_spaced, split_queries, vector_blocks
from twotower.index.index import Chosen, Index
from twotower.index_lab.measure import LabRow, exact_results, measure_case
from twotower.index_lab.report import LabReport, ranked

LOG = logging.getLogger("twotower")
REPORT, PAGE = "report.json", "index.html"
WIDE = 200
"""Columns of a table that is written to a file or pipe."""


@dataclass(frozen=True)
class Vectors:
    """Where vectors come from: files of items and users, or a run.

    Attributes:
        queries: file of user vectors; None: item vectors are the queries.
        num_queries: number of users that are searched. As many others fit the indexes; all are evenly
            spaced, and of too few, one half fits.
        trusted_packages: packages whose classes the run can name.
    """

    vectors: str | None
    queries: str | None
    run: str | None
    num_queries: int
    trusted_packages: Sequence[str] = ()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return item vectors [N, D] and user vectors [Q, D].

        Raises:
            InputError: both or none are given, or a file is not readable.
        """
        if (self.run is None) == (self.vectors is None):
            raise InputError("vectors, run: expected one of them; type vectors=items.npy, or run=outputs/...")
        if self.run is not None:
            if self.queries is not None:
                raise InputError("queries: the queries of run= are its users; leave it out")
            return self._read_run(Path(self.run))
        assert self.vectors is not None
        items = read_vectors("vectors", Path(self.vectors))
        if self.queries is None:
            LOG.warning(
                "queries: not set, so item vectors take the place of users; recall for users can differ"
            )
            return items, self._sample(items)
        return items, self._sample(read_vectors("queries", Path(self.queries)))

    def _read_run(self, run: Path) -> tuple[np.ndarray, np.ndarray]:
        bundle = bundle_in(run)
        with tempfile.TemporaryDirectory() as folder:
            items, users = Path(folder) / "items.parquet", Path(folder) / "users.parquet"
            write_vectors(bundle, "items", items, self.trusted_packages)
            write_vectors(bundle, "users", users, self.trusted_packages)
            return read_vectors("run", items), self._sample(read_vectors("run", users))

    def _sample(self, vectors: np.ndarray) -> np.ndarray:
        """Return twice as many vectors as are searched, evenly spaced."""
        sampled: np.ndarray = vectors[evenly_spaced(len(vectors), 2 * self.num_queries)]
        return sampled


def compare_indexes(
    configs: Mapping[str, Index.Config],
    vectors: Vectors,
    target_recall: float,
    out: Path,
    save: bool = False,
) -> int:
    """Measure an index of each settings and write a new folder with report, page and TensorBoard events.

    Settings that do not fit the vectors are reported, and all other settings are measured.

    Args:
        configs: name of the case -> settings.
        save: write the index of the first row of the table, too; Faiss ids are positions from 0.

    Raises:
        InputError: the vectors cannot be read, or no settings fit.
    """
    check_new(out)
    items, users = vectors.read()
    for _ in vector_blocks(items, "item vectors"):
        pass  # they are finite; a file of another type is not converted as a whole
    fitted, measured = (as_vectors(half, "queries", items.shape[1]) for half in split_queries(users))
    truths = exact_results(items, measured)
    rows: list[LabRow] = []
    chosen: dict[str, Chosen] = {}
    skipped: dict[str, str] = {}
    for name, config in configs.items():
        LOG.info("index_lab: %s", name)
        try:
            chosen[name] = config.choose_for(items, fitted)
            rows.append(measure_case(name, chosen[name], truths, target_recall))
        except InputError as error:
            skipped[name] = str(error)
            LOG.warning("%s: left out: %s", name, error)
    if not rows:
        raise InputError("cases: none fits these vectors; " + "; ".join(skipped.values()))
    content = {
        "num_vectors": len(items),
        "dim": items.shape[1],
        "num_queries": len(measured),
        "queries": "users" if vectors.queries or vectors.run else "items",
        "target_recall": target_recall,
        "rows": [asdict(row) for row in rows],
        "skipped": skipped,
        "versions": versions(),
    }
    title = f"{len(items):,} vectors of {items.shape[1]} dimensions, {len(measured):,} queries"
    report, saved = LabReport(rows, title, target_recall), ""
    with new_folder(out) as folder:
        if save:
            best = ranked(rows)[0]
            index = chosen[best.name].build()
            index.build(items, np.arange(len(items)))
            index.set_search_args(best.chosen.search_args)
            index.save(folder / INDEX)
            content["saved"], saved = best.name, f"  {best.name} in {out / INDEX}"
        write_text_atomically(folder / REPORT, f"{json.dumps(content, indent=2)}\n")
        write_text_atomically(folder / PAGE, report.page(skipped))
        report.write_events(folder)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    console.print(table_text(console, report.table()))
    print(f"ok  {len(rows)} indexes  {out / PAGE}{saved}")
    return DONE
