"""Which precision `auto` is, and what the machine does not support."""

import pytest
import torch

from twotower.training.trainer import TrainerChoice, fastest_precision


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_processor_trains_in_sixteen_bits_where_it_multiplies_them(
    monkeypatch: pytest.MonkeyPatch, is_fast: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": is_fast})
    assert TrainerChoice.Config(precision="auto").arguments()["precision"] == expected
    assert TrainerChoice.Config(precision="bf16-mixed").arguments()["precision"] == "bf16-mixed"
    assert TrainerChoice.Config().arguments()["precision"] == "32-true"


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch, is_fast: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": not is_fast})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: is_fast)
    assert fastest_precision("auto") == fastest_precision("cuda") == expected
    assert fastest_precision("cpu") != expected


def test_other_accelerators_train_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fastest_precision("mps") == "32-true"


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, accelerator: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = TrainerChoice.Config.model_validate({"accelerator": accelerator, "devices": 2})
    assert [*config.problems()] == [("devices", "this machine has 1 GPUs; expected at most as many")]
    assert not [*config.model_copy(update={"devices": 1}).problems()]


def test_auto_trains_several_processes_on_the_cpus_of_a_machine_without_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not [*TrainerChoice.Config(accelerator="auto", devices=2).problems()]
