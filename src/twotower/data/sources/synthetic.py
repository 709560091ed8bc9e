"""Synthetic data from a topic model that two towers can learn: planted preferences and power-law popularity.

Shapes: U users, N items, T topics.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Le

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.memory import memory_problem
from twotower.config.spec import Fraction, NonNegativeFloat, PositiveInt, Seed
from twotower.data.sources.source import Source
from twotower.data.tables import Tables
from twotower.data.times import YEAR

FIRST_TIME = 1_577_836_800  # 2020-01-01; interactions are of a year
FEATURE_NOISE = 0.05  # standard deviation of the noise of `vector` and `profile`
MAX_DENSITY = 0.5
ENTRIES_PER_ROW = 20  # memory of a user or item in addition to its weights, in numbers
PLANTED_ROUNDS = 10
WORDS_PER_TOPIC = 8
WORDS_PER_TITLE = 3
PROFILE_DIM = 5
CONCENTRATION = 0.15  # of the Dirichlet topic weights of users and items; small = clear preferences


class Synthetic(Source):
    """A topic model: a user draws a topic by the user's weights, then an item of that topic by popularity.

    With `labels: clicks`, interactions are impressions of items drawn by popularity, and `label` is 1 for a
    click. Users then have a `profile`, five numbers that depend on their topics, with noise.

    No (user, item) pair occurs twice. Item features depend on the topics: `category` (the largest), `tags`
    (the three largest), `title` (words of the topics), `price` (noise around the category) and `vector`
    (noisy weights); `segment` is the user's largest topic.
    """

    class Config(Source.Config):
        num_users: PositiveInt = 2_000
        """Number of users, U."""
        num_items: PositiveInt = 1_000
        """Number of items, N; all are in the catalogue."""
        num_interactions: PositiveInt = 60_000
        """Number of distinct (user, item) pairs, at most half of U x N."""
        latent_dim: Annotated[PositiveInt, Le(1000)] = 16
        """Number of topics, T."""
        preference: Fraction = 0.9
        """Share of the interactions that follow the user's topics; other interactions follow popularity."""
        popularity_exponent: NonNegativeFloat = 0.8
        """Exponent of the power law of popularity; 0: all items are equally popular."""
        labels: Literal["none", "clicks"] = "none"
        """`clicks`: impressions with a `label`, 1 if the user's preference for the item, with noise, is above
        the median of all impressions. `preference` is then the share of these labels; the others are fair
        coins."""
        label_noise: NonNegativeFloat = 0.25
        """Standard deviation of the noise of preferences, relative to their own."""
        seed: Seed = 0
        """Seed of all draws."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the noise of labels if there are no labels."""
            if "label_noise" in self.model_fields_set and self.labels == "none":
                yield "label_noise", "only data.labels=clicks has labels"

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Report data beyond the memory, and too many interactions."""
            entries = (self.num_users + self.num_items) * (self.latent_dim + ENTRIES_PER_ROW)
            num_bytes = 8 * (entries + 20 * self.num_interactions)
            if problem := memory_problem(f"{self.num_users:,} users and {self.num_items:,} items", num_bytes):
                return [
                    ("num_users", f"{problem}; lower num_users, num_items, num_interactions or latent_dim")
                ]
            largest = int(MAX_DENSITY * self.num_users * self.num_items)
            message = f"at most half of all pairs, {largest:,}, got {self.num_interactions:,}"
            return [("num_interactions", message)] if self.num_interactions > largest else []

        def gives_negatives(self) -> bool | None:
            """Return whether there are impressions without a click."""
            return self.labels == "clicks" or super().gives_negatives()

        def catalogue_size(self) -> int:
            """Return the number of items."""
            return self.num_items

        def columns(self) -> dict[str, set[str]]:
            """Return the columns of the two tables."""
            profile = {"profile"} if self.labels == "clicks" else set()
            return {
                "users": {"user_id", "segment"} | profile,
                "items": {"item_id", "title", "category", "tags", "price", "vector"},
            }

    config: Config

    def load(self) -> Tables:
        """Draw the tables from the seed."""
        rng = np.random.default_rng(self.config.seed)
        popularity = (1.0 + rng.permutation(self.config.num_items)) ** -self.config.popularity_exponent
        concentration = np.full(self.config.latent_dim, CONCENTRATION)
        user_topics = rng.dirichlet(concentration, self.config.num_users)  # [U, T]
        item_topics = rng.dirichlet(concentration, self.config.num_items)  # [N, T]
        users, items = self._pairs(user_topics, item_topics, popularity / popularity.sum(), rng)
        times = np.sort(rng.integers(0, YEAR, len(users))) + FIRST_TIME
        segments = [f"segment {topic}" for topic in user_topics.argmax(axis=1)]
        interactions = pd.DataFrame({"user_id": users + 1, "item_id": items + 1, "timestamp": times})
        user_table = pd.DataFrame({"user_id": np.arange(1, len(user_topics) + 1), "segment": segments})
        if self.config.labels == "clicks":
            label_rng = np.random.default_rng([self.config.seed, 1])  # other draws are as without labels
            directions = label_rng.normal(size=(self.config.latent_dim, PROFILE_DIM))  # of the topics
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            profiles = user_topics @ directions
            preferences = (profiles[users] * (item_topics @ directions)[items]).sum(1)
            interactions["label"] = self._labels(preferences, label_rng)
            noise = label_rng.normal(scale=FEATURE_NOISE, size=profiles.shape)
            user_table["profile"] = list((profiles + noise).astype(np.float32))
        return Tables(
            interactions=interactions,
            users=user_table,
            items=self._item_table(item_topics, rng),
            source_paths={name: f"synthetic {name}" for name in ("interactions", "users", "items")},
            item_label="title",
        )

    def _pairs(
        self,
        user_topics: np.ndarray,
        item_topics: np.ndarray,
        popularity: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return distinct pairs in random order; uniform draws complete them if planted draws repeat."""
        config = self.config
        activity = np.cumsum(rng.lognormal(sigma=0.7, size=config.num_users))
        masses = np.column_stack([item_topics * popularity[:, None], popularity])  # [N, T + 1]
        keys = np.zeros(0, dtype=np.int64)
        for round_number in range(1_000):
            missing = config.num_interactions - len(keys)
            if missing <= 0:
                break
            count = round(1.3 * missing) + 16
            if round_number < PLANTED_ROUNDS:
                users = np.searchsorted(activity, rng.random(count) * activity[-1], side="right")
                items = self._draw_items(_draw_topics(user_topics, users, rng), masses, rng)
            else:
                users = rng.integers(config.num_users, size=count)
                items = rng.integers(config.num_items, size=count)
            keys = np.union1d(keys, users * config.num_items + items)
        chosen = rng.permutation(keys)[: config.num_interactions]
        return chosen // config.num_items, chosen % config.num_items

    def _draw_items(self, topics: np.ndarray, masses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw an item for each topic [n], by the masses of that topic or of popularity, the last column."""
        preference = self.config.preference if self.config.labels == "none" else 0.0
        topics[rng.random(len(topics)) >= preference] = self.config.latent_dim
        items = np.empty(len(topics), dtype=np.int64)
        for topic in range(self.config.latent_dim + 1):
            drawn = np.flatnonzero(topics == topic)
            cumulative = np.cumsum(masses[:, topic])
            chosen = np.searchsorted(cumulative, rng.random(len(drawn)) * cumulative[-1], side="right")
            items[drawn] = np.minimum(chosen, self.config.num_items - 1)
        return items

    def _labels(self, preferences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the label of each impression, int64 [n]."""
        noise = self.config.label_noise * preferences.std() * rng.normal(size=len(preferences))
        noisy = preferences + noise
        planted, coin = noisy > np.median(noisy), rng.random(len(noisy)) < 0.5
        is_planted = rng.random(len(noisy)) < self.config.preference
        return np.where(is_planted, planted, coin).astype(np.int64)

    def _item_table(self, item_topics: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        config = self.config
        order = np.argsort(-item_topics, axis=1)[:, :3]
        category = order[:, 0]
        word_topics = np.column_stack(
            [_draw_topics(item_topics, np.arange(config.num_items), rng) for _ in range(WORDS_PER_TITLE)]
        )
        numbers = rng.integers(WORDS_PER_TOPIC, size=word_topics.shape)
        words = _words(config.latent_dim)[word_topics, numbers]
        noise = rng.normal(scale=FEATURE_NOISE, size=item_topics.shape)
        category_price = rng.normal(size=config.latent_dim)
        price = np.exp(category_price[category] + 0.3 * rng.normal(size=config.num_items) + 2)
        return pd.DataFrame(
            {
                "item_id": np.arange(1, config.num_items + 1),
                "title": [f"{' '.join(row)} {number}".capitalize() for number, row in enumerate(words, 1)],
                "category": [f"category {topic}" for topic in category],
                "tags": [[f"topic {topic}" for topic in row] for row in order],
                "price": np.round(price, 2),
                "vector": list((item_topics + noise).astype(np.float32)),
            }
        )


def _draw_topics(weights: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a topic for each of `rows` by the weights [., T] of that row."""
    cumulative = np.cumsum(weights, axis=1)
    draws = rng.random(len(rows))
    topics = np.zeros(len(rows), dtype=np.int64)
    for topic in range(weights.shape[1] - 1):
        topics += draws > cumulative[rows, topic]
    return topics


def _words(num_topics: int) -> np.ndarray:
    """Return the distinct words of each topic, [T, WORDS_PER_TOPIC]."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    numbers = np.arange(num_topics * WORDS_PER_TOPIC)
    words = []
    for number in numbers:
        text = syllables[number % len(syllables)]
        while number >= len(syllables):
            number //= len(syllables)
            text += syllables[(number * 7) % len(syllables)]
        words.append(text + "na")
    return np.array(words).reshape(num_topics, WORDS_PER_TOPIC)
