"""Data made up by a model that two towers can learn: planted preferences and power-law popularity.

Shapes: U users, N items, T topics.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Le

from twotower.config.memory import beyond_memory
from twotower.config.spec import Days, Fraction, NonNegativeFloat, PositiveInt, Seed
from twotower.data.sources.source import Source
from twotower.data.tables import Tables

FIRST_TIME = 1_577_836_800  # 2020-01-01
MAX_DENSITY = 0.5
ENTRIES_A_ROW = 20  # numbers that a user or item takes beside its weights: a row of a table, words and tags
PLANTED_ROUNDS = 10
WORDS_A_TOPIC = 8
WORDS_A_TITLE = 3
PROFILE_NUMBERS = 5
CONCENTRATION = 0.15  # of the Dirichlet weights of users and items over topics; small = clear tastes


@dataclass(frozen=True, eq=False)
class Planted:
    """The truth: topic weights of users [U, T] and of items [N, T], rows sum to 1; popularity [N], sum 1."""

    users: np.ndarray
    items: np.ndarray
    popularity: np.ndarray


class Synthetic(Source):
    """A topic model: a user draws one of the own topics, then an item of that topic by popularity.

    With `labels: clicks` interactions are impressions: items are shown by popularity, and `label` says
    whether the user clicked. Users then have a `profile`, five numbers that tell their topics, with noise.

    No (user, item) pair occurs twice. Item features tell the topics: `category` (the largest), `tags` (the
    three largest), `title` (words of the topics), `price` (noise about the category) and `vector` (noisy
    weights); `segment` is the user's largest topic.
    """

    class Config(Source.Config):
        """Settings of made-up data."""

        num_users: PositiveInt = 2_000
        """U."""
        num_items: PositiveInt = 1_000
        """N, all of them in the catalogue."""
        num_interactions: PositiveInt = 60_000
        """Distinct pairs, at most half of U x N."""
        latent_dim: Annotated[PositiveInt, Le(1000)] = 16
        """T."""
        preference: Fraction = 0.9
        """Share of the draws that follow the user's topics; the others follow popularity alone."""
        popularity_exponent: NonNegativeFloat = 0.8
        """Of the power law; 0 = all items alike."""
        feature_noise: NonNegativeFloat = 0.05
        """Standard deviation of what is added to the weights in `vector` and `profile`."""
        labels: Literal["none", "clicks"] = "none"
        """`clicks`: impressions with a `label`, 1 where the user's taste agrees with the item more than in
        half of the impressions, noise included; `preference` is then the share of labels that are so planted,
        and the others are fair coins."""
        label_noise: NonNegativeFloat = 0.25
        """Standard deviation of what is added to the agreement, in units of its own."""
        days: Days = 365.0
        """Length of the log, which starts on 2020-01-01."""
        seed: Seed = 0
        """Of everything."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the noise of labels where there are none; see `Config.unused`."""
            if "label_noise" in self.model_fields_set and self.labels == "none":
                yield "label_noise", "only data.labels=clicks has labels"

        def problems(self) -> list[tuple[str, str]]:
            """Tell whether there is memory for them, and whether there are enough pairs."""
            numbers_a_row = self.latent_dim + ENTRIES_A_ROW
            entries = (self.num_users + self.num_items) * numbers_a_row + 20 * self.num_interactions
            if said := beyond_memory(f"{self.num_users:,} users and {self.num_items:,} items", entries * 8):
                return [("num_users", f"{said}; lower num_users, num_items, num_interactions or latent_dim")]
            most = int(MAX_DENSITY * self.num_users * self.num_items)
            if self.num_interactions <= most:
                return []
            message = (
                f"at most half of all pairs, {self.num_users:,} x {self.num_items:,} / 2 = {most:,}, "
                f"got {self.num_interactions:,}"
            )
            return [("num_interactions", message)]

        def gives_negatives(self) -> bool | None:
            """Tell whether items are shown in vain."""
            return self.labels == "clicks" or super().gives_negatives()

        def catalogue_size(self) -> int:
            """Return N."""
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
        """Draw everything anew from the seed."""
        rng = np.random.default_rng(self.config.seed)
        planted = self._plant(rng)
        users, items = self._pairs(planted, rng)
        seconds = max(round(self.config.days * 86_400), 1)
        times = np.sort(rng.integers(0, seconds, len(users))) + FIRST_TIME
        segments = [f"segment {topic}" for topic in planted.users.argmax(axis=1)]
        log = pd.DataFrame({"user_id": users + 1, "item_id": items + 1, "timestamp": times})
        people = pd.DataFrame({"user_id": np.arange(1, len(planted.users) + 1), "segment": segments})
        if self.config.labels == "clicks":
            own = np.random.default_rng([self.config.seed, 1])  # so that the rest is as without labels
            tastes, kinds = self._tastes(planted, own)
            log["label"] = self._labels((tastes[users] * kinds[items]).sum(1), own)
            noise = own.normal(scale=self.config.feature_noise, size=tastes.shape)
            people["profile"] = list((tastes + noise).astype(np.float32))
        return Tables(
            interactions=log,
            users=people,
            items=self._item_table(planted, rng),
            source_paths={name: f"synthetic {name}" for name in ("interactions", "users", "items")},
            item_label="title",
        )

    def _plant(self, rng: np.random.Generator) -> Planted:
        popularity = (1.0 + rng.permutation(self.config.num_items)) ** -self.config.popularity_exponent
        concentration = np.full(self.config.latent_dim, CONCENTRATION)
        return Planted(
            users=rng.dirichlet(concentration, self.config.num_users),
            items=rng.dirichlet(concentration, self.config.num_items),
            popularity=popularity / popularity.sum(),
        )

    def _pairs(self, planted: Planted, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return distinct pairs in random order; saturated tastes are filled up with even draws."""
        config = self.config
        activity = np.cumsum(rng.lognormal(sigma=0.7, size=config.num_users))
        keys = np.zeros(0, dtype=np.int64)
        for round_number in range(1_000):
            lacking = config.num_interactions - len(keys)
            if lacking <= 0:
                break
            count = round(1.3 * lacking) + 16
            if round_number < PLANTED_ROUNDS:
                users = np.searchsorted(activity, rng.random(count) * activity[-1], side="right")
                items = self._draw_items(planted, users, rng)
            else:
                users = rng.integers(config.num_users, size=count)
                items = rng.integers(config.num_items, size=count)
            keys = np.union1d(keys, users * config.num_items + items)
        chosen = rng.permutation(keys)[: config.num_interactions]
        return chosen // config.num_items, chosen % config.num_items

    def _draw_items(self, planted: Planted, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        topics = _draw_topics(planted.users, users, rng)
        no_topic = self.config.latent_dim  # popularity alone
        preference = self.config.preference if self.config.labels == "none" else 0.0
        topics[rng.random(len(users)) >= preference] = no_topic
        masses = np.column_stack([planted.items * planted.popularity[:, None], planted.popularity])
        items = np.empty(len(users), dtype=np.int64)
        for topic in range(self.config.latent_dim + 1):
            drawn = np.flatnonzero(topics == topic)
            cumulative = np.cumsum(masses[:, topic])
            chosen = np.searchsorted(cumulative, rng.random(len(drawn)) * cumulative[-1], side="right")
            items[drawn] = np.minimum(chosen, self.config.num_items - 1)
        return items

    def _tastes(self, planted: Planted, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return users and items in as many dimensions as a profile has; topics are directions there."""
        directions = rng.normal(size=(self.config.latent_dim, PROFILE_NUMBERS))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return planted.users @ directions, planted.items @ directions

    def _labels(self, agreement: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return whether each impression was clicked, int64 [n]."""
        seen = agreement + self.config.label_noise * agreement.std() * rng.normal(size=len(agreement))
        planted, coin = seen > np.median(seen), rng.random(len(seen)) < 0.5
        is_planted = rng.random(len(seen)) < self.config.preference
        return np.where(is_planted, planted, coin).astype(np.int64)

    def _item_table(self, planted: Planted, rng: np.random.Generator) -> pd.DataFrame:
        config = self.config
        order = np.argsort(-planted.items, axis=1)[:, :3]
        category = order[:, 0]
        topic_of_word = np.column_stack(
            [_draw_topics(planted.items, np.arange(config.num_items), rng) for _ in range(WORDS_A_TITLE)]
        )
        word_of_topic = rng.integers(WORDS_A_TOPIC, size=topic_of_word.shape)
        words = _words(config.latent_dim)[topic_of_word, word_of_topic]
        noise = rng.normal(scale=config.feature_noise, size=planted.items.shape)
        price_of_category = rng.normal(size=config.latent_dim)
        price = np.exp(price_of_category[category] + 0.3 * rng.normal(size=config.num_items) + 2)
        return pd.DataFrame(
            {
                "item_id": np.arange(1, config.num_items + 1),
                "title": [f"{' '.join(row)} {number}".capitalize() for number, row in enumerate(words, 1)],
                "category": [f"category {topic}" for topic in category],
                "tags": [[f"topic {topic}" for topic in row] for row in order],
                "price": np.round(price, 2),
                "vector": list((planted.items + noise).astype(np.float32)),
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
    """Return the words of each topic, [T, WORDS_A_TOPIC], all different."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    numbers = np.arange(num_topics * WORDS_A_TOPIC)
    words = []
    for number in numbers:
        text = syllables[number % len(syllables)]
        while number >= len(syllables):
            number //= len(syllables)
            text += syllables[(number * 7) % len(syllables)]
        words.append(text + "na")
    return np.array(words).reshape(num_topics, WORDS_A_TOPIC)
