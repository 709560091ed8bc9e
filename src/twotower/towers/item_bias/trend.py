"""An item bias that follows how popular the item is as time goes by."""

import numpy as np
import torch
from torch import Tensor

from twotower.config.spec import Days
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source, needs_times
from twotower.towers.item_bias.decayed_shares import Counted, Mixture
from twotower.towers.item_bias.item_bias import ItemBias, LogPriorOdds


class Trend(ItemBias):
    """The log of an item's share of what is taken next: as things stood at each example's own time.

    Training ranks an example's candidates with what was popular when it happened, known from what was taken
    before it, so that the towers learn what is left: taste. Ranked and served is with what is popular at the
    end of the log. The share is a mixture of shares that forget at different speeds, from a five-hundredth
    of the log's span to never, weighted so that what was taken next is likeliest: nothing is to be tuned. An
    item that nobody has taken has its part of what items as new as it were given in the past.

    Prefer it for catalogues that change with the season. It learns nothing by gradient.

    Reference: Koren, Collaborative Filtering with Temporal Dynamics, KDD 2009, section 3 (biases over time).
    """

    class Config(ItemBias.Config):
        """How far ahead the next thing lies."""

        ahead_days: Days = 28
        """The mixture is to tell what is taken in so many days, at most a quarter of the log's span."""

        def problems(
            self, data: Source.Config | None = None, learns_temperature: bool | None = None
        ) -> list[tuple[str, str]]:
            """Tell whether there are times, and refuse a loss that would train other sums than are served."""
            other, found = "use item_bias=popularity", needs_times(data, "use item_bias=popularity")
            if learns_temperature:
                text = "is served times the loss's temperature, which is not known while that is learned"
                found.append(("", f"{text}; set loss.learned_temperature=false, or {other}"))
            return found

    config: Config
    biases: Tensor
    of_new: Tensor
    temperature: Tensor
    power: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__(config, num_items)
        self.register_buffer("biases", torch.zeros(num_items))
        self.register_buffer("of_new", torch.zeros(1))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("power", torch.zeros(()))  # 0: of a loss without one
        self.register_buffer("knots", torch.zeros(1, dtype=torch.int64), persistent=False)
        self.register_buffer("log_odds", torch.zeros(1, 1), persistent=False)
        self.register_buffer("odds", torch.ones(1, 1), persistent=False)

    def initialize(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Fit the mixture, and keep what it says at each knot; see `ItemBias.initialize`."""
        interactions = interactions.positives
        items, times = np.asarray(interactions.items), np.asarray(interactions.times)
        counted = Counted.of(items, times, self.num_items)
        number = len(counted.knots) - 1
        mixture = Mixture.fit(counted, counted.ahead(self.config.ahead_days))
        log_odds = np.zeros((number + 1, self.num_items + 1), dtype=np.float32)
        for knot, shares in enumerate(counted.shares()):
            log_odds[knot, 1:] = mixture.log_odds(shares)
        self.knots = torch.from_numpy(np.ceil(counted.knots).astype(np.int64))
        self.log_odds = torch.from_numpy(log_odds)
        self.odds = self.log_odds.exp()
        # A prior is added behind the temperature, a column of the embedding is divided by it.
        self.temperature.fill_(temperature)
        self.power.fill_(power or 0.0)
        self.biases.copy_(self.log_odds[-1, 1:] * temperature)
        self.of_new.fill_(float(np.log(mixture.of_new(1) * self.num_items)) * temperature)

    def log_prior_odds(self, times: Tensor) -> LogPriorOdds:
        """Return the mixture's log odds as they were at times [B]; see `ItemBias.log_prior_odds`."""
        moments = (torch.searchsorted(self.knots, times, right=True) - 1).clamp(min=0)
        return LogPriorOdds(self.log_odds, moments, self.odds)

    def warm_start(self, before: ItemBias, rows: Tensor, interactions: Interactions | None) -> None:
        """Count the log anew if there is one; else take over what was known."""
        if interactions is not None:
            self.initialize(interactions, float(self.temperature), float(self.power))
            return
        super().warm_start(before, rows, interactions)
        self.biases[rows == 0] = self.of_new

    @property
    def neutral_bias(self) -> float:
        """See `ItemBias.neutral_bias`: p T, of the power p and the temperature T.

        With u v / T for a score, odds times a share s, (1 + u v / (p T))^p s, order items as (p T + u v)
        s^1/p does; and log(s) T is the bias.
        """
        return float(self.power * self.temperature)

    @property
    def bias_scale(self) -> float:
        """See `ItemBias.bias_scale`: the temperature."""
        return float(self.temperature)

    def forward(self, rows: Tensor) -> Tensor:
        """Return biases [B, 1] as they are now; while training zeros, since a prior stands for them."""
        if self.training:
            return self.biases.new_zeros((len(rows), 1))
        known = (rows > 0) & (rows <= self.num_items)
        return torch.where(known, self.biases[torch.where(known, rows - 1, 0)], self.of_new)[:, None]
