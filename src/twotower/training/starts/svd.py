"""The embeddings of items start from a linear autoencoder's, cut to their width."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from twotower.config.spec import Fraction, PositiveFloat
from twotower.data.history import History
from twotower.evaluation.baselines.ease import interaction_matrix
from twotower.towers.two_tower import TwoTower
from twotower.training.starts.start import Judge, Start, item_tables

LOG = logging.getLogger("twotower")
SAMPLE = 2_000  # users whose own items are scored
LEVELS, UNJUDGED = (0.5, 1.0, 2.0, 4.0), 1.0
USUAL_POWER, SPARSE_POWER = 0.5, 0.75
CLEARLY = 0.05  # better: on most logs powers differ by a hundredth, and what training makes of them by more


class Svd(Start):
    """With X the users' items, U S V' its truncated SVD: item embeddings start as c D V (S^2 / (S^2 + r))^.5.

    Scores of a summed history are then those of the ridge regression of X on itself, cut to the embedding's
    width, so that training begins about where EASE ends and learns what is to be added. D divides an item by
    a power of how often it was taken, since such scores repeat what the item bias has of popularity already;
    c makes them logits: without it a log of short histories would start with scores near zero, one of long
    histories with scores too sure. Set are embeddings of ids as wide as the towers' output, and the history's
    own table where it has one. On logs of few users this is what keeps a model from falling behind a linear
    one; on others training starts some epochs later.

    Reference: Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 2 (the
    ridge regression's closed form in singular values).
    """

    informed = True

    class Config(Start.Config):
        """The ridge, and how sure scores are."""

        regularisation: PositiveFloat = 500
        """r, as EASE's."""
        count_power: Fraction | None = None
        """Items are divided by how often they were taken to this power; 0 = not at all, null: 0.5, or 0.75
        where that is clearly better on the validation split before training, as on sparse logs."""
        level: PositiveFloat | None = None
        """What a user's own items score in the mean, each left out of the history it is scored by; null: what
        is best on the validation split before training, from 0.5 to 4, and 1 where there is none."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.level = config.level or UNJUDGED
        self.power = USUAL_POWER if config.count_power is None else config.count_power

    def chosen(self) -> dict[str, float]:
        """Return the level and the power; see `Start.chosen`."""
        found = {"level": self.level, "count_power": self.power}
        return {key: value for key, value in found.items() if getattr(self.config, key) is None}

    def set(self, model: TwoTower, log: History, judge: Judge | None) -> None:
        """Set the tables; see `Start.set`."""
        tables = item_tables(model)
        if not tables:
            LOG.info(
                "start: svd sets embeddings of item ids as wide as the towers' output, and there are none "
                "(item_id of the kind Id, dim 0, among features.item); training starts at random"
            )
            return
        users, num_items = np.arange(log.num_users + 1), len(model.trained_items) - 1
        taken = interaction_matrix(log.positives, users, num_items).astype(np.float64)
        autoencoder = linear_autoencoder(taken, model.history.dim, self.config.regularisation)

        def put(power: float, level: float) -> None:
            found = at_level_one(autoencoder, taken, power)
            scaled = torch.from_numpy(found * np.sqrt(level, dtype=np.float32))
            for table, places in tables:
                known = places > 0
                with torch.no_grad():
                    table[places[known]] = scaled[known].to(table.dtype)

        if judge is not None:
            self._choose(put, judge)
        put(self.power, self.level)

    def _choose(self, put: Callable[[float, float], None], judge: Judge) -> None:
        """Choose what is not set: the level first, then the power at that level."""

        def judged(power: float, level: float) -> float:
            put(power, level)
            return judge()

        if self.config.level is None:
            found = {level: judged(self.power, level) for level in LEVELS}
            self.level = peak(LEVELS, list(found.values()))
            LOG.info("start.level=%.3g: untrained, validation is %s", self.level, _told(found))
        if self.config.count_power is None:
            found = {power: judged(power, self.level) for power in (USUAL_POWER, SPARSE_POWER)}
            usual, sparse = found.values()
            self.power = SPARSE_POWER if sparse - usual > CLEARLY * abs(usual) else USUAL_POWER
            LOG.info("start.count_power=%g: untrained, validation is %s", self.power, _told(found))


def linear_autoencoder(taken: scipy.sparse.csr_array, dim: int, regularisation: float) -> NDArray[np.float64]:
    """Return V (S^2 / (S^2 + r))^.5 of what users have taken, [N, dim]; zeros for items that nobody has.

    Args:
        taken: users x items, of ones.
        dim: of an embedding; beyond the rank of `taken` there are zeros.
        regularisation: r.
    """
    rank = min(dim, min(taken.shape) - 1)
    found = np.zeros((taken.shape[1], dim))
    if rank < 1:
        return found
    first = np.random.default_rng(0).standard_normal(min(taken.shape))
    _, values, vectors = scipy.sparse.linalg.svds(taken, k=rank, v0=first)
    shares = values**2 / (values**2 + regularisation)
    found[:, :rank] = (vectors.T * np.sqrt(shares))[:, ::-1]
    return found


def at_level_one(
    embeddings: NDArray[np.float64], taken: scipy.sparse.csr_array, power: float
) -> NDArray[np.float32]:
    """Return embeddings [N, dim] over a power of items' counts, scaled to an `own_score` of 1.

    Args:
        embeddings: [N, dim].
        taken: users x items, of ones.
        power: of the counts; 0 leaves them out.
    """
    counts = np.maximum(np.asarray(taken.sum(axis=0)).ravel(), 1)
    divided: NDArray[np.float32] = (embeddings / counts[:, None] ** power).astype(np.float32)
    own = own_score(taken, divided)
    return divided / np.sqrt(own, dtype=np.float32) if own > 0 else divided


def _told(judged: dict[float, float]) -> str:
    return ", ".join(f"{abs(value):.4f} at {choice:g}" for choice, value in judged.items())


def peak(levels: Sequence[float], values: Sequence[float]) -> float:
    """Return where values are highest: by a parabola in log(level) through the highest and its neighbours.

    Args:
        levels: each as many times the one before.
        values: of each level; where the first or the last is highest, it is the peak, and of equal ones that
            of the level nearest to 1: without an item bias no level changes a ranking.
    """
    best = max(range(len(levels)), key=lambda place: (values[place], -abs(np.log(levels[place]))))
    if not 0 < best < len(levels) - 1:
        return levels[best]
    before, here, after = values[best - 1 : best + 2]
    curve = before + after - 2 * here
    away = (before - after) / (2 * curve) if curve else 0.0
    return float(levels[best] * (levels[1] / levels[0]) ** away)


def own_score(taken: scipy.sparse.csr_array, embeddings: NDArray[np.float32]) -> float:
    """Return the mean score of users' own items by the rest of what they have.

    A history is summed and divided by the root of its length; each item scored is taken out of the sum. Users
    of a single item have no rest.

    Args:
        taken: users x items, of ones.
        embeddings: of items, [N, d].
    """
    lengths = np.diff(taken.indptr)
    several = taken[np.flatnonzero(lengths > 1)[:: max(1, (lengths > 1).sum() // SAMPLE)]]
    if not several.nnz:
        return 0.0
    lengths = np.diff(several.indptr)
    users = np.repeat(np.arange(len(lengths)), lengths)
    of_items = embeddings[several.indices]
    scores = np.einsum("nd,nd->n", (several @ embeddings)[users] - of_items, of_items)
    return float((scores / np.sqrt(lengths[users])).mean())
