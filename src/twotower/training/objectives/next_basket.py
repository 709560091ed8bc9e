"""The objective of next-basket prediction: a user at one time, and the items of the following days.

Shapes: n examples, R requests of an epoch, B requests of a batch, P positives of a batch.
"""

import dataclasses
import logging
from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.data.interactions import Interactions, ages_within_user, expand_ranges
from twotower.data.sources.source import Source, needs_times
from twotower.data.times import MAX_HORIZON_DAYS, SECONDS_A_DAY
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.scoring.batch import Batch, BatchShare
from twotower.model.towers.item_bias.decayed_shares import fit_mixture
from twotower.training.batches import LazyColumn, TrainBatches, first_since
from twotower.training.objectives.objective import Objective, halved
from twotower.training.order import Order

LOG = logging.getLogger("twotower")
SHARE = 1 / 3
"""Half-life of the weights / half-life of popularity, chosen by `scripts/bench/carry_over.py`."""
INTERACTIONS_PER_REQUEST = 10
MIN_REQUESTS, MAX_REQUESTS = 10_000, 100_000
"""Limits of the requests per epoch."""


class NextBasket(Objective):
    """One example per request: a user, a time, the history before it, and several positives after it.

    A user is encoded once for all positives of a request. All users have equally many requests per epoch, and
    recent interactions have higher weights.

    Prefer it for shops, where the items of a basket have no order, and for data with a few heavy users. If
    the order is informative (films, songs), `sequence` or `next_item` learn more from a user.
    Reference: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, section 2.2 (the
    multinomial likelihood of a user's items).
    """

    class Config(Objective.Config):
        batch_size: Annotated[PositiveInt, Le(1_000_000)] = 512
        """B, requests per batch."""
        recency_half_life_days: PositiveFloat | Literal["auto"] | None = None
        """Half-life of the probability that a request time is drawn, per user; null: none; auto: a third of
        the half-life of popularity, which is long without a trend."""
        horizon_days: Annotated[int, Ge(0), Le(36_500)] | Literal["auto"] = MAX_HORIZON_DAYS
        """Positives are interactions within this many days after the request time; 0: at the same second;
        auto: as many days as the validation window has, at most 28."""
        epoch_requests: Annotated[PositiveInt, Le(100_000_000)] | None = None
        """Requests per epoch; null: a tenth of the interactions, at least 10,000 and at most 100,000."""

        def resolve(self, interactions: Interactions, horizon_days: int = MAX_HORIZON_DAYS) -> Self:
            """Return the settings with horizon and half-life; see `Objective.Config.resolve`."""
            horizon = horizon_days if self.horizon_days == "auto" else self.horizon_days
            if self.horizon_days == "auto" and horizon < MAX_HORIZON_DAYS:
                LOG.debug("objective.horizon_days=%d, the length of the validation window", horizon)
            half_life = self.recency_half_life_days
            if half_life == "auto":
                days = half_life_days(interactions, horizon)
                half_life = days if isfinite(days) else None
            return self.model_copy(update={"horizon_days": horizon, "recency_half_life_days": half_life})

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse data without times, and impressions as negatives."""
            data: Source.Config | None = context.get("data")
            negatives: NegativeSampler.Config | None = context.get("negatives")
            for key in ("recency_half_life_days", "horizon_days"):
                if getattr(self, key):
                    yield from needs_times(data, "use objective=next_item", key)
            may_have_impressions = data is None or data.gives_negatives() is not False
            if negatives is not None and negatives.max_impressions() and may_have_impressions:
                remedy = "use objective=next_item, or negatives=catalogue"
                yield "", f"next_basket does not learn from impressions without a click; {remedy}"

    config: Config

    @property
    def horizon_seconds(self) -> int:
        """The horizon; 0 for the same second."""
        assert self.config.horizon_days != "auto"
        return round(self.config.horizon_days * SECONDS_A_DAY)  # a checkpoint has its days as a float

    def weights(self, interactions: Interactions) -> np.ndarray:
        """Return weights that halve with each half-life before the newest interaction of the user.

        See `Objective.weights`. Only the weights of one user are compared with each other.
        """
        days = self.config.resolve(interactions).recency_half_life_days
        assert days != "auto"
        return halved(ages_within_user(interactions), days)

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return the number of requests per epoch."""
        return self.config.epoch_requests or int(
            np.clip(len(weights) // INTERACTIONS_PER_REQUEST, MIN_REQUESTS, MAX_REQUESTS)
        )

    def expected_positives(self, interactions: Interactions, shares: np.ndarray | None) -> np.ndarray:
        """Return how often each interaction is a positive; see `Objective.expected_positives`.

        A request is at a drawn interaction k of the user, minus a uniform time below the horizon H. So j is a
        positive with the probability max(0, 1 - |t_j - t_k| / H).
        """
        weights = self.example_weights(interactions).astype(np.float64)
        is_example = weights > 0
        examples, weights = interactions.where(is_example), weights[is_example]
        users = examples.user_rows()
        drawn = weights / np.bincount(users, weights)[users]
        if shares is not None:
            drawn *= shares[is_example]
        expected = np.zeros(len(interactions))
        expected[is_example] = sums_nearby(drawn, examples, max(1, self.horizon_seconds))
        return expected if shares is None else np.where(shares > 0, expected, 0)

    def batches(self, interactions: Interactions, **settings: Any) -> "BasketBatches":
        """Build batches of requests; for `settings` see `TrainBatches`."""
        settings |= self.drawn(interactions, settings)
        return BasketBatches(interactions, self.horizon_seconds, **settings)


class BasketBatches(TrainBatches):
    """Requests in place of single examples; addressed by number as in `TrainBatches`.

    An epoch has equally many requests of every user, as far as its size allows. The request time is drawn in
    two steps: an interaction of the user, in proportion to its weight, then a time before it by less than the
    horizon. So request times are distributed like dates of a calendar: most are between two visits of a user.

    Histories are always strictly earlier.

    Args:
        horizon: in seconds.
        **settings: see `TrainBatches`.
    """

    def __init__(self, interactions: Interactions, horizon: int, **settings: Any) -> None:
        settings["history"] = settings["history"].model_copy(update={"strict": True})
        super().__init__(interactions, **settings)
        self.horizon = horizon
        order = self.order
        assert isinstance(order, Order)
        assert order.shares is not None
        self.chosen = order.examples
        self.chosen_times = LazyColumn(lambda rows: self.examples.times[self.chosen[rows]])
        users = self.examples.users[self.chosen]
        begins = np.flatnonzero(np.diff(users, prepend=-1))
        self.edges = np.append(begins, len(users))
        # The shares of each user sum to 1: in a sum over all users, very old interactions would round to 0.
        totals = np.add.reduceat(order.shares, begins)
        user_shares = order.shares / np.repeat(totals, np.diff(self.edges))
        self.cumulative_shares = np.concatenate([[0.0], np.cumsum(user_shares)])
        self.example_weights: NDArray[np.float32] | None = None
        """The weight of each example in the data, 1 on average."""
        if interactions.weights is not None:
            example_weights = np.asarray(interactions.weights)[self.chosen]
            self.example_weights = example_weights / example_weights.mean()
        # A warm start replays a share of old interactions, so users without new ones have fewer requests.
        weights = settings["weights"].astype(np.float64)
        replayed = totals / np.bincount(interactions.user_rows(), weights)[users[begins]]
        self.request_rates = replayed / replayed.max()

    @property
    def empty_history_remedy(self) -> str:
        """See `TrainBatches`; most request times are before the first interaction of a short session."""
        if not self.horizon:
            return super().empty_history_remedy
        days = self.horizon // SECONDS_A_DAY
        return (
            f"requests are drawn up to objective.horizon_days={days} before an interaction, mostly before a "
            "user's first one; use experiment=sessions with your split, or objective=next_item"
        )

    def share_without_history(self) -> float:
        """Return the expected share of requests with an empty history.

        Those are not later than the user's first interaction.
        """
        times, horizon = self.examples.times, max(1, self.horizon)
        ages = times[self.chosen] - times[self.offsets[self.examples.users[self.chosen]]]
        shares = np.diff(self.cumulative_shares) * (horizon - np.minimum(ages, horizon)) / horizon
        by_user = np.add.reduceat(shares, self.edges[:-1])
        return float(np.average(by_user, weights=self.request_rates))

    def epoch_batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, from the position `first`."""
        rng = np.random.default_rng([self.order.seed, epoch])
        users = self._draw_users(rng)
        begins, ends = self.edges[users], self.edges[users + 1]
        low, high = self.cumulative_shares[begins], self.cumulative_shares[ends]
        points = low + rng.random(len(users)) * (high - low)
        drawn = np.searchsorted(self.cumulative_shares, points, side="right") - 1
        interaction_times = self.chosen_times[np.clip(drawn, begins, ends - 1)]
        request_times = interaction_times - rng.integers(0, max(1, self.horizon), len(users))
        for position in range(first, len(self)):
            part = np.arange(position * self.batch_size, min(len(users), (position + 1) * self.batch_size))
            own, number = self.share(len(part)), epoch * len(self) + position
            part = part[own.rows]
            yield self._gather_requests(begins[part], ends[part], request_times[part], number, own)

    def _draw_users(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the user of each request [R], as positions among the users with examples."""
        num_users, rounds, num_requests = len(self.request_rates), [], 0
        while num_requests < self.order.size:
            users = rng.permutation(num_users)
            # The margin is for rates of 1 that were rounded down.
            users = users[rng.random(num_users) < self.request_rates[users] + 1e-9]
            rounds.append(users)
            num_requests += len(users)
        return np.concatenate(rounds)[: self.order.size]

    def _gather_requests(
        self, begins: np.ndarray, ends: np.ndarray, request_times: np.ndarray, number: int, share: BatchShare
    ) -> Batch:
        """Gather the batch of some requests.

        Args:
            begins: [B] first position of the user among the chosen examples.
            ends: [B] position after the last.
            request_times: [B] unix seconds.
            share: of the requests of a batch.
        """
        firsts = first_since(self.chosen_times, request_times, begins, ends)
        horizon_ends = request_times + max(1, self.horizon)
        counts = first_since(self.chosen_times, horizon_ends, firsts, ends) - firsts
        positive_to_user, positions = expand_ranges(firsts, counts)
        positives, heads = self.chosen[positions], self.chosen[firsts]
        # The weight of a basket grows with the root of its length.
        weights = np.ones(len(positions)) if self.example_weights is None else self.example_weights[positions]
        weights = weights * (np.bincount(positive_to_user, weights, len(firsts)) ** -0.5)[positive_to_user]
        # Interactions that are no examples may lie between the request and the first example after it.
        own = self.offsets[self.examples.users[heads]]
        history_ends = first_since(self.examples.times, request_times, own, heads)
        batch = self._gather(heads, number, share, history_ends)
        return dataclasses.replace(
            batch,
            users=dataclasses.replace(batch.users, request_times=torch.from_numpy(request_times)),
            positives=torch.from_numpy(self.examples.items[positives].astype(np.int64)),
            weights=torch.from_numpy((share.weight * weights).astype(np.float32)),
            positive_to_user=torch.from_numpy(positive_to_user),
        )


def sums_nearby(values: np.ndarray, interactions: Interactions, width: int) -> NDArray[np.float64]:
    """Return, for each interaction j, the sum of max(0, 1 - |t_j - t_k| / width) values_k over its user, [n].

    Args:
        values: [n], at least 0.
        width: in seconds.
    """
    times, own = np.asarray(interactions.times), np.arange(len(values))
    users = interactions.user_rows()
    starts, ends = (np.asarray(interactions.offsets)[users + side] for side in (0, 1))
    first = first_since(times, times - width + 1, starts, own)
    last = first_since(times, times + width, own, ends)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    nearby: NDArray[np.float64] = sums[last] - sums[first]
    if width > 1:  # else all have equal times
        days = (times - times[starts]) / SECONDS_A_DAY
        moments = np.concatenate([[0.0], np.cumsum(values * days)])
        distances = days * (2 * sums[own] - sums[first] - sums[last])
        distances += moments[first] + moments[last] - 2 * moments[own]
        nearby -= distances * (SECONDS_A_DAY / width)
    np.maximum(nearby, values, out=nearby)  # sums are rounded
    return nearby


def half_life_days(interactions: Interactions, ahead_days: float) -> float:
    """Return a half-life for training examples, in days: a third of the half-life of popularity.

    `Mixture.half_life` computes it for the mixture that best predicts later interactions. It is short if
    demand changes fast, and infinite if demand does not change.

    Args:
        ahead_days: how far ahead the mixture predicts.
    """
    num_items = interactions.num_items or int(interactions.items.max(initial=1))
    counted, mixture = fit_mixture(interactions, num_items, ahead_days)
    days = SHARE * mixture.half_life(counted) * counted.interval_days
    LOG.debug("objective.recency_half_life_days=%.3g, from the half-life of popularity", days)
    return days
