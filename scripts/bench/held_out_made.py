"""Made-up logs of shops and sites with a known structure, for `carry_over.py`: no recipe was chosen on them.

Shapes: U users, N items, B users of a chunk.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.tables import Tables

FIRST_TIME = 1_577_836_800  # 2020-01-01
MONTHS, MONTH_SECONDS = 12, 30 * 86_400
CHUNK = 128
FACTORS = 16
CATEGORIES = 30
LENGTH_SPREAD = 0.8  # of the logarithm of the lengths of histories
SITE_DAYS, ALIKE, FOLLOWING, MORE_CLICKS = 12, 30, 6, 0.72
GROUPS, SUBJECTS = 12, 20


@dataclass(frozen=True)
class Shop:
    """Twelve months of a shop.

    Attributes:
        num_users: U.
        num_items: N.
        length: the mean interactions of a user, at least 2 each.
        taste: standard deviation of what users' tastes add to the logarithm of an item's popularity.
        exponent: of the power law of popularity.
        life_days: half-life of an item's popularity after the day that it comes in; 0 = it is there always.
        habit: what having taken an item adds to that logarithm; 0 = nobody takes an item twice.
        has_features: whether items and users have columns beside their id.
        seed: of everything.
    """

    num_users: int
    num_items: int
    length: float
    taste: float
    exponent: float = 1.0
    life_days: float = 0.0
    habit: float = 0.0
    has_features: bool = True
    seed: int = 7

    def tables(self) -> Tables:
        """Draw the log: each month a user takes the best items by popularity + taste + Gumbel noise."""
        rng = np.random.default_rng(self.seed)
        people, goods = (rng.normal(size=(count, FACTORS)) for count in (self.num_users, self.num_items))
        goods *= self.taste / np.sqrt(FACTORS)
        takes = self._takes(rng)
        popularity = self._popularity(rng)
        parts = [
            self._log(rows, people[rows] @ goods.T, takes[rows], popularity, rng)
            for rows in np.array_split(np.arange(self.num_users), -(-self.num_users // CHUNK))
        ]
        log = pd.concat(parts, ignore_index=True).sort_values("timestamp", kind="stable")
        log = log.reset_index(drop=True)
        if not self.has_features:
            return Tables(log)
        centres = rng.normal(size=(CATEGORIES, FACTORS))
        category = (goods @ centres.T).argmax(axis=1)
        price = np.round(np.exp(rng.normal(size=CATEGORIES)[category] + rng.normal(0, 0.3, len(goods))), 2)
        items = pd.DataFrame({"item_id": np.arange(1, len(goods) + 1), "category": category, "price": price})
        items["category"] = "category " + items["category"].astype("str")
        segment = pd.Series((people @ centres.T).argmax(axis=1)).map("segment {}".format)
        users = pd.DataFrame({"user_id": np.arange(1, len(people) + 1), "segment": segment})
        return Tables(log, users[users.user_id.isin(log.user_id)], items[items.item_id.isin(log.item_id)])

    def _takes(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return how many items each user takes in each month [U, MONTHS], from the month they come in."""
        lengths = 2 + rng.lognormal(sigma=LENGTH_SPREAD, size=self.num_users) * max(
            self.length - 2, 0
        ) / np.exp(LENGTH_SPREAD**2 / 2)
        lengths = np.minimum(np.round(lengths), self.num_items // 4).astype(np.int64)
        active = np.arange(MONTHS) >= rng.integers(0, MONTHS, self.num_users)[:, None] - MONTHS // 3
        return rng.multinomial(lengths, active / active.sum(axis=1, keepdims=True))

    def _popularity(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the logarithm of the popularity of each item in each month [MONTHS, N]."""
        base = -self.exponent * np.log(1.0 + rng.permutation(self.num_items))
        if not self.life_days:
            return np.tile(base, (MONTHS, 1))
        days = 30 * np.arange(MONTHS)[:, None] - rng.uniform(-180, 30 * MONTHS, self.num_items)
        fallen = np.where(days >= 0, -np.log(2) * days / self.life_days, -np.inf)
        found: NDArray[np.float64] = base + np.maximum(fallen, np.where(days >= 0, -6.0, -np.inf))
        return found

    def _log(
        self,
        users: NDArray[np.int64],
        tastes: NDArray[np.float64],
        takes: NDArray[np.int64],
        popularity: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> pd.DataFrame:
        """Return the interactions of some users [B], with their tastes [B, N] and takes [B, MONTHS]."""
        taken = np.zeros(tastes.shape, dtype=np.bool_)
        found = []
        for month in range(MONTHS):
            active = np.flatnonzero(takes[:, month])
            if not len(active):
                continue
            noise = rng.gumbel(size=(len(active), self.num_items))
            scores = popularity[month] + tastes[active] + noise
            scores += np.where(taken[active], self.habit or -np.inf, 0.0)
            most = int(takes[active, month].max())
            best = np.argpartition(-scores, most - 1, axis=1)[:, :most]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            best = np.take_along_axis(best, order, axis=1)
            chosen = np.arange(most) < takes[active, month][:, None]
            chosen &= np.isfinite(np.take_along_axis(scores, best, axis=1))
            owners, items = np.repeat(active, chosen.sum(axis=1)), best[chosen]
            taken[owners, items] = True
            days = rng.integers(0, 4, len(active))[:, None] * 7 + rng.integers(0, 2, chosen.shape) * 2
            seconds = days[chosen] * 86_400 + rng.integers(0, 43_200, len(items))
            times = FIRST_TIME + month * MONTH_SECONDS + seconds
            found.append(
                pd.DataFrame({"user_id": users[owners] + 1, "item_id": items + 1, "timestamp": times})
            )
        return pd.concat(found, ignore_index=True)


SHOPS = {
    "made_long": Shop(3_000, 18_000, length=150, taste=1.2),  # few users, long histories, a large catalogue
    "made_pairs": Shop(40_000, 5_000, length=2.5, taste=2.0),  # many users with two items or three
    "made_trend": Shop(6_000, 6_000, length=30, taste=1.2, life_days=25),  # what sells is new
    "made_plain": Shop(5_000, 3_000, length=25, taste=2.0, exponent=0.7, has_features=False),  # a log alone
    "made_habits": Shop(4_000, 3_000, length=60, taste=1.5, habit=2.0),  # the same again: repeats are kept
}


@dataclass(frozen=True)
class Site:
    """Twelve days of anonymous visits of some minutes, in which an item leads to others.

    Attributes:
        num_visits: U.
        num_items: N.
        alike: increase of the log popularity of items of the previous item's category.
        follows: the same for the six successors of the previous item.
        life_days: half-life of an item's popularity after its release; 0: constant.
        seed: of everything.
    """

    num_visits: int
    num_items: int
    alike: float
    follows: float
    life_days: float = 0.0
    seed: int = 7

    def tables(self) -> Tables:
        """Draw the log: each click takes the best item by popularity + likeness + Gumbel noise."""
        rng = np.random.default_rng(self.seed)
        category = rng.integers(0, self.num_items // ALIKE, self.num_items)
        following = rng.integers(0, self.num_items, (self.num_items, FOLLOWING))
        base = rng.normal(0, 1.3, self.num_items)
        begins = rng.uniform(-1, SITE_DAYS, self.num_items) if self.life_days else np.zeros(self.num_items)
        days = np.sort(rng.uniform(0, SITE_DAYS, self.num_visits))
        frames = []
        for visits in np.array_split(np.arange(self.num_visits), -(-self.num_visits // CHUNK)):
            ages = days[visits, None] - begins
            scores = base - (np.log(2) * ages / self.life_days if self.life_days else 0.0)
            scores = np.where(ages >= 0, scores, -np.inf)
            clicks = 1 + rng.geometric(1 - MORE_CLICKS, len(visits))
            items = self._take(scores, rng)
            for place in range(int(clicks.max())):
                seconds = FIRST_TIME + (days[visits] * 86_400).astype(np.int64) + 40 * place
                frames.append(
                    pd.DataFrame({"user_id": visits + 1, "item_id": items + 1, "timestamp": seconds})
                )
                stays = clicks > place + 1
                visits, items, clicks, scores = visits[stays], items[stays], clicks[stays], scores[stays]
                if not len(visits):
                    break
                np.put_along_axis(scores, items[:, None], -np.inf, axis=1)
                leads = scores + self.alike * (category == category[items][:, None])
                rows = np.arange(len(visits))[:, None]
                leads[rows, following[items]] += self.follows
                items = self._take(leads, rng)
        log = pd.concat(frames, ignore_index=True).sort_values("timestamp", kind="stable", ignore_index=True)
        table = pd.DataFrame({"item_id": np.arange(1, self.num_items + 1), "category": category})
        table["category"] = "category " + table["category"].astype("str")
        return Tables(log, items=table[table.item_id.isin(log.item_id)])

    def _take(self, scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the best item of each visit, [B, N] -> [B], after Gumbel noise."""
        best: NDArray[np.int64] = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
        return best


SITES = {
    "made_visits": Site(40_000, 4_000, alike=4.0, follows=6.5),  # an item leads to others
    "made_news_visits": Site(60_000, 6_000, alike=4.0, follows=4.0, life_days=0.5),  # items live for hours
}


@dataclass(frozen=True)
class NewsSite:
    """Days of a news site with returning readers, whose articles live for hours.

    Attributes:
        num_users: U.
        num_items: N, released evenly over the days.
        clicks: mean clicks of a user.
        taste: standard deviation of what the taste of a group of readers adds to the log popularity of an
            article of a subject.
        days: length of the log.
        life_hours: half-life of an article's popularity.
        seed: of everything.
    """

    num_users: int
    num_items: int
    clicks: float
    taste: float
    days: int = 4
    life_hours: float = 4.0
    seed: int = 7

    def draw(self) -> tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Draw the log; also return groups [U], releases in hours [N], and the constant log odds [groups, N].

        Each click takes the best article by log odds - age + Gumbel noise, of those of the last three days
        that the reader has not read.
        """
        rng = np.random.default_rng(self.seed)
        group, subject = rng.integers(0, GROUPS, self.num_users), rng.integers(0, SUBJECTS, self.num_items)
        liking = rng.normal(0, self.taste, (GROUPS, SUBJECTS))
        releases = np.sort(rng.uniform(-24, 24 * self.days, self.num_items))
        odds = rng.normal(0, 1.3, self.num_items) + liking[:, subject]
        activity = rng.lognormal(sigma=LENGTH_SPREAD, size=self.num_users)
        number = int(self.clicks * self.num_users)
        rhythm = 1 + 0.8 * np.sin(2 * np.pi * (np.arange(24) - 9) / 24)
        hours = rng.choice(24, number, p=rhythm / rhythm.sum()) + 24 * rng.integers(0, self.days, number)
        times = np.sort(hours + rng.random(number))
        users = rng.choice(self.num_users, number, p=activity / activity.sum())
        read: dict[int, list[int]] = {}
        items = np.zeros(number, dtype=np.int64)
        for part in np.array_split(np.arange(number), -(-number // CHUNK)):
            first, last = np.searchsorted(releases, (times[part[0]] - 72, times[part[-1]]))
            ages = times[part, None] - releases[first:last]
            scores = odds[group[users[part]], first:last] - np.log(2) * ages / self.life_hours
            scores = np.where(ages >= 0, scores, -np.inf) + rng.gumbel(size=scores.shape)
            for row, user in enumerate(users[part]):
                before = read.setdefault(user, [])
                scores[row, [item - first for item in before if item >= first]] = -np.inf
                items[part[row]] = first + scores[row].argmax()
                before.append(int(items[part[row]]))
        seconds = FIRST_TIME + (times * 3_600).astype(np.int64)
        log = pd.DataFrame({"user_id": users + 1, "item_id": items + 1, "timestamp": seconds})
        return log, group, releases, odds

    def tables(self) -> Tables:
        """Draw the log, without features."""
        return Tables(self.draw()[0])


NEWS = {
    "made_news_taste": NewsSite(20_000, 2_500, clicks=9, taste=1.0),
    "made_news_plain": NewsSite(20_000, 2_500, clicks=9, taste=0.0),
}
