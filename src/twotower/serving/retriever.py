"""The reader of a bundle: recommends, and takes items and events in while it does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.serving.batch import Answering
from twotower.serving.best_items import Best, most_alike
from twotower.serving.catalogue import Catalogue
from twotower.serving.live_changes import LiveChanges
from twotower.serving.recommendation import ItemId, Recommendation, UserId
from twotower.serving.requests import NOTHING, Request, UnknownUser, known_rows
from twotower.serving.towers import towers_of
from twotower.serving.user_histories import UserHistories

NUM_SUM_DIGITS = 12


class Rules(TypedDict, total=False):
    """What a request says of the items; see `Request`."""

    allow: Iterable[ItemId] | None
    deny: Iterable[ItemId]
    where: Mapping[str, Any]
    exclude_seen: bool
    request_time: int | None


class Retriever(LiveChanges):
    """Answers from a bundle; safe from several threads.

    What requests take is described at `Request`. Whatever is left out, k items come back where k are left.
    Items and events that came in live in this object, not in the bundle.

    Args:
        bundle: as read.

    Attributes:
        bundle: as given.
        version: name of the bundle's run and the first of its manifest's own checksum.
        catalogue: the items; whoever reads several things of one state holds its lock.
        users: what they have; read under the same lock.
    """

    def __init__(self, bundle: Bundle) -> None:
        folder = bundle.folder.resolve()
        run = folder.parent if folder.name in ("bundle", "exported") else folder
        self.version = f"{run.name}-{bundle.manifest.sha256[:NUM_SUM_DIGITS]}"
        towers = towers_of(bundle)
        catalogue = Catalogue(bundle, towers)
        by_table = bundle.model.history.config.items == "table"
        users = UserHistories(bundle.users, bundle.history, catalogue.items, by_table)
        super().__init__(catalogue, users)
        self.bundle, self.catalogue, self.users = bundle, catalogue, users
        self._towers = towers
        self._answering = Answering(bundle, towers, catalogue, users)

    @classmethod
    def open(cls, folder: Path | str, trusted_packages: Collection[str] = ()) -> "Retriever":
        """Verify and read a bundle.

        Args:
            folder: of the bundle.
            trusted_packages: beside twotower, packages whose classes its files may name; their code is then
                run.

        Raises:
            InputError: names the file that is damaged, missing or not listed.
        """
        try:
            return cls(read_bundle(Path(folder), trusted_packages))
        except InputError:
            raise
        except Exception as error:  # what is in the files agrees, and cannot be served all the same
            raise InputError(
                f"{folder}: cannot be served ({type(error).__name__}: {error!s:.300})"
            ) from error

    @property
    def num_items(self) -> int:
        """Items that are offered."""
        return self._items.num_live

    @property
    def num_left_behind(self) -> int:
        """Rows of items put in since that this object keeps though they are offered no more."""
        return self._items.num_left_behind

    @property
    def item_ids(self) -> list[ItemId]:
        """Ids of the items that are offered."""
        with self._lock.reading():
            return self._items.ids_of(self._items.live_rows())

    @property
    def user_ids(self) -> list[UserId]:
        """Ids of the users the bundle knows, then of those whom only events know."""
        with self._lock.reading():
            return self._users.ids

    @property
    def attributes(self) -> dict[str, str]:
        """The columns that `where` may name, and what they hold: `text`, `number` or `tags`."""
        with self._lock.reading():
            return self._catalogue.attributes.kinds

    def label(self, item_id: ItemId) -> str | None:
        """Return the name of an item for people, of a removed one too; None where the data have none.

        Raises:
            UnknownItem: there never was such an item.
        """
        with self._lock.reading():
            return self._items.label_of(int(known_rows(self._items, [item_id], "label", live=False)[0]))

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return what is known of an item, of a removed one too, as plain values.

        Returns:
            Its `item_id` and `label`; `offered`, whether it is recommended; `live`, whether it came in or was
            changed since the bundle was made; its raw columns, `features`, None where one is missing.

        Raises:
            UnknownItem: there never was such an item.
        """
        with self._lock.reading():
            return self._catalogue.described(item_id)

    def history(self, user_id: UserId) -> list[ItemId]:
        """Return what a known user already has, oldest first, events included.

        Raises:
            UnknownUser: the user is not known.
        """
        with self._lock.reading():
            return self._items.ids_of(self._users.all(self._users.find(user_id))[1])

    def recommend(self, user_id: UserId, k: int = 10, **rules: Unpack[Rules]) -> list[Recommendation]:
        """Recommend to a user whom the bundle or an event knows; for the arguments see `Request`.

        Raises:
            InputError: an argument is wrong or names an item, column or user that is not known.
        """
        if user_id is None:  # which would mean a user who is described
            raise UnknownUser("user None: expected the id of a user; use recommend_new for one without")
        return self.answer_one(Request(user_id, k=k, **rules))

    def recommend_new(
        self,
        features: Mapping[str, Any] = NOTHING,
        history: Sequence[ItemId] = (),
        k: int = 10,
        history_times: Sequence[int] | None = None,
        **rules: Unpack[Rules],
    ) -> list[Recommendation]:
        """Recommend to a user who is described; for the arguments see `Request`.

        Raises:
            InputError: an argument is wrong, or names a feature, column or item that is not known.
        """
        return self.answer_one(Request(None, features, history, history_times, k=k, **rules))

    def answer(self, requests: Sequence[Request]) -> list[list[Recommendation] | InputError]:
        """Answer several requests of one state of the catalogue; a wrong one does not harm the others.

        Towers and index see all requests at once, so scores can differ from those of single requests in the
        last digits (up to about 1e-6 of their size), and with them the order of items that are so close.

        Returns:
            In the order of the requests what each is answered with, or what is wrong with it.
        """
        with self._lock.reading():
            return [
                best if isinstance(best, InputError) else self._listed(best)
                for best in self._answering.best(requests)
            ]

    def similar(
        self, item_id: ItemId, k: int = 10, where: Mapping[str, Any] = NOTHING
    ) -> list[Recommendation]:
        """Return the items whose embeddings point the same way as an item's (cosine), without itself.

        Raises:
            InputError: the item is not offered, or a condition is wrong.
        """
        with self._lock.reading():
            rows = known_rows(self._items, [item_id], "similar", live=True)
            choice = self._answering.choice(k, None, [item_id], where)
            query = self.bundle.model.layout.item_queries(self._items.vectors(rows))[0]
            return self._listed(most_alike(self._items, int(rows[0]), query, choice))

    def answer_one(self, request: Request) -> list[Recommendation]:
        """Answer one request.

        Raises:
            InputError: what is wrong with it.
        """
        (found,) = self.answer([request])
        if isinstance(found, InputError):
            raise found
        return found

    def _listed(self, best: Best) -> list[Recommendation]:
        rows, scores = best
        labels = map(self._items.label_of, rows.tolist())
        return list(map(Recommendation, self._items.ids_of(rows), scores.tolist(), labels))
