"""The cold start that is measured is the one that is served."""

import numpy as np
import pytest
import tiny_bundle
import torch

from twotower.evaluation.cold_start import embed_new_items
from twotower.model.towers.user_batch import UserBatch
from twotower.serving.retriever import Retriever

USERS = [f"user-{row:02d}" for row in (1, 2, 5, 11)]


@pytest.mark.parametrize("history_items", ["table", "tower"])
def test_an_added_item_scores_as_the_measured_one(tmp_path, history_items):
    model, vectors = tiny_bundle.write(tmp_path / "bundle", history_items=history_items)
    retriever, table = Retriever.open(tmp_path / "bundle"), tiny_bundle.dataset().item_table
    lines = table.iloc[40:44].reset_index(drop=True)
    lines.loc[0, "title"] = None
    lines.loc[1, "price"] = np.nan
    measured = embed_new_items(model, lines)
    assert not np.allclose(measured[2], vectors[42], atol=1e-3)  # this one's id was trained
    with torch.inference_mode():
        for at, line in lines.iterrows():
            retriever.add_item(f"new-{at}", {key: line[key] for key in ("title", "price", "tags")})
        users = [model_vector(model, int(user[-2:])) for user in USERS]
    for user, vector in zip(USERS, users, strict=True):
        for at in range(len(lines)):
            (found,) = retriever.recommend(user, 1, allow=[f"new-{at}"])
            assert found.score == pytest.approx(float(vector @ measured[at]), rel=1e-5, abs=1e-6)


def model_vector(model, row):
    rows, times = tiny_bundle.history().last(np.array([row]), tiny_bundle.LENGTH)
    now = torch.tensor([tiny_bundle.NOW])
    batch = UserBatch(torch.tensor([row]), torch.tensor(rows), torch.tensor(times), now)
    return model.encode_users(batch)[0].numpy()
