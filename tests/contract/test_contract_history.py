"""What every history encoder promises, for each entry of `conf/history/` and its settings."""

from typing import Any

import pytest
import torch
from torch import Tensor
from variants import specs_of

from twotower.config.spec import locate_class
from twotower.model.towers.history.causal_encoder import CausalEncoder
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.user_batch import UserBatch

B, L, H, REQUEST = 6, 5, 4, 9000


def cases() -> dict[str, dict[str, Any]]:
    found = {name: spec for name, spec in specs_of("history").items() if name != "none"}  # it has no block
    specs = {name: spec | {"length": L} for name, spec in found.items()}
    members = {
        f"{name}, members": {**spec, "members": 2}
        for name, spec in specs.items()
        if issubclass(locate_class(spec, HistoryEncoder), CausalEncoder)
    }
    return specs | members | {f"{name}, dropout": {**spec, "dropout": 0.5} for name, spec in specs.items()}


CASES = cases()


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def encoder(request: pytest.FixtureRequest) -> HistoryEncoder:
    torch.manual_seed(3)
    config = HistoryEncoder.Config.model_validate(request.param)
    built = config.build(H * config.num_members)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter)
    return built.eval()


def histories(encoder: HistoryEncoder) -> tuple[Tensor, Tensor, Tensor]:
    """Right-aligned histories of 0, 1, ... L items, and a request after them."""
    torch.manual_seed(11)
    mask = torch.arange(L) >= L - torch.arange(B)[:, None]
    embeddings = torch.randn(B, L, encoder.dim) * mask[..., None]
    times = torch.arange(L).expand(B, L) * 1000 * mask
    if encoder.config.reads_request_times:
        times = torch.cat([times, torch.full((B, 1), REQUEST)], 1)
    return embeddings.requires_grad_(), mask, times


def blocks_of(
    encoder: HistoryEncoder,
    embeddings: Tensor,
    mask: Tensor,
    times: Tensor,
    event_table: Tensor | None = None,
    events: Tensor | None = None,
) -> dict[str, Tensor]:
    """Ask for blocks through a table that holds every position's embedding in a row of its own."""
    width = embeddings.shape[-1]
    table = torch.cat([torch.ones(1, width), embeddings.reshape(-1, width)])  # row 0 must never be read
    places = torch.arange(1, mask.numel() + 1).reshape(mask.shape)
    requests, times = torch.full((B,), REQUEST), times[:, : mask.shape[1]]
    batch = UserBatch(requests, places * mask, times, requests, history_events=events)
    return encoder.tower_blocks(table, batch, event_table)


def test_there_is_one_vector_a_user_and_zeros_where_there_is_no_item(encoder: HistoryEncoder) -> None:
    result = encoder.latest(*histories(encoder))
    assert result.shape == (B, encoder.dim)
    assert (result[0] == 0).all()
    assert (result[1:] != 0).any(1).all()
    blocks = blocks_of(encoder, *histories(encoder))
    torch.testing.assert_close(blocks["history"], result)
    assert {name: block.shape for name, block in blocks.items()} == {
        name: (B, dim) for name, dim in encoder.config.block_dims(encoder.dim).items()
    }


def test_what_was_done_with_an_item_is_added_to_it(encoder: HistoryEncoder) -> None:
    """Whatever way is taken: to pool two tables, or to look at each position."""
    embeddings, mask, times = histories(encoder)
    event_table = torch.cat([torch.zeros(1, encoder.dim), torch.randn(3, encoder.dim)]).requires_grad_()
    events = torch.randint(4, (B, L))
    padded = torch.where(mask, events, 3)  # row 3 must not be read there
    found = blocks_of(encoder, embeddings, mask, times, event_table, padded)
    added = (embeddings + event_table[events]) * mask[..., None]
    torch.testing.assert_close(found["history"], encoder.latest(added, mask, times))
    if "last_item" in found:
        torch.testing.assert_close(found["last_item"], added[:, -1])
    sum(block.square().sum() for block in found.values()).backward()
    gradient = event_table.grad
    assert gradient is not None
    assert (gradient[0] == 0).all()  # nothing is known of such an item, and so it stays
    assert (gradient[1:] != 0).any()


def test_every_item_counts(encoder: HistoryEncoder) -> None:
    embeddings, mask, times = histories(encoder)
    before = encoder.latest(embeddings, mask, times)
    for position in range(L):
        changed = embeddings.detach().clone()
        changed[:, position] = torch.randn(B, encoder.dim) * mask[:, position, None]
        after = encoder.latest(changed, mask, times)
        assert torch.equal(after[~mask[:, position]], before[~mask[:, position]])
        assert not torch.allclose(after[-1], before[-1])


def test_an_empty_history_gives_zeros_and_finite_gradients(encoder: HistoryEncoder) -> None:
    embeddings, mask, times = histories(encoder)
    assert not mask[0].any()
    for train in (False, True):
        encoder.train(train)
        encoder.zero_grad()
        blocks = blocks_of(encoder, embeddings, mask, times)
        assert all((block[0] == 0).all() for block in blocks.values())
        sum(block.square().sum() for block in blocks.values()).backward()
        assert embeddings.grad is not None
        assert embeddings.grad.isfinite().all()
        assert (embeddings.grad[~mask] == 0).all()
        for parameter in encoder.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()


def test_what_stands_in_the_padding_is_irrelevant(encoder: HistoryEncoder) -> None:
    embeddings, mask, times = histories(encoder)
    noisy = embeddings + torch.randn(B, L, encoder.dim) * ~mask[..., None]
    expected = blocks_of(encoder, embeddings, mask, times)
    for name, block in blocks_of(encoder, noisy, mask, times[:, :L] + ~mask * 123).items():
        assert torch.equal(block, expected[name])


def test_items_lie_to_the_right(encoder: HistoryEncoder) -> None:
    """The same items with more padding before them are the same history."""
    embeddings, mask, times = histories(encoder)
    last_two = torch.arange(L) >= L - 2
    padded = blocks_of(encoder, embeddings, mask & last_two, times)
    cut = blocks_of(encoder, embeddings[:, -2:], mask[:, -2:], times[:, L - 2 : L])
    for name, block in padded.items():
        torch.testing.assert_close(block, cut[name])
    if "last_item" in padded:
        torch.testing.assert_close(padded["last_item"], embeddings[:, -1])


def test_dropout_acts_in_training_only(encoder: HistoryEncoder) -> None:
    inputs = histories(encoder)
    first = blocks_of(encoder, *inputs)["history"]
    assert torch.equal(first, blocks_of(encoder, *inputs)["history"])
    encoder.train()
    same = all(torch.equal(first, blocks_of(encoder, *inputs)["history"]) for _ in range(5))
    given = encoder.config.model_dump()
    assert same == all(given[name] == 0 for name in given if name.endswith("dropout"))


def test_half_precision_is_close(encoder: HistoryEncoder) -> None:
    inputs = histories(encoder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = encoder.latest(*inputs)
    torch.testing.assert_close(low.float(), encoder.latest(*inputs), rtol=0.1, atol=0.1)
