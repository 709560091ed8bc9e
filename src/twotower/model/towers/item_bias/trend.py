"""An item bias that follows the popularity of items over time."""

from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import Days
from twotower.data.interactions import Interactions
from twotower.data.sources.source import needs_times
from twotower.data.times import MAX_HORIZON_DAYS
from twotower.model.towers.item_bias.decayed_shares import fit_mixture
from twotower.model.towers.item_bias.item_bias import ItemBias, LogPriorOdds


class Trend(ItemBias):
    """The log of an item's predicted share of the next interactions, at the time of each example.

    Training adds the log prior odds of the time of the example, which are computed from earlier interactions,
    so that the towers learn preferences only. Index and service use the odds at the end of the log. The
    share is a mixture of exponentially decayed shares with half-lives from a five-hundredth of the log's time
    span to infinity; if items live for hours only, down to half an hour. The weights of the
    mixture maximize the likelihood of later interactions, so nothing needs tuning. An item without
    interactions has the average share of new items in the past.

    Prefer it for catalogues whose demand changes with the season. It has no trained parameters.

    Reference: Koren, Collaborative Filtering with Temporal Dynamics, KDD 2009, section 3 (biases over time).
    """

    class Config(ItemBias.Config):
        ahead_days: Days | Literal["auto"] = MAX_HORIZON_DAYS
        """Days that the mixture predicts, at most a quarter of the time span of the log; auto: as many days
        as the validation window has, at most 28."""

        def resolve(self, horizon_days: int) -> Self:
            """Return the settings with the days; see `ItemBias.Config.resolve`."""
            return self.model_copy(update={"ahead_days": horizon_days}) if self.ahead_days == "auto" else self

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Refuse data without times, and a learned temperature."""
            remedy = "use item_bias=popularity"
            problems = needs_times(context.get("data"), remedy)
            loss = context.get("loss")
            if loss is not None and loss.scoring().learns_temperature:
                text = "multiplies by the temperature of the loss before training, so it must not be learned"
                problems.append(("", f"{text}; set loss.learned_temperature=false, or {remedy}"))
            return problems

    config: Config
    biases: Tensor
    new_item_bias: Tensor
    temperature: Tensor
    power: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__(config, num_items)
        self.register_buffer("biases", torch.zeros(num_items))
        self.register_buffer("new_item_bias", torch.zeros(1))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("power", torch.zeros(()))  # 0: a loss without a power
        self.register_buffer("knots", torch.zeros(1, dtype=torch.int64), persistent=False)
        self.register_buffer("log_odds", torch.zeros(1, 1), persistent=False)
        self.register_buffer("odds", torch.ones(1, 1), persistent=False)

    def initialize(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Fit the mixture and compute the log odds at each knot; see `ItemBias.initialize`."""
        assert self.config.ahead_days != "auto"
        counted, mixture = fit_mixture(interactions, self.num_items, self.config.ahead_days)
        number = len(counted.knots) - 1
        log_odds = np.zeros((number + 1, self.num_items + 1), dtype=np.float32)
        for knot, shares in enumerate(counted.shares()):
            # Shorter half-lives than an interval count at the end of the log, where the index is built.
            exact = counted.exact_shares(counted.knots[-1], mixture.shorter) if knot == number else None
            log_odds[knot, 1:] = mixture.log_odds(shares, exact)
        self.knots = torch.from_numpy(np.ceil(counted.knots).astype(np.int64))
        self.log_odds = torch.from_numpy(log_odds)
        self.odds = self.log_odds.exp()
        # The prior is added to logits; the column of the embedding is divided by the temperature first.
        self.temperature.fill_(temperature)
        self.power.fill_(power or 0.0)
        self.biases.copy_(self.log_odds[-1, 1:] * temperature)
        new_item_odds = float(np.log(mixture.share_of_new_item(1) * self.num_items))
        self.new_item_bias.fill_(new_item_odds * temperature)

    def log_prior_odds(self, times: Tensor) -> LogPriorOdds:
        """Return the log odds at times [B]; see `ItemBias.log_prior_odds`."""
        moments = (torch.searchsorted(self.knots, times, right=True) - 1).clamp(min=0)
        return LogPriorOdds(self.log_odds, moments, self.odds)

    def warm_start(self, before: ItemBias, rows: Tensor, interactions: Interactions | None) -> None:
        """Fit again to the interactions if there are any; otherwise copy; see `ItemBias.warm_start`."""
        if interactions is not None:
            self.initialize(interactions, float(self.temperature), float(self.power))
            return
        super().warm_start(before, rows, interactions)
        self.biases[rows == 0] = self.new_item_bias

    @property
    def neutral_bias(self) -> float:
        """See `ItemBias.neutral_bias`: p T, of the power p and the temperature T.

        With the score u v / T, the odds times a share s, (1 + u v / (p T))^p s, rank items like
        (p T + u v) s^(1/p), and log(s) T is the bias.
        """
        return float(self.power * self.temperature)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the biases [B, 1] of the end of the log; zeros in training, which uses the prior odds."""
        if self.training:
            return self.biases.new_zeros((len(rows), 1))
        known = (rows > 0) & (rows <= self.num_items)
        return torch.where(known, self.biases[torch.where(known, rows - 1, 0)], self.new_item_bias)[:, None]
