"""Three ways to answer filtered requests, and Faiss' own selector: time and recall by kind and filter.

A filter keeps 50, 10, 1 or .1 % of the items: a random *tag*, a tag of neighbors (*near_tag*: the nearest
items to a random one), a *range* of the lengths of the vectors, which encode popularity, or *both*: a tag of
neighbors and a random number.

`scan` scores the allowed items, `kept` scores their embeddings that an earlier request has read, and `fetch`
filters more than k items of the index, and scores the allowed ones if k are not among them: three ways of
`top_items`. `select` is a search of the index with `allowed`. The search argument is that of tuning; time is
from the allowed rows to the list. `faiss` is the search of Faiss alone, with a bitmap that is made before,
and the smallest `nprobe` or `efSearch` with recall .9 (else the best recall). All sides are timed alternately
on the same 12 users, one by one, on one thread; figures are medians of rounds.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from record import ROOT, Figures, Line, Row, Table, markdown
from vectors import enlarged

from twotower.data.vocabulary import Vocabulary
from twotower.index.faiss_index import FAISS, search_parameters
from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Index
from twotower.index.tune import search_grid, tune
from twotower.serving import top_items as module
from twotower.serving.live_items import LiveItems
from twotower.serving.top_items import Choice, top_items

CONF = ROOT / "src" / "twotower" / "conf" / "index"
SHARES, KS = (0.5, 0.1, 0.05, 0.03, 0.02, 0.01, 0.001), (20, 100)
NUM_QUERIES, NUM_FILTERS, ROUNDS, NUM_TUNING = 12, 4, 3, 200
MAX_FETCHED, MAX_KEPT, ENOUGH = 10_000, 100_000, 0.9
SCAN, FETCH = {"SCAN_ROWS": math.inf}, {"SCAN_ROWS": 0, "SCAN_SHARE": math.inf}

Rows = NDArray[np.int64]


def filters(vectors: np.ndarray, share: float) -> dict[str, list[Rows]]:
    """Return the allowed rows of some filters of each sort; the item at position p has row p + 1."""
    random, num_items = np.random.default_rng(0), len(vectors)
    by_length: Rows = np.linalg.norm(vectors, axis=1).argsort()

    def near(share: float) -> Rows:
        found = vectors - vectors[random.integers(num_items)]
        nearest: Rows = np.einsum("nd,nd->n", found, found).argpartition(int(share * num_items))
        return nearest[: int(share * num_items)]

    def band() -> Rows:
        start = random.integers(num_items - int(share * num_items))
        return by_length[start : start + int(share * num_items)]

    def both() -> Rows:
        tagged = near(math.sqrt(share))
        return tagged[random.random(len(tagged)) < math.sqrt(share)]

    made: dict[str, Callable[[], Rows]] = {
        "tag": lambda: np.flatnonzero(random.random(num_items) < share),
        "near_tag": lambda: near(share),
        "range": band,
        "both": both,
    }
    return {name: [np.sort(make()) + 1 for _ in range(NUM_FILTERS)] for name, make in made.items()}


def exact(vectors: np.ndarray, queries: np.ndarray, allowed: list[Rows]) -> np.ndarray:
    """Return the best scores [Q, k] of queries among the allowed rows of each, best first."""
    best = np.empty((len(queries), max(KS)), dtype=np.float32)
    for number, rows in enumerate(allowed):
        kept = vectors[rows - 1]
        best[number::NUM_FILTERS] = faiss.knn(
            queries[number::NUM_FILTERS], kept, max(KS), metric=faiss.METRIC_INNER_PRODUCT
        )[0]
    return best


def recall(vectors: np.ndarray, queries: np.ndarray, found: list[Rows], best: np.ndarray, k: int) -> float:
    """Return the share of found rows whose scores reach the k-th best."""
    hits = 0
    for query, rows, scores in zip(queries, found, best, strict=True):
        hits += int((vectors[rows[rows > 0] - 1] @ query >= scores[k - 1] - 1e-4 * abs(scores[k - 1])).sum())
    return hits / (k * len(queries))


class PlainFaiss:
    """A Faiss index searched with its own selector."""

    def __init__(self, path: Path, index: Index) -> None:
        self.outer = FAISS.read_index(str(path))
        is_wrapped = hasattr(self.outer, "id_map")
        self.inner: Any = faiss.downcast_index(self.outer.index) if is_wrapped else self.outer
        self.is_translated = is_wrapped and isinstance(
            self.inner, faiss.IndexRefine | faiss.IndexPreTransform
        )
        self.argument, self.grid = index.search_attribute(self.inner), search_grid(index)

    def parameters(self, allowed: Rows, num_items: int) -> Any:
        """Return search parameters for rows."""
        is_allowed = np.zeros(num_items + 1, dtype=np.bool_)
        is_allowed[allowed] = True
        selector = FAISS.IDSelectorBitmap(np.packbits(is_allowed, bitorder="little"))
        if self.is_translated:
            selector = FAISS.IDSelectorTranslated(self.outer.id_map, selector)
        return search_parameters(self.inner, selector)

    def searches(self, allowed: list[Rows], num_items: int) -> Iterator[tuple[dict[str, int], list[Any]]]:
        """Yield search arguments, from the fastest, with the parameters of each filter."""
        for arguments in self.grid:
            for value in arguments.values():
                setattr(*self.argument, value)
            yield arguments, [self.parameters(rows, num_items) for rows in allowed]


def open_index(kind: str, folder: Path, vectors: np.ndarray, users: np.ndarray) -> Index:
    """Load an index, which is built and tuned on other users if it is not there."""
    settings = yaml.safe_load((CONF / f"{kind}.yaml").read_text(encoding="utf-8"))
    index, path = (
        Index.Config.model_validate(settings).for_size(len(vectors)).build(),
        folder / f"{kind}.faiss",
    )
    rows = np.arange(1, len(vectors) + 1)
    if not path.exists():
        index.build(vectors, rows)
        index.save(path)
    index.load(path)
    if index.search_args:
        tune(index, GroundTruth.search(vectors, rows, users, 100))
    return index


def rows() -> list[Row]:
    """Return a row for each kind and share."""
    kinds = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "auto")
    return [Row(f"{kind} {share:g}", (kind, str(share)), minutes=3) for kind in kinds for share in SHARES]


def measure(row: Row, seed: int) -> Figures:
    """Return the figures of each filter and k of a kind and a share."""
    faiss.omp_set_num_threads(1)
    kind, share = row.words[0], float(row.words[1])
    folder, vectors, users = enlarged("Shop")
    spaced = users[np.linspace(0, len(users) - 1, NUM_QUERIES + NUM_TUNING).astype(int)]
    is_query = np.arange(len(spaced)) % (len(spaced) // NUM_QUERIES) == 0
    queries, tuning = spaced[is_query][:NUM_QUERIES], np.ascontiguousarray(spaced[~is_query])
    index = open_index(kind, folder, vectors, tuning)
    plain = PlainFaiss(folder / f"{kind}.faiss", index)
    items = LiveItems(Vocabulary(np.arange(1, len(vectors) + 1)), None, vectors)
    figures: Figures = {"search_args": index.search_args}
    for name, allowed in filters(vectors, share).items():
        best = exact(vectors, queries, allowed)
        for k in KS:
            figures[f"{name} k={k}"] = compare(index, items, plain, vectors, queries, allowed, best[:, :k])
    return figures


def compare(
    index: Index,
    items: LiveItems,
    plain: PlainFaiss,
    vectors: np.ndarray,
    queries: np.ndarray,
    allowed: list[Rows],
    best: np.ndarray,
) -> dict[str, Any]:
    """Return recall and milliseconds of each way, and the speed relative to Faiss alone."""
    k, none = best.shape[1], np.zeros(0, dtype=np.int64)
    numbers = [number % NUM_FILTERS for number in range(len(queries))]
    kept = [items.embeddings(rows) if len(rows) <= MAX_KEPT else None for rows in allowed]

    def ask(constants: Mapping[str, float], embeddings: Sequence[np.ndarray | None]) -> list[Rows]:
        choices = [Choice(k, none, allowed[number], embeddings[number]) for number in numbers]
        with ExitStack() as stack:
            for name, value in constants.items():
                stack.enter_context(patch.object(module, name, value))
            pairs = zip(queries, choices, strict=True)
            return [top_items(index, items, query[None], [choice])[0][0] for query, choice in pairs]

    def select() -> list[Rows]:
        pairs = zip(queries, numbers, strict=True)
        return [index.search(query[None], k, allowed[number]).rows[0] for query, number in pairs]

    def ask_faiss(parameters: list[Any]) -> list[Rows]:
        pairs = zip(queries, numbers, strict=True)
        return [
            plain.outer.search(query[None], k, params=parameters[number])[1][0] for query, number in pairs
        ]

    sides: dict[str, Callable[[], list[Rows]]] = {"scan": partial(ask, SCAN, [None] * NUM_FILTERS)}
    if kept[0] is not None:
        sides["kept"] = partial(ask, SCAN, kept)
    if not index.is_exact and module.SPARE * k * items.num_live / min(map(len, allowed)) <= MAX_FETCHED:
        sides["fetch"] = partial(ask, FETCH, [None] * NUM_FILTERS)
    sides["select"] = select
    tried: list[tuple[float, dict[str, int], list[Any]]] = []
    for arguments, parameters in plain.searches(allowed, items.num_rows):
        tried.append((recall(vectors, queries, ask_faiss(parameters), best, k), arguments, parameters))
        if tried[-1][0] >= ENOUGH:
            break
    _, arguments, parameters = max(reversed(tried), key=lambda each: each[0])
    sides["faiss"] = partial(ask_faiss, parameters)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found = {name: side() for name, side in sides.items()}  # warm-up
    for _ in range(ROUNDS):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            seconds[name].append((time.perf_counter() - started) / len(queries))
    figures: dict[str, Any] = {"faiss_arguments": arguments}
    for name, rows in found.items():
        ratios = [own / other for own, other in zip(seconds["faiss"], seconds[name], strict=True)]
        figures[name] = {
            "recall": round(recall(vectors, queries, rows, best, k), 4),
            "ms": round(1000 * statistics.median(seconds[name]), 4),
            "times_faiss": round(statistics.median(ratios), 2),
        }
    return figures


def show(lines: Sequence[Line]) -> str:
    """Return the speeds relative to Faiss, with the recall if it is below .995."""
    cells = []
    for line in lines:
        for name, sides in line.figures.items():
            if name == "search_args":
                continue
            row = {
                "index, share": line.row,
                "filter": name,
                "recall of Faiss": f"{sides['faiss']['recall']:.2f}",
            }
            for side in ("scan", "kept", "fetch", "select"):
                each = sides.get(side)
                lower = "" if not each or each["recall"] >= 0.995 else f" ({each['recall']:.2f})"
                row[side] = f"{each['times_faiss']:g} x{lower}" if each else ""
            cells.append(row)
    return markdown(pd.DataFrame(cells))


TABLES = {"filtered_search": Table("index-lab.md", rows, measure, show)}
