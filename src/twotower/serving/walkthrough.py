"""A short demonstration of trained towers: recommendations to a user, and the rank of a new item."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.data.tables import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from twotower.serving.retriever import Retriever

MAX_USERS, MAX_VALUES = 200, 20


@dataclass(frozen=True)
class Step:
    """One step: its name, lines of text, and values for `result.json`."""

    name: str
    lines: Sequence[str]
    fields: Mapping[str, Any]


class Walkthrough(Component):
    """Prints the training curves, the size of the index, the top items of a user, and the rank of a new item.

    All but the curves come from the bundle of the run.
    """

    class Config(Component.Config):
        curves: list[str] = Field(default_factory=lambda: ["train/epoch_loss"])
        """Metrics to print by epoch."""
        user_id: int | str | None = None
        """Id of the user; null selects the first user."""
        features: dict[str, Any] = Field(default_factory=dict)
        """Column of the user table -> value that replaces the stored one in a second request."""
        k: PositiveInt = 5
        """Number of items."""
        new_item: dict[str, Any] = Field(default_factory=dict)
        """Column of the item table -> value of a new item; {} skips the new item."""
        users_where: dict[str, int | str] = Field(default_factory=dict)
        """Column of the user table -> value of the users for whom the new item is meant."""
        random_loss: PositiveFloat | None = None
        """Loss of a random model, for comparison: ln 2 for click labels."""

        def build(self) -> "Walkthrough":
            """Build the walkthrough."""
            return self.make(Walkthrough)

        def problems(self, columns: Mapping[str, Set[str]] | None = None) -> Iterator[tuple[str, str]]:
            """Report columns that the data do not have."""
            if columns is None:
                return
            for name, table in {"features": "users", "users_where": "users", "new_item": "items"}.items():
                known = columns[table] - {USER_ID, ITEM_ID}
                for column in getattr(self, name).keys() - known:
                    problem = f"the {table} of this data have no column {column!r}"
                    yield name, f"{problem}; {nearest(column, known)}"

    config: Config

    def steps(
        self, retriever: "Retriever", curves: Mapping[str, Sequence[float]], users: pd.DataFrame
    ) -> Iterator[Step]:
        """Yield the steps. The new item remains in the retriever.

        Args:
            retriever: of the bundle.
            curves: metric -> value per epoch.
            users: the users table, with the column `user_id`.

        Raises:
            InputError: the user or a feature is unknown.
        """
        shown = {key: list(curves[key]) for key in self.config.curves if key in curves}
        random_loss = self.config.random_loss
        note = "" if random_loss is None else f" (a random model has a loss of {random_loss:.4f})"
        lines = [f"by epoch{note}"]
        lines += [f"  {key:<18}" + " ".join(f"{value:.4f}" for value in shown[key]) for key in shown]
        yield Step("curves", lines, {"curves": shown, "random_loss": random_loss})
        number, factory = retriever.num_items, retriever.bundle.index.factory
        line = f"an index of {number:,} items ({factory})"
        yield Step("index", [line], {"items": number, "index": factory})
        yield from self._user(retriever, users)
        if self.config.new_item:
            ids, features = retriever.item_ids, self.config.new_item
            numbers = [each for each in ids if isinstance(each, int)]
            item: int | str = max(numbers) + 1 if numbers else f"new item {len(ids)}"
            retriever.add_item(item, features)
            line = f"new item {item} ({_text(features)}), added with the embedding of the unknown id: "
            line += f"{retriever.num_items:,} items"
            fields = {"item_id": item, "features": features, "items": retriever.num_items}
            yield Step("new_item", [line], fields)
            yield self._ranks(retriever, item, users)

    def _user(self, retriever: "Retriever", users: pd.DataFrame) -> Iterator[Step]:
        """Yield the top items of a user with stored features, then with the features of the settings.

        Each item is shown with the columns that the new item has.
        """
        other, user_id = self.config.features, self.config.user_id
        user_id = retriever.user_ids[0] if user_id is None else user_id
        row = users[users[USER_ID] == user_id]
        stored = _text({column: row[column].iloc[0] for column in self.config.users_where if len(row)})
        user = f"user {user_id} ({stored})" if stored else f"user {user_id}"
        for features in [{}, other] if other else [{}]:
            best = retriever.recommend(user_id, self.config.k, features=features)
            lines = [f"the top {self.config.k} of {user} with {_text(features) or 'stored features'}"]
            for rank, each in enumerate(best, 1):
                known = retriever.item(each.item_id)["features"]
                columns = _text({column: known.get(column) for column in self.config.new_item})
                described = "  ".join(filter(None, [each.label, columns]))
                lines.append(f"{rank:4d}  {each.item_id!s:>8}  {each.score:6.2f}  {described}")
            values = {"user_id": user_id, "features": features, "best": [vars(each) for each in best]}
            yield Step("user", lines, values)

    def _ranks(self, retriever: "Retriever", item: int | str, users: pd.DataFrame) -> Step:
        """Return the median rank of the new item for the users of `users_where`, and for the others."""
        is_meant = np.ones(len(users), dtype=np.bool_)
        for column, value in self.config.users_where.items():
            is_meant &= (users[column] == value).to_numpy()
            if not is_meant.any():
                values = sorted(map(str, users[column].dropna().unique()))
                raise InputError(
                    f"walkthrough.users_where: no user has {_text(self.config.users_where)}; values of "
                    f"{column} are {', '.join(values[:MAX_VALUES])}"
                )
        rank = _median_rank(retriever, item, users[USER_ID][is_meant])
        others = _median_rank(retriever, item, users[USER_ID][~is_meant])
        group = f"users of {_text(self.config.users_where)}" if self.config.users_where else "all users"
        total = retriever.num_items
        line = f"median rank of the new item for {group}: {rank:,} of {total:,}"
        line += "" if others is None else f"; for other users {others:,}"
        return Step("ranks", [line], {"median_rank": rank, "others": others, "items": total})


def _median_rank(retriever: "Retriever", item: int | str, users: "pd.Series[Any]") -> int | None:
    """Return the median rank of an item among all items for the first of these users; None without users."""
    ranks = []
    for user in users.head(MAX_USERS).tolist():
        best = retriever.recommend(user, retriever.num_items, exclude_seen=False)
        ranks.append(1 + [each.item_id for each in best].index(item))
    return int(np.median(ranks)) if ranks else None


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(
        str(value) if str(value).startswith(name) else f"{name} {value}" for name, value in values.items()
    )
