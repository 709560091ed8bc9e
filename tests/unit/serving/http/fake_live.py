"""A service without a model: it knows what it was told, and answers by rule."""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.changes import Change, ItemPut, ItemRemoved
from twotower.serving.live.live_service import ReloadUnderWay
from twotower.serving.live_items import Recommendation
from twotower.serving.requests import Request, UnknownItem, UnknownUser


class FakeRetriever:
    """Users are 1 to 9; everybody gets the items 100, 99, ... with their ids as scores."""

    num_items = 3

    def __init__(self, version: str) -> None:
        self.version = version
        self.bundle = SimpleNamespace(
            items=SimpleNamespace(is_text=False),
            users=SimpleNamespace(is_text=False),
            folder=Path("/srv/bundles") / version / "bundle",
            manifest=SimpleNamespace(
                known_until=1_600_000_000,
                held_out_interactions=222,
                index=SimpleNamespace(report={"ok": True}),
            ),
        )
        self.batches: list[int] = []
        drift = SimpleNamespace(live_share=0.25, removed_share=0.125)
        self.catalogue = SimpleNamespace(drift=lambda: drift)

    @property
    def attributes(self) -> dict[str, str]:
        return {"price": "number"}

    def answer(self, requests: Sequence[Request]) -> list[list[Recommendation] | InputError]:
        self.batches.append(len(requests))
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> list[Recommendation] | InputError:
        if request.user_id == 666:
            raise RuntimeError("this one breaks the batch")
        if request.user_id is not None and request.user_id not in range(1, 10):
            return UnknownUser(f"user_id: nobody is {request.user_id!r}")
        if "colour" in request.where:
            return InputError("where: there is no column colour")
        return [
            Recommendation(100 - place, 100.0 - place, f"item {100 - place}") for place in range(request.k)
        ]

    def similar(self, item_id: Any, k: int, where: Any = None) -> list[Recommendation]:
        if item_id != 7:
            raise UnknownItem(
                f"item_id: item {item_id!r} is not in the catalogue; put it in first with put_item()"
            )
        return [Recommendation(8, 0.5, None)][:k]

    def item(self, item_id: Any) -> dict[str, Any]:
        if item_id != 7:
            raise UnknownItem(f"item_id: item {item_id!r} is not in the catalogue; put it in with put_item()")
        return {"item_id": 7, "label": None, "offered": True, "live": False, "features": {"price": 2.5}}


class FakeLive:
    num_quarantined = 0
    root = Path("/srv/bundles")

    def __init__(self) -> None:
        self.retriever = FakeRetriever("run-1")
        self.written: list[Change] = []
        self.reloading, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def write(self, change: Change) -> int:
        if isinstance(change, ItemPut) and change.item_id == 507:
            raise StoreFailed("/var/live/live.sqlite: nothing was stored (disk I/O error)")
        if isinstance(change, ItemRemoved) and change.item_id == 404:
            raise UnknownItem("item 404 is not in the catalogue")
        if isinstance(change, ItemPut) and "colour" in change.features:
            raise InputError("features: 'colour' is not a feature of this model")
        self.written.append(change)
        return 1

    def reload(self, name: str) -> str:
        if "/" in name:
            raise InputError(f"bundle: {name!r} is no folder of the root of bundles")
        if name == "damaged":
            raise InputError(f"{self.root}/damaged/manifest.json: does not exist beside {self.root}/run-1")
        if self.reloading.is_set():
            raise ReloadUnderWay("reload: another one is under way; ask again when it is done")
        self.reloading.set()
        assert self.go_on.wait(600)
        self.retriever = FakeRetriever(name)
        self.reloading.clear()
        return name

    def rebuild_if_needed(self) -> bool:
        return False

    def close(self) -> None:
        pass
