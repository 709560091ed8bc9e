"""Embeddings that can be cut short, and what an index of each length costs."""

import json
from pathlib import Path

from in_process import run_script
from quick import QUICK

TYPED = [
    "data=synthetic",
    "data.num_users=600",
    "data.num_items=300",
    "data.num_interactions=12000",
    "trainer=smoke",
    "trainer.refit=false",
    "metrics.num_bootstrap=0",
    "embedding_dim=16",
    *QUICK,
]


def test_an_index_at_each_length_is_in_the_report(tmp_path: Path) -> None:
    done = run_script(
        "train", *TYPED, "item_bias=none", "loss=matryoshka", "console=full", f"output_root={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("result.json")
    index = json.loads(path.read_text())["index"]
    assert [index["dim"], *(each["dim"] for each in index["shorter"])] == [16, 8, 4]
    sizes = [index["index_bytes"], *(each["index_bytes"] for each in index["shorter"])]
    assert sizes == sorted(sizes, reverse=True)
    differences = [each["label_difference"]["recall_at_20"] for each in (index, *index["shorter"])]
    assert differences[0] == 0.0
    assert differences[2] < 0.0  # a quarter of the columns, of a training of seconds, loses something
    assert "dim 4 " in done.stdout
