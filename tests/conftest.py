"""What every test runs under: one thread, waiting threads asleep, and quick property tests."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch or Faiss loads

import pytest
import torch
from hypothesis import settings

settings.register_profile("quick", max_examples=50, deadline=None)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def one_thread_and_a_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
