"""What every test runs under: one thread, waiting threads asleep, and quick property tests."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch or Faiss loads

import pytest
import torch
from hypothesis import HealthCheck, settings

from twotower.config.exits import exit_without_gc

# Stored bytecode saves seconds in each test process, and in each command that a test starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Started in the background (nohup, a script's &) the suite ignores SIGINT, and so would every process that a
# test starts in order to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Splits refuse many of the small logs that are made up, and busy machines are slow: neither is a failure.
# In CI the examples are the same each time.
settings.register_profile(
    "quick",
    max_examples=50,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
settings.load_profile("quick")


gc.disable()  # while modules are loaded, which makes no garbage
exit_without_gc()


def pytest_collection_finish() -> None:
    """Keep what collecting has loaded out of every later search for garbage: it stays to the end."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """A command that ran in this process ignores signals at its end; later processes would inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def one_thread_and_a_seed() -> None:
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)  # of the CPU alone, which is faster than `torch.manual_seed`


@pytest.fixture(autouse=True, scope="session")
def brief_measurements() -> Iterator[None]:
    """How fast an index is searched, which no test asks for, is measured from few searches."""
    with (
        mock.patch.multiple("twotower.index.tune", NUM_SINGLE=20, MIN_POINT_SECONDS=0.0),
        mock.patch.multiple("twotower.index.check", MIN_BATCH_SECONDS=0.0),
    ):
        yield
