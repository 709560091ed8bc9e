"""What every index must do: variants come from `variants.files_of`, tolerances from each index."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from variants import files_of

from twotower.config.errors import InputError
from twotower.index.check import check
from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Index
from twotower.index.kinds.ivf import IVF
from twotower.index.rehearsal import rehearse
from twotower.index.tune import search_grid, tune

PATHS = files_of("index")
DIM, NUM_VECTORS, NUM_QUERIES = 32, 600, 40
ROWS = np.arange(1, NUM_VECTORS + 1) * 7

Load = Callable[[], Index]


def config_in(path: Path) -> Index.Config:
    return Index.Config.model_validate(yaml.safe_load(path.read_text()))


def index_of(config: Index.Config, num_items: int = NUM_VECTORS) -> Index:
    return config.for_size(num_items).build()


def be_thorough(index: Index) -> None:
    index.set_search_args(search_grid(index)[-1])


def least_recall(index: Index) -> float:
    return 1.0 if index.is_exact else index.config.min_recall


def unit(count: int, seed: int) -> np.ndarray:
    centres = np.random.default_rng(0).standard_normal((20, DIM))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, 20, count)] + 0.5 * random.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = unit(NUM_VECTORS, seed=1)
QUERIES = unit(NUM_QUERIES, seed=2)


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Load an index that was built once, with its most thorough search arguments."""
    built = index_of(config_in(request.param))
    built.build(VECTORS, ROWS)
    path = tmp_path_factory.mktemp("index") / "index.faiss"
    built.save(path)

    def fresh() -> Index:
        index = built.config.build()
        index.load(path)
        be_thorough(index)
        return index

    return fresh


