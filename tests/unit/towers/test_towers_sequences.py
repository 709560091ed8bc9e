"""Encoders of sequences: one position after the other, by hand and by what none of them may see."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from variants_of_history import causal_encoders

from twotower.towers.dropout import Dropout
from twotower.towers.history.attention import _Attention, causal_attention
from twotower.towers.history.causal_encoder import CausalEncoder
from twotower.towers.history.sasrec import Sasrec

B, L, H = 4, 5, 6


def histories(length: int = L) -> tuple[Tensor, Tensor, Tensor]:
    """Right-aligned; of none, one, some (with one left out in the middle) and as many items as fit."""
    mask = torch.arange(length) >= length - torch.tensor([0, 1, 4, length])[:, None]
    mask[2, -2] = False
    embeddings = torch.randn(B, length, H) * mask[..., None]
    return embeddings, mask, (torch.arange(length + 1) * 1000 + 10**9).expand(B, -1)


def built(kind: type[CausalEncoder]) -> CausalEncoder:
    encoder = kind.Config(length=L).build(H)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    assert isinstance(encoder, CausalEncoder)
    return encoder.eval()


def times_of(encoder: CausalEncoder, mask: Tensor, times: Tensor) -> Tensor:
    at = times[:, :-1] * mask
    return torch.cat([at, times[:, -1:]], 1) if encoder.config.reads_request_times else at


@pytest.fixture(params=causal_encoders(), ids=lambda kind: kind.__name__)
def encoder(request: pytest.FixtureRequest) -> CausalEncoder:
    torch.manual_seed(1)
    return built(request.param)


def test_no_position_sees_a_later_one(encoder: CausalEncoder) -> None:
    embeddings, mask, times = histories()
    at = times_of(encoder, mask, times)
    before = encoder(embeddings, mask, at)
    for position in range(L):
        changed = embeddings.clone()
        changed[:, position] += mask[:, position, None] * torch.randn(B, H)
        later = at.clone()
        later[:, position + 1 :] += 10**6 * (later[:, position + 1 :] > 0)
        after = encoder(changed, mask, later)
        torch.testing.assert_close(after[:, :position], before[:, :position])
        seen = mask[:, position]
        assert not torch.isclose(after[seen, position], before[seen, position]).all(1).any()


def test_every_position_is_the_latest_of_what_lies_before_it(encoder: CausalEncoder) -> None:
    embeddings, mask, times = histories()
    whole = encoder(embeddings, mask, times_of(encoder, mask, times))
    for position in range(L):
        cut = (each[:, : position + 1] for each in (embeddings, mask))
        items, there = cut
        asked = times[:, : position + 2].clone()
        following = mask[:, position + 1 :]
        if following.shape[1]:  # the request comes when the next item did
            first = position + 1 + following.int().argmax(1)
            asked[:, -1] = torch.where(following.any(1), times.gather(1, first[:, None])[:, 0], times[:, -1])
        latest = encoder.latest(items, there, times_of(encoder, there, asked))
        torch.testing.assert_close(whole[:, position], latest, rtol=1e-4, atol=1e-5)
    assert (whole[0] == 0).all()


def test_gradients_reach_every_parameter_and_no_padding(encoder: CausalEncoder) -> None:
    embeddings, mask, times = histories()
    embeddings.requires_grad_()
    encoder.train()(embeddings, mask, times_of(encoder, mask, times)).square().sum().backward()
    assert embeddings.grad is not None
    assert (embeddings.grad[~mask] == 0).all()
    assert all((each.grad != 0).any() for each in encoder.parameters() if each.grad is not None)
    assert sum(each.grad is None for each in encoder.parameters()) == 0


def test_sasrec_by_hand() -> None:
    """One block whose attention is even and finds items as they are, and whose products are 1 and 0."""
    encoder = Sasrec(Sasrec.Config(length=2, blocks=1, heads=1, hidden_dropout=0.0), 2)
    block = encoder.blocks_of[0]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.positions[1] = torch.tensor([0.0, 1.0])
        encoder.norm.weight.fill_(1)
        block.attention_norm.weight.fill_(1)
        block.attention.asked.weight[4:] = torch.eye(2)
        block.attention.joined.weight.copy_(torch.eye(2))
        block.narrow.bias.copy_(torch.tensor([0.5, 0.0]))
    items = torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]) / math.sqrt(2)
    # In: (2, 0), (0, 5). Normed: (1, -1), (-1, 1). Found: (1, -1), and the mean of both, (0, 0).
    states = torch.tensor([[[2 + 1 + 0.5, -1.0], [0.5, 5.0]]])
    expected = functional.layer_norm(states, (2,))
    given = (items, torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2))
    torch.testing.assert_close(encoder(*given), expected)
    torch.testing.assert_close(encoder.latest(*given), expected[:, 1])


@pytest.mark.parametrize("rows", [1, 4, 1 << 20])
def test_causal_attention_and_its_gradients(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.towers.history.attention.BLOCK_BYTES", rows * 7 * 7 * 8)
    given = [torch.randn(3, 2, 7, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(_Attention.apply, given)
    expected = functional.scaled_dot_product_attention(*given, is_causal=True)
    torch.testing.assert_close(_Attention.apply(*given), expected)
    low = [each.detach().bfloat16().requires_grad_() for each in given]
    assert causal_attention(*low).grad_fn.name() == "_AttentionBackward"
    torch.testing.assert_close(causal_attention(*low).double(), expected, rtol=0.05, atol=0.02)
    assert causal_attention(*given).grad_fn.name() != "_AttentionBackward"


def test_dropout_of_bytes() -> None:
    dropout, values = Dropout(0.3), torch.ones(999, 101, requires_grad=True)
    found = dropout(values)
    kept = 179 / 256
    assert set(found.unique().tolist()) == {0.0, torch.tensor(1 / kept).item()}
    assert (found > 0).float().mean().item() == pytest.approx(kept, abs=0.01)
    assert not torch.equal(found, dropout(values))
    found.sum().backward()
    assert torch.equal(values.grad, found)
    assert dropout.eval()(values) is values
    assert Dropout(0.0)(values) is values
