"""A history encoder of somebody else's: the latest item asks the others what matters."""

from torch import Tensor, nn

from twotower.config.spec import PositiveInt
from twotower.model.towers.history.history_encoder import HistoryEncoder


class AttentionPooling(HistoryEncoder):
    """Attention over a history, with its latest item as the query; the output is added to that item.

    Reference: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018, section 4.3.
    """

    class Config(HistoryEncoder.Config):
        heads: PositiveInt = 1
        """That share the width of an embedding evenly."""

    config: Config

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__(config, dim)
        self.attention = nn.MultiheadAttention(dim, config.heads, batch_first=True)

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        there = mask.any(1)
        hidden = ~mask & there[:, None]  # with nothing there, all is looked at, and thrown away below
        last = embeddings[:, -1:]
        found, _ = self.attention(last, embeddings, embeddings, key_padding_mask=hidden, need_weights=False)
        return (last + found)[:, 0] * there[:, None]
