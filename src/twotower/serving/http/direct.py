"""Endpoints that are asked most, called without the framework between, which costs more than the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from twotower.config.errors import InputError
from twotower.serving.http.batcher import Batcher, Failed, results_or_raise
from twotower.serving.http.ids import with_ids_of
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

VersionedRequest = tuple[Retriever, Request]
"""A request and the version that answers it: all of one body are answered by one."""
Answer = orjson.Fragment | InputError
"""Items as JSON already, or a mistake."""


@dataclass(frozen=True, eq=False)
class Direct:
    """An endpoint: `check` turns a parsed body into requests, and `told` their answers into one."""

    live: LiveService
    batcher: Batcher[VersionedRequest, Answer]
    check: Callable[[object], list[Request]]
    told: Callable[[Retriever, Sequence[Answer]], Response]

    async def call(self, requests: Sequence[Request]) -> Response:
        """Answer the requests of a body."""
        retriever = self.live.retriever
        return self.told(retriever, await self.batcher.do(_asked(retriever, requests)))

    def begin(self, requests: Sequence[Request], done: Callable[[Callable[[], Response]], None]) -> None:
        """Have `done` called with what gives the answer, or raises, once it is there; or HttpError."""
        retriever = self.live.retriever

        def answered(results: Sequence[Answer | Failed]) -> None:
            done(lambda: self.told(retriever, results_or_raise(results)))

        self.batcher.submit(_asked(retriever, requests), answered)


def _asked(retriever: Retriever, requests: Sequence[Request]) -> list[VersionedRequest]:
    return [(retriever, with_ids_of(retriever, each)) for each in requests]


Directs = Mapping[tuple[str, str], Direct]
"""By method and path."""
