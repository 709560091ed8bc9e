"""A checkpoint is what was written, or it is refused."""

import hashlib
from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from twotower.config.errors import InputError
from twotower.training.checkpoints import read_checkpoint, write_checkpoint

CONTENT = {"state_dict": {"weight": torch.tensor([1.0, -2.5])}, "fitted": {"epochs": 3}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "checkpoints" / "fit" / "last.ckpt"
    write_checkpoint(written, CONTENT)
    return written


def test_what_is_read_is_what_was_written(path: Path) -> None:
    found = read_checkpoint(path)
    assert found["fitted"] == {"epochs": 3}
    assert found["state_dict"]["weight"].tolist() == [1.0, -2.5]
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_it_ends_with_its_sum_and_torch_reads_it_all_the_same(path: Path) -> None:
    content = path.read_bytes()
    assert content[-64:].decode() == hashlib.sha256(content[:-64]).hexdigest()
    assert torch.load(path, weights_only=True)["state_dict"]["weight"].tolist() == [1.0, -2.5]


def test_a_flip_of_a_byte_is_found(path: Path) -> None:
    content = path.read_bytes()
    for place in {*range(0, len(content), 23), *range(len(content) - 70, len(content))}:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            read_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 10, 64, 500, -1])
def test_a_part_of_it_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"last\.ckpt: damaged.*delete .*fit, and resume="):
        read_checkpoint(path)


def test_one_without_a_sum_is_refused(path: Path) -> None:
    TorchCheckpointIO().save_checkpoint(CONTENT, path)
    with pytest.raises(InputError, match="damaged: it does not end"):
        read_checkpoint(path)


def test_one_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"best\.ckpt: missing; delete .*fit, and resume="):
        read_checkpoint(tmp_path / "fit" / "best.ckpt")
