import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from app_clients import Ask, asking
from fake_live import FakeLive


@pytest.fixture
def live() -> FakeLive:
    return FakeLive()


@pytest.fixture
def ask(live: FakeLive) -> Iterator[Callable[..., Ask]]:
    """Start the application in this process: ask(keys, **settings) -> asked(method, path, **as httpx)."""
    with contextlib.ExitStack() as stack:

        def with_settings(*keys: Any, **settings: Any) -> Ask:
            asked = stack.enter_context(asking(live, *keys, **settings))
            live.retriever.batches.clear()  # of the warm-up
            return asked

        yield with_settings
