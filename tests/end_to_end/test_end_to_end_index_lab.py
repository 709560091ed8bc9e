"""`twotower index_lab` over files and over a run."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import run_script
from safetensors.numpy import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Chosen, Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index_lab.measure import exact_results, measure_case
from twotower.index_lab.report import pareto_rows

DIM = 16
CASES = "cases=[flat_ip,'ivf_pq num_subquantizers=4 num_bits=4','IVF8,SQ8,Refine(SQfp16)']"


def vectors(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, DIM), dtype=np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    np.save(tmp_path / "items.npy", vectors(600, 0))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors(40, 1).reshape(-1)), DIM)
    pq.write_table(pa.table({"user_id": range(40), "vector": lists}), tmp_path / "users.parquet")
    return f"vectors={tmp_path}/items.npy", f"queries={tmp_path}/users.parquet"


def test_cases_are_measured_and_reported(tmp_path: Path, files: tuple[str, str]) -> None:
    out = tmp_path / "lab"
    done = run_script("index_lab", *files, f"out={out}", CASES, "target_recall=0.9")
    assert done.returncode == 0, done
    report = json.loads((out / "report.json").read_text())
    assert (report["num_vectors"], report["num_queries"], report["queries"]) == (600, 20, "users")
    exact, codes, refined = report["rows"]
    assert exact["recall_at"] == {"1": 1.0, "10": 1.0, "100": 1.0}
    assert codes["bytes_per_item"] < 40 < exact["bytes_per_item"] < 80
    assert refined["factory"] == "IDMap,IVF8,SQ8,Refine(SQfp16)"
    assert refined["chosen"]["recall"] >= 0.9
    assert [point["search_args"]["nprobe"] for point in codes["points"]] == sorted(
        point["search_args"]["nprobe"] for point in codes["points"]
    )
    for text in (done.stdout, (out / "index.html").read_text()):
        assert all(row["name"] in text for row in report["rows"])
    events = EventAccumulator(str(out)).Reload()
    assert events.Tags()["images"] == ["index_lab/recall_and_speed", "index_lab/recall_and_memory"]
    table = events.Tensors("index_lab/table/text_summary")[0].tensor_proto.string_val[0].decode()
    heading, *rows = table.removeprefix("```\n").removesuffix("\n```").splitlines()
    assert heading.split()[:3] == ["index", "search", "recall@1"]
    assert {row.partition("  ")[0] for row in rows} == {each["name"] for each in report["rows"]}
    assert len(rows) == len(report["rows"])
    assert {len(row) for row in rows} == {len(heading)}  # aligned
    again = run_script("index_lab", *files, f"out={out}", CASES)
    assert again.returncode == 2
    assert "is never overwritten" in again.stderr


@pytest.mark.parametrize("case", ["ivf_pq 'x", " "])
def test_a_case_that_cannot_be_split_is_reported(case: str, tmp_path: Path, files: tuple[str, str]) -> None:
    done = run_script("index_lab", *files, f"out={tmp_path}/lab", f'cases=["{case}"]')
    assert done.returncode == 2
    assert f"cases: {case!r} is blank or has an unclosed quote" in done.stderr


def test_the_chosen_index_is_saved(tmp_path: Path, files: tuple[str, str]) -> None:
    out = tmp_path / "best"
    cases = "cases=['auto target_recall=0.9 exact_below=0 candidates=[ivf_sq]']"
    done = run_script("index_lab", *files, f"out={out}", cases, "target_recall=0.9", "save=true")
    assert done.returncode == 0, done
    report = json.loads((out / "report.json").read_text())
    index = Index.Config.model_validate(report["rows"][0]["spec"]).build()
    index.load(out / "index.faiss")
    assert index.search_args == report["rows"][0]["chosen"]["search_args"]
    items = vectors(600, 0)
    truth = GroundTruth.search(items, np.arange(600), vectors(40, 1), 100)
    assert truth.recall(index.search(vectors(40, 1), 100).rows) >= 0.9


def test_added_items_count_and_a_row_that_another_beats_is_not_on_the_front() -> None:
    exact = exact_results(vectors(500, 2), vectors(20, 3))
    flat, clusters = (
        measure_case(name, Chosen(config), exact, 1.0)
        for name, config in (("flat", FlatIP.Config()), ("lists", IVFFlat.Config(nlist=4)))
    )
    assert flat.recall_at == {1: 1.0, 10: 1.0, 100: 1.0}
    assert flat.reaches_target
    slower = type(flat)(
        **{**vars(clusters), "chosen": type(flat.chosen)({}, flat.chosen.recall, queries_per_second=1.0)}
    )
    assert pareto_rows([flat, slower]) == [flat]


def test_a_search_argument_of_the_settings_is_the_only_one() -> None:
    chosen = Chosen(IVFFlat.Config(nlist=8, nprobe=2))
    row = measure_case("lists", chosen, exact_results(vectors(500, 2), vectors(20, 3)), 1.0)
    assert [point.search_args for point in row.points] == [row.chosen.search_args] == [{"nprobe": 2}]
    assert not row.reaches_target


def test_bad_input_is_one_message(tmp_path: Path, files: tuple[str, str]) -> None:
    broken = vectors(50, 4)
    broken[7, 3] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    np.save(tmp_path / "narrow.npy", broken[:, :4])
    np.save(tmp_path / "numbers.npy", np.arange(6))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    save_file({"a": broken, "b": broken}, tmp_path / "two.safetensors")
    items, users = files
    out = f"out={tmp_path}/lab"
    for words, message in [
        ([f"vectors={tmp_path}/no.npy"], "there is no such file"),
        ([f"vectors={tmp_path}/items.csv"], "expected the name of a file that ends in .npy, .parquet"),
        ([f"vectors={tmp_path}/cut.npy"], "not readable"),
        ([f"vectors={tmp_path}/cut.safetensors"], "not readable"),
        ([f"vectors={tmp_path}/two.safetensors"], "expected one tensor, found a, b"),
        ([f"vectors={tmp_path}/numbers.npy"], "expected floats of shape"),
        ([f"vectors={tmp_path}/broken.npy"], "value nan at position 7, column 3"),
        ([items, f"queries={tmp_path}/narrow.npy"], "dimension 4, but the index has dimension 16"),
        ([users], "expected one of them"),
        ([items, "run=outputs"], "expected one of them"),
        ([items, "cases=[ivf_sk]"], "ivf_sk"),
        ([items, "cases=['ivf_pq codes=3']"], "codes"),
        ([items, "cases=['L2norm,Flat']"], "NormalizationTransform changes dot products"),
    ]:
        done = run_script("index_lab", *words, out)
        assert done.returncode == 2, (words, done)
        assert message in done.stderr, (words, done.stderr)
        assert not (tmp_path / "lab").exists()
