"""What becomes of trained towers, told in a few steps: whom they serve, and what they make of a new item."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from twotower.config.component import Component
from twotower.config.problems import nearest
from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.data.tables import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from twotower.serving.live_items import Recommendation
    from twotower.serving.retriever import Retriever

MOST_USERS = 200


@dataclass(frozen=True)
class Step:
    """One thing that was tried: its name, what people are told of it, and what programs are."""

    name: str
    lines: Sequence[str]
    fields: Mapping[str, Any] = field(default_factory=dict)


class Walkthrough(Component):
    """How the epochs went, the index, one user's best items, a new item and its place.

    All of it but the epochs is asked of the bundle that the run has just written, as a service would.
    """

    class Config(Component.Config):
        """Whom to serve, and what to put in."""

        curves: list[str] = Field(default_factory=lambda: ["train/epoch_loss"])
        """Of the training, to be shown by epoch."""
        user_id: int | str | None = None
        """Of the user who asks; null for the first."""
        features: dict[str, Any] = Field(default_factory=dict)
        """Column of the user table -> its value in this moment, before what is stored."""
        k: PositiveInt = 5
        """How many items the user is told."""
        new_item: dict[str, Any] = Field(default_factory=dict)
        """Column of the item table -> its value, of an item that nobody has seen; {} for no such item."""
        users_where: dict[str, int | str] = Field(default_factory=dict)
        """Column of the user table -> the value of those whom the new item should please."""
        blind_loss: PositiveFloat | None = None
        """The loss of who knows nothing, to compare with: ln 2 for click labels."""

        def build(self) -> "Walkthrough":
            """Build the walkthrough."""
            return self.make(Walkthrough)

        def problems(self, columns: Mapping[str, Set[str]] | None = None) -> Iterator[tuple[str, str]]:
            """Refuse columns that the data lacks."""
            asked = {"features": "users", "users_where": "users", "new_item": "items"}
            for name, table in asked.items() if columns is not None else ():
                known = (columns or {})[table] - {USER_ID, ITEM_ID}
                for column in getattr(self, name).keys() - known:
                    yield (
                        name,
                        f"the {table} of this data have no column {column!r}; {nearest(column, known)}",
                    )

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def steps(
        self, retriever: "Retriever", curves: Mapping[str, Sequence[float]], users: pd.DataFrame
    ) -> Iterator[Step]:
        """Yield the steps; the new item stays in the retriever.

        Args:
            retriever: of the bundle.
            curves: of the training, one value an epoch.
            users: their table, `user_id` among its columns.

        Raises:
            InputError: there is no such user, or a feature is not what the towers take.
        """
        yield self._curves(curves)
        number, factory = retriever.num_items, retriever.bundle.index.factory
        yield Step(
            "index", [f"an index of {number:,} items ({factory})"], {"items": number, "index": factory}
        )
        yield from self._user(retriever, users)
        if self.config.new_item:
            item = _unused_id(retriever)
            retriever.add_item(item, self.config.new_item)
            number, shown = retriever.num_items, _shown(self.config.new_item)
            line = f"a new item {item} ({shown}), embedded with the unknown id and put in: {number:,} items"
            yield Step(
                "new_item", [line], {"item_id": item, "features": self.config.new_item, "items": number}
            )
            yield self._places(retriever, item, users)

    def _curves(self, curves: Mapping[str, Sequence[float]]) -> Step:
        found = {key: list(curves[key]) for key in self.config.curves if key in curves}
        blind = self.config.blind_loss
        beside = "" if blind is None else f" (who knows nothing has a loss of {blind:.4f})"
        lines = [f"by epoch{beside}"]
        lines += [f"  {key:<18}" + " ".join(f"{value:.4f}" for value in found[key]) for key in found]
        return Step("curves", lines, {"curves": found, "blind_loss": blind})

    def _user(self, retriever: "Retriever", users: pd.DataFrame) -> Iterator[Step]:
        """Yield the best items of a user as stored, and, if anything is given, with that instead.

        Beside the items stand those of their columns that the new item has.
        """
        from twotower.serving.requests import Request

        given, user_id = self.config.features, self.config.user_id
        user_id = retriever.user_ids[0] if user_id is None else user_id
        asks = users[users[USER_ID] == user_id]
        who = _shown({column: asks[column].iloc[0] for column in self.config.users_where if len(asks)})
        who = f" ({who})" if who else ""
        for features in [{}, given] if given else [{}]:
            best = retriever.answer_one(Request(user_id, features, k=self.config.k))
            how = f"with {_shown(features)}" if features else "as stored"
            lines = [f"the top {self.config.k} of user {user_id}{who}, {how}"]
            lines += [
                f"{place:4d}  {found.item_id!s:>8}  {found.score:6.2f}  {self._beside(retriever, found)}"
                for place, found in enumerate(best, 1)
            ]
            told = {"user_id": user_id, "features": features}
            yield Step("user", lines, told | {"best": [vars(each) for each in best]})

    def _beside(self, retriever: "Retriever", found: "Recommendation") -> str:
        features = retriever.item(found.item_id)["features"]
        columns = {column: features.get(column) for column in self.config.new_item}
        return "  ".join(filter(None, [found.label, _shown(columns)]))

    def _places(self, retriever: "Retriever", item: int | str, users: pd.DataFrame) -> Step:
        """Look where the new item stands for those whom it should please, and for the others."""
        meant = np.ones(len(users), dtype=np.bool_)
        for column, value in self.config.users_where.items():
            meant &= (users[column] == value).to_numpy()
        places = _median_place(retriever, item, users[USER_ID][meant])
        others = _median_place(retriever, item, users[USER_ID][~meant])
        whom = _shown(self.config.users_where) or "all"
        total = retriever.num_items
        line = f"its place for users of {whom}: {places:,} of {total:,}, in the median"
        line += "" if others is None else f"; for others {others:,}"
        return Step("places", [line], {"median_place": places, "of_others": others, "items": total})


def _median_place(retriever: "Retriever", item: int | str, users: "pd.Series[Any]") -> int | None:
    """Return the median place of an item among all for the first of these users; None for nobody."""
    from twotower.serving.requests import Request

    asked = [
        Request(user, k=retriever.num_items, exclude_seen=False) for user in users.head(MOST_USERS).tolist()
    ]
    places = [
        1 + [each.item_id for each in best].index(item)
        for best in retriever.answer(asked)
        if isinstance(best, list)
    ]
    return int(np.median(places)) if places else None


def _unused_id(retriever: "Retriever") -> int | str:
    ids = retriever.item_ids
    numbers = [each for each in ids if isinstance(each, int)]
    if numbers:
        return max(numbers) + 1
    name = "new item"
    while name in ids:
        name += "*"
    return name


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(
        str(value) if str(value).startswith(name) else f"{name} {value}" for name, value in values.items()
    )
