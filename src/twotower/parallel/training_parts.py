"""The parts of a training that differ for several processes, chosen once when the training is built."""

from torch import Tensor

from twotower.evaluation.division import Division
from twotower.model.features.encoders import NewTable
from twotower.model.losses.batch_loss import BatchLoss
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.scoring.batch import BatchShare
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.ranks import gather_rows, share, world_size
from twotower.parallel.row_wise_table import RowWiseTable
from twotower.parallel.sharded_loss import ShardedBatchLoss


def build_batch_loss(model: TwoTower, sampler: NegativeSampler, loss: Loss) -> BatchLoss:
    """Return the loss of a batch, or of the share of this process."""
    kind = BatchLoss if world_size() == 1 else ShardedBatchLoss
    return kind(model, sampler, loss)


def own_share(size: int) -> BatchShare:
    """Return the share of this process in a batch of `size` rows, at least one row."""
    own = share(size)
    if own.start < own.stop:
        return BatchShare(own, size)
    return BatchShare(slice(0, 1), size, weight=0.0)


class RanksDivision(Division):
    """The division among the ranks, also among a single rank."""

    def share(self, number: int) -> slice:
        return share(number)

    def gather_rows(self, rows: Tensor) -> Tensor:
        return gather_rows(rows)


def table_builder() -> NewTable | None:
    """Return what builds a divided table; None for one process."""
    return RowWiseTable if world_size() > 1 else None
