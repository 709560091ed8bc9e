"""A browser without a window, for tests of pages; and sweeps whose workers need not load torch."""

import shutil
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from forks import workers_are_forks

from twotower.experiments.tensorboard import plots

WAIT = 120_000
"""Milliseconds for anything to appear, and for what is expected of it to come true."""


@pytest.fixture(autouse=True, scope="module")
def forked_workers() -> Iterator[None]:
    """Workers that begin anew are what tests of launchers start, and commands in processes of their own."""
    with workers_are_forks():
        yield


@pytest.fixture(autouse=True, scope="session")
def one_picture() -> Iterator[None]:
    """Trainings draw a picture for TensorBoard, in a tenth of their time: all are given the same one."""
    points = [{"recall": 0.9, "latency_ms": 0.1, "search_args": {}}]
    figure = plots.recall_versus_latency(points, 0.99, {})
    module = "twotower.experiments.tensorboard.tensorboard_run"
    with (
        mock.patch(f"{module}.recall_versus_latency", autospec=True, return_value=figure),
        mock.patch(f"{module}.to_png", return_value=plots.to_png(figure)),
    ):
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the page needs playwright: pip install -e .[dev]"
    )
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("the page needs Chromium: apt-get install chromium")
    sync_api.expect.set_options(timeout=WAIT)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new page; whatever it says in its console fails the test, unless `page.expected` holds it."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(WAIT)
    opened = context.new_page()
    said: list[str] = []
    opened.expected = ""
    opened.on("console", lambda message: said.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    unexpected = [text for text in said if not opened.expected or opened.expected not in text]
    context.close()
    assert unexpected == []