def test_thorough_search_agrees_with_exact_search(load: Load) -> None:
    index = load()
    truth = GroundTruth.search(VECTORS, ROWS, QUERIES, 100)
    found = index.search(QUERIES, 100)
    if index.is_exact:
        np.testing.assert_array_equal(found.rows, truth.exact.rows)
        np.testing.assert_allclose(found.scores, truth.exact.scores, atol=1e-5)
    recall = truth.recall(found.rows)
    assert recall >= least_recall(index)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_an_index_that_fits_queries_finds_as_much_and_changes_as_others(path: Path, tmp_path: Path) -> None:
    chosen = config_in(path).choose_for(VECTORS, unit(NUM_QUERIES, seed=5))
    built, again = chosen.build(), chosen.build()
    files = [tmp_path / name for name in ("built", "again")]
    for index, file in zip((built, again), files, strict=True):
        index.build(VECTORS, ROWS)
        be_thorough(index)
        index.save(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    loaded = chosen.config.build()
    loaded.load(files[0])
    truth = GroundTruth.search(VECTORS, ROWS, QUERIES, 100)
    assert truth.recall(loaded.search(QUERIES, 100).rows) >= least_recall(loaded)
    new = unit(1, seed=4)
    loaded.add(new, np.array([5001]))
    assert 5001 in loaded.search(new, 5).rows
    loaded.remove(np.array([5001]))
    np.testing.assert_array_equal(loaded.rows, ROWS)


def test_results_have_shape_type_and_order(load: Load) -> None:
    index = load()
    assert index.metric == "inner_product", "pass METRIC_INNER_PRODUCT to every part of the Faiss index"
    result = index.search(QUERIES, 10)
    assert result.rows.shape == result.scores.shape == (NUM_QUERIES, 10)
    assert (result.rows.dtype, result.scores.dtype) == (np.int64, np.float32)
    assert (np.diff(result.scores, axis=1) <= 0).all()
    assert np.isin(result.rows, ROWS).all()
    items = VECTORS[result.rows // 7 - 1]
    expected = np.einsum("qd,qkd->qk", QUERIES, items)
    error = np.abs(result.scores - expected).max()
    assert error <= index.score_tolerance, (
        f"scores differ from dot products by up to {error:.2g}: set `score_tolerance` if it stores codes"
    )


def test_facts_survive_saving(load: Load, tmp_path: Path) -> None:
    index = load()
    index.save(tmp_path / "again.faiss")
    again = index.config.build()
    again.load(tmp_path / "again.faiss")
    for fact in ("kind", "factory", "build_args", "search_args", "num_vectors", "dim", "metric", "is_exact"):
        assert getattr(again, fact) == getattr(index, fact), fact
    np.testing.assert_array_equal(again.rows, ROWS)
    np.testing.assert_array_equal(again.search(QUERIES, 9).rows, index.search(QUERIES, 9).rows)


def test_k_above_the_catalogue_is_padded(load: Load) -> None:
    index = load()
    result = index.search(QUERIES[:3], NUM_VECTORS + 5)
    for found in result.rows[:, :NUM_VECTORS]:
        np.testing.assert_array_equal(np.unique(found[found >= 0]), np.sort(found[found >= 0]))
        assert np.isin(found, [*ROWS, -1]).all()
        assert (found >= 0).sum() >= NUM_VECTORS
    assert (result.rows[:, NUM_VECTORS:] == -1).all()
    assert np.isneginf(result.scores[:, NUM_VECTORS:]).all()


def test_inputs_are_not_modified(load: Load) -> None:
    index = load()
    queries, vectors, rows = QUERIES.copy(), unit(5, seed=3), np.arange(10_000, 10_005)
    for array in (queries, vectors, rows):
        array.flags.writeable = False
    before = vectors.copy()
    index.search(queries, 5)
    index.add(vectors, rows)
    fresh = index.config.build()
    everything = VECTORS.copy()
    everything.flags.writeable = False
    fresh.build(everything, ROWS)
    np.testing.assert_array_equal(queries, QUERIES)
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_array_equal(everything, VECTORS)


def test_other_layouts_and_types_give_the_same_results(load: Load) -> None:
    index = load()
    expected = index.search(QUERIES, 5).rows
    np.testing.assert_array_equal(index.search(QUERIES.astype(np.float64), 5).rows, expected)
    np.testing.assert_array_equal(index.search(np.asfortranarray(QUERIES), 5).rows, expected)


def test_added_items_are_found(load: Load) -> None:
    index = load()
    new = unit(4, seed=4)
    index.add(new, np.array([5001, 5002, 5003, 5004]))
    assert index.num_vectors == NUM_VECTORS + 4
    assert 5002 in index.search(new[1:2], 5).rows
    with pytest.raises(InputError, match="rows: 5003 is already in the index; remove it first"):
        index.add(new[:1], np.array([5003]))


def test_removed_items_are_gone_and_the_others_stay_right(load: Load) -> None:
    index = load()
    gone = ROWS[::3]
    before = index.search(QUERIES, NUM_VECTORS)
    assert index.remove(np.concatenate([gone, gone[:2], [999_999]])) == len(gone)
    assert index.num_vectors == NUM_VECTORS - len(gone)
    after = index.search(QUERIES, index.num_vectors)
    for position in range(NUM_QUERIES):
        kept = ~np.isin(before.rows[position], gone)
        score_of = dict(zip(before.rows[position][kept], before.scores[position][kept], strict=True))
        found = dict(zip(after.rows[position], after.scores[position], strict=True))
        assert found.keys() == score_of.keys()
        np.testing.assert_allclose([found[row] for row in score_of], list(score_of.values()), atol=1e-5)
    assert index.remove(gone) == 0
    assert index.remove(ROWS) == NUM_VECTORS - len(gone)
    assert (index.search(QUERIES, 3).rows == -1).all()
    index.add(VECTORS, ROWS)
    index.remove(gone)
    index.add(VECTORS[::3], gone)
    np.testing.assert_array_equal(index.rows, ROWS)


def test_where_items_are_gone_the_next_best_come_in_their_place(load: Load) -> None:
    index = load()
    before = index.search(QUERIES, 60).rows
    gone = np.unique(before[:, :20])
    assert index.remove(gone) == len(gone) > 100
    for was, found in zip(before, index.search(QUERIES, 30).rows, strict=True):
        left = was[~np.isin(was, gone)]
        assert (found >= 0).all()  # 30 items where 30 are left
        assert not np.isin(found, gone).any()
        assert np.isin(left[:30], found).mean() >= least_recall(index)


def test_what_was_removed_is_gone_after_saving_too(load: Load, tmp_path: Path) -> None:
    index = load()
    index.remove(ROWS[:50])
    index.add(VECTORS[:10], ROWS[:10])
    index.save(tmp_path / "changed.faiss")
    again = index.config.build()
    again.load(tmp_path / "changed.faiss")
    np.testing.assert_array_equal(again.rows, np.sort([*ROWS[:10], *ROWS[50:]]))
    assert (again.num_vectors, again.num_tombstones) == (NUM_VECTORS - 40, index.num_tombstones)
    assert index.num_tombstones in (0, 50)  # each kind removes, or makes tombstones
    np.testing.assert_array_equal(again.search(QUERIES, 9).rows, index.search(QUERIES, 9).rows)


def filtered_recall(
    index: Index, vectors: np.ndarray, rows: np.ndarray, allowed: np.ndarray, k: int
) -> float:
    """Search for the allowed rows, check that there are k of them and no others, and return the recall."""
    found = index.search(QUERIES, k, allowed)
    present = np.isin(rows, allowed)
    size = min(k, int(present.sum()))
    assert np.isin(found.rows[:, :size], rows[present]).all()
    assert all(len(set(each)) == size for each in found.rows[:, :size].tolist())
    assert (found.rows[:, size:] == -1).all()
    assert np.isneginf(found.scores[:, size:]).all()
    assert (np.diff(found.scores[:, :size], axis=1) <= 0).all()
    truth = GroundTruth.search(vectors[present], rows[present], QUERIES, k)
    return truth.recall(found.rows)


@pytest.mark.parametrize("step", [2, 10, 100])
def test_a_filtered_search_finds_the_best_allowed_items(load: Load, step: int) -> None:
    index = load()
    random = np.random.default_rng(step)
    by_chance = random.permutation(ROWS)[: NUM_VECTORS // step]
    first = np.argsort(VECTORS[:, 0])[: NUM_VECTORS // step]  # follows the embedding
    for allowed in (by_chance, ROWS[first]):
        assert filtered_recall(index, VECTORS, ROWS, allowed, 20) >= 0.9
    assert filtered_recall(index, VECTORS, ROWS, by_chance, NUM_VECTORS) >= 0.9


def test_a_filtered_search_follows_changes(load: Load, tmp_path: Path) -> None:
    index = load()
    gone, new, vectors = ROWS[::3], np.arange(9000, 9030), unit(30, seed=6)
    index.add(vectors, new)
    index.remove(gone)
    index.remove(new[:5])
    kept = np.ones(NUM_VECTORS, dtype=np.bool_)
    kept[::3] = False
    present = np.concatenate([VECTORS[kept], vectors[5:]])
    rows = np.concatenate([ROWS[kept], new[5:]])
    allowed = np.concatenate([ROWS[:200], new, [777_777]])  # removed and absent ones too
    assert filtered_recall(index, present, rows, allowed, 20) >= 0.9
    index.save(tmp_path / "changed.faiss")
    again = index.config.build()
    again.load(tmp_path / "changed.faiss")
    be_thorough(again)
    assert filtered_recall(again, present, rows, allowed, 20) >= 0.9


def test_a_filtered_search_without_allowed_items_finds_none(load: Load) -> None:
    index = load()
    for nothing in (ROWS[:0], np.array([1, 777_777]), np.array([2**40])):
        found = index.search(QUERIES[:3], 5, nothing)
        assert (found.rows == -1).all()
        assert np.isneginf(found.scores).all()
    with pytest.raises(InputError, match="rows: 7 is given more than once"):
        index.search(QUERIES, 5, np.array([7, 7]))


def test_bad_input_is_refused(load: Load) -> None:
    index = load()
    broken = QUERIES.copy()
    broken[2, 1] = np.nan
    with pytest.raises(InputError, match="k: 0 items"):
        index.search(QUERIES, 0)
    with pytest.raises(InputError, match="queries: dimension 31, but the index has dimension 32"):
        index.search(QUERIES[:, 1:], 5)
    with pytest.raises(InputError, match="queries: value nan at position 2, column 1"):
        index.search(broken, 5)
    with pytest.raises(InputError, match="new item vectors: value nan"):
        index.add(broken[2:3], np.array([77_777]))
    with pytest.raises(InputError, match="search_args"):
        index.set_search_args({"nprob": 3})
    assert index.num_vectors == NUM_VECTORS


def test_ties_are_fair(load: Load) -> None:
    index = load()
    twins = np.repeat(QUERIES[:1], 3, axis=0)
    index.add(twins, np.array([8001, 8002, 8003]))
    truth = GroundTruth.search(
        np.concatenate([VECTORS, twins]), np.append(ROWS, [8001, 8002, 8003]), QUERIES[:1], 1
    )
    for row in (8001, 8002, 8003):
        assert truth.recall(np.array([[row]])) == 1.0
    found = index.search(QUERIES[:1], 3).rows[0]
    scores = dict.fromkeys((8001, 8002, 8003), 1.0) | dict(zip(ROWS, VECTORS @ QUERIES[0], strict=True))
    assert min(scores[row] for row in found) >= 1 - 2 * index.score_tolerance


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_very_different_norms_keep_the_order_of_dot_products(path: Path) -> None:
    norms = 10.0 ** np.random.default_rng(5).uniform(-2, 2, (NUM_VECTORS, 1))
    vectors = (VECTORS * norms).astype(np.float32)
    index = index_of(config_in(path))
    index.training_iterations = 2
    index.build(vectors, ROWS)
    be_thorough(index)
    found = index.search(QUERIES, 10).rows
    if index.is_exact:
        expected = ROWS[np.argsort(-(QUERIES @ vectors.T), axis=1, kind="stable")[:, :10]]
        np.testing.assert_array_equal(found, expected)
    else:
        assert GroundTruth.search(vectors, ROWS, QUERIES, 10).recall(found) >= min(0.7, least_recall(index))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_too_few_vectors_is_a_clear_error_or_works(path: Path) -> None:
    index = index_of(config_in(path), num_items=3)
    nothing = np.empty((0, DIM), dtype=np.float32)
    with pytest.raises(InputError):
        index.build(nothing, np.empty(0, dtype=np.int64))
    three = VECTORS[:3]
    if index.config.min_items > 3:
        with pytest.raises(InputError, match="3"):  # the message names the number of vectors
            index.build(three, ROWS[:3])
    else:
        index.build(three, ROWS[:3])
        be_thorough(index)
        assert set(index.search(QUERIES[:1], 5).rows[0]) == {*ROWS[:3], -1}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_bad_items_are_refused_by_build(path: Path) -> None:
    index = index_of(config_in(path))
    broken = VECTORS.copy()
    broken[7, 3] = np.inf
    with pytest.raises(InputError, match="item vectors: value inf at position 7, column 3"):
        index.build(broken, ROWS)
    with pytest.raises(InputError, match="rows: 7 is given more than once"):
        index.build(VECTORS, np.where(np.arange(NUM_VECTORS) == 1, 7, ROWS))
    with pytest.raises(InputError, match="rows: -7 is negative"):
        index.build(VECTORS, np.where(np.arange(NUM_VECTORS) == 1, -7, ROWS))
    with pytest.raises(InputError, match="expected 600 integers, one per vector"):
        index.build(VECTORS, ROWS[:-1])


def test_building_again_gives_the_same_file(load: Load, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        index = load().config.build()
        index.training_iterations = 2
        index.build(VECTORS, ROWS)
        index.save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_tuned_index_passes_its_check(load: Load) -> None:
    index = load()
    truth = GroundTruth.search(VECTORS, ROWS, QUERIES[::2], 50)
    points = tune(index, truth)
    report = check(index, VECTORS, ROWS, QUERIES[1::2], points=points)
    assert report.search_args in [point.search_args for point in points]
    assert 0 < report.latency_ms_p50 <= report.latency_ms_p99
    assert report.queries_per_second > 0
    assert report.recall_at_100 >= report.min_recall
    assert report.ok, report.problems


def test_a_damaged_or_foreign_file_is_refused(load: Load, tmp_path: Path) -> None:
    index = load()
    index.save(tmp_path / "index.faiss")
    content = (tmp_path / "index.faiss").read_bytes()
    (tmp_path / "short.faiss").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"short\.faiss: is not a complete index file"):
        index.load(tmp_path / "short.faiss")
    with pytest.raises(InputError, match=r"absent\.faiss: there is no such index file"):
        index.load(tmp_path / "absent.faiss")
    other = next(each for each in map(index_of, map(config_in, PATHS)) if each.kind != index.kind)
    with pytest.raises(InputError, match=f"not an index of kind {other.kind}"):
        other.load(tmp_path / "index.faiss")
    assert index.num_vectors == NUM_VECTORS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_rehearsal_is_of_the_kind_that_the_catalogue_gets(path: Path) -> None:
    rehearsed = rehearse(config_in(path), DIM, NUM_VECTORS)
    assert rehearsed.num_vectors == NUM_VECTORS
    assert rehearsed.config == config_in(path).for_size(NUM_VECTORS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_stored_of_it_is_a_concrete_kind_and_reads_back(path: Path) -> None:
    config = config_in(path).for_size(NUM_VECTORS)
    assert config.for_size(NUM_VECTORS) == config
    assert Index.Config.model_validate(config.spec()) == config
    assert config.owner.kind == config.build().kind


def test_balanced_clusters_hold_the_same_items_and_can_be_changed_and_saved(
    load: Load, tmp_path: Path
) -> None:
    index = load()
    gone, crowd, rows = ROWS[::4], unit(1, 6) + 0.02 * unit(300, 7), np.arange(10_000, 10_300)
    index.remove(gone)
    index.add(crowd, rows)
    vectors, all_rows = np.concatenate([VECTORS, crowd]), np.concatenate([ROWS, rows])
    live = np.isin(all_rows, gone, invert=True)
    if not isinstance(index, IVF):
        with pytest.raises(InputError, match=f"{index.kind}: has no clusters that could be split"):
            index.balanced(vectors[live], all_rows[live])
        return
    before, args = index.search(QUERIES, 10).rows, index.search_args
    new, all_rows[-1] = index.balanced(vectors[live], all_rows[live]), 20_000
    assert new.num_vectors == live.sum() == new.list_sizes.sum()
    assert new.num_tombstones == 0
    assert new.list_sizes.max() < index.list_sizes.max()
    assert new.largest_search_arg > index.largest_search_arg
    assert new.search_args == {"nprobe": new.largest_search_arg}  # the same share: all of them
    np.testing.assert_array_equal(index.search(QUERIES, 10).rows, before)
    assert index.search_args == args
    new.remove(np.array([10_299]))
    new.add(vectors[-1:], np.array([20_000]))
    truth = GroundTruth.search(vectors[live], all_rows[live], QUERIES, 50)
    new.save(tmp_path / "balanced.faiss")
    again = new.config.build()
    again.load(tmp_path / "balanced.faiss")
    for each in (new, again):
        found = each.search(QUERIES, 50)
        assert truth.recall(found.rows) >= least_recall(new)
    np.testing.assert_array_equal(again.rows, np.sort(all_rows[live]))
