"""The embeddings of items start from a linear autoencoder's, cut to their width."""

import logging

import numpy as np
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twotower.config.spec import PositiveFloat
from twotower.data.history import History
from twotower.evaluation.baselines.ease import interaction_matrix
from twotower.features.encoders import LookupEncoder
from twotower.features.id import Id
from twotower.towers.two_tower import TwoTower
from twotower.training.starts.start import Start

LOG = logging.getLogger("twotower")


class Svd(Start):
    """With X the users' items, U S V' its truncated SVD: item embeddings start as V (S^2 / (S^2 + r))^1/2.

    Scores of a summed history are then those of the ridge regression of X on itself, cut to the embedding's
    width, so that training begins about where EASE ends and learns what is to be added. Set are embeddings
    of ids as wide as the towers' output, and the history's own table where it has one. On logs of few users
    this is what keeps a model from falling behind a linear one; on others training starts some epochs later.

    Reference: Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 2 (the
    ridge regression's closed form in singular values).
    """

    class Config(Start.Config):
        """The ridge, and how sure scores are."""

        regularisation: PositiveFloat = 500
        """r, as EASE's."""
        scale: PositiveFloat = 60
        """What scores are multiplied with, which makes them logits."""

    config: Config

    def set(self, model: TwoTower, log: History) -> None:
        """Set the tables; see `Start.set`."""
        tables = _tables(model)
        if not tables:
            LOG.info(
                "start: svd sets embeddings of item ids as wide as the towers' output, and there are none "
                "(item_id of the kind Id, dim 0, among features.item); training starts at random"
            )
            return
        found = self.embeddings(log.positives, len(model.trained_items) - 1, model.history.dim)
        for table, places in tables:
            with torch.no_grad():
                known = places > 0
                table[places[known]] = torch.from_numpy(found)[known].to(table.dtype)

    def embeddings(self, log: History, num_items: int, dim: int) -> NDArray[np.float32]:
        """Return first embeddings of items, [N, dim]; zeros for those that nobody has."""
        taken = interaction_matrix(log, np.arange(log.num_users + 1), num_items).astype(np.float64)
        rank = min(dim, min(taken.shape) - 1)
        found = np.zeros((num_items, dim), dtype=np.float32)
        if rank < 1:
            return found
        first = np.random.default_rng(0).standard_normal(min(taken.shape))
        _, values, vectors = scipy.sparse.linalg.svds(taken, k=rank, v0=first)
        shares = values**2 / (values**2 + self.config.regularisation)
        found[:, :rank] = (vectors.T * np.sqrt(shares * self.config.scale))[:, ::-1]
        return found


def _tables(model: TwoTower) -> list[tuple[Tensor, Tensor]]:
    """Return the tables to set, and the row there of each item [N], 0 = none."""
    rows = torch.arange(1, len(model.trained_items))
    found: list[tuple[Tensor, Tensor]] = []
    for name, places in model.items.gather(rows).items():
        encoder = model.item_encoders[name]
        if not (isinstance(model.items.features[name], Id) and isinstance(encoder, LookupEncoder)):
            continue
        weight: Tensor = encoder.table.weight
        if weight.shape[1] == model.history.dim:
            found.append((weight, places.flatten().long()))
    if model.history.config.reads_table:
        table = model.history_table
        assert isinstance(table, nn.Embedding)
        found.append((table.weight, rows))
    return found
