"""Encoders of sequences: one position after the other, by hand and by what none of them may see."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from twotower.model.towers.history.additive_attention import AdditiveAttention
from twotower.model.towers.history.causal_encoder import CausalEncoder
from twotower.model.towers.history.gru import Gru
from twotower.model.towers.history.hstu import Hstu, time_buckets
from twotower.model.towers.history.ligr import GatedBlock, Ligr
from twotower.model.towers.history.low_pass import LowPass, causal_weights
from twotower.model.towers.history.sasrec import (
    Block,
    CausalAttention,
    FilteredAttention,
    Sasrec,
    causal_attention,
)
from twotower.model.towers.history.sasrec_normed import NormedBlock, SasrecNormed

B, L, H = 4, 5, 6


def histories(length: int = L) -> tuple[Tensor, Tensor, Tensor]:
    """Right-aligned; of none, one, some (with one left out in the middle) and as many items as fit."""
    mask = torch.arange(length) >= length - torch.tensor([0, 1, 4, length])[:, None]
    mask[2, -2] = False
    embeddings = torch.randn(B, length, H) * mask[..., None]
    return embeddings, mask, (torch.arange(length + 1) * 1000 + 10**9).expand(B, -1)


def built(kind: type[CausalEncoder], **settings: Any) -> CausalEncoder:
    encoder = kind.Config(length=L, **settings).build(H)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    assert isinstance(encoder, CausalEncoder)
    return encoder.eval()


def times_of(encoder: CausalEncoder, mask: Tensor, times: Tensor) -> Tensor:
    at = times[:, :-1] * mask
    return torch.cat([at, times[:, -1:]], 1) if encoder.config.reads_request_times else at


ENCODERS = {kind.__name__: (kind, {}) for kind in (Gru, Hstu, Ligr, Sasrec, SasrecNormed)}
ENCODERS |= {f"{kind.__name__} members": (kind, {"members": 2}) for kind in (Gru, Hstu, Ligr, Sasrec)}
ENCODERS |= {f"{kind.__name__} low_pass": (kind, {"low_pass": 0.5}) for kind in (Ligr, Sasrec, SasrecNormed)}


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> CausalEncoder:
    torch.manual_seed(1)
    kind, settings = ENCODERS[request.param]
    return built(kind, **settings)


def test_no_position_sees_a_later_one(encoder: CausalEncoder) -> None:
    embeddings, mask, times = histories()
    at = times_of(encoder, mask, times)
    before = encoder(embeddings, mask, at)
    for position in range(L):
        changed = embeddings.clone()
        changed[:, position] += mask[:, position, None] * torch.randn(B, H)
        later = at.clone()
        later[:, position + 2 :] += 10**6 * (later[:, position + 2 :] > 0)  # one is left out in between
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
    block = encoder.layers[0]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.positions[1] = torch.tensor([0.0, 1.0])
        encoder.norm.weight.fill_(1)
        block.attention_norm.weight.fill_(1)
        block.attention.query_key_value.weight[4:] = torch.eye(2)
        block.attention.projection.weight.copy_(torch.eye(2))
        block.narrow.bias.copy_(torch.tensor([0.5, 0.0]))
    items = torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]) / math.sqrt(2)
    # In: (2, 0), (0, 5). Normed: (1, -1), (-1, 1). Found: (1, -1), and the mean of both, (0, 0).
    states = torch.tensor([[[2 + 1 + 0.5, -1.0], [0.5, 5.0]]])
    expected = functional.layer_norm(states, (2,))
    given = (items, torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2))
    torch.testing.assert_close(encoder(*given), expected)
    torch.testing.assert_close(encoder.latest(*given), expected[:, 1])


def test_gates_weigh_what_a_block_adds() -> None:
    """Gates of 1/2, attention that finds nothing, and silu(0 + b) (0 + c) read by ones."""
    plain, gated = Block(1, 1, 0.0), GatedBlock(1, 1, 0.0)
    states = torch.tensor([[[3.0], [5.0]]])
    with torch.no_grad():
        for parameter in [*plain.parameters(), *gated.parameters()]:
            parameter.zero_()
        gated.widen.bias[:4], gated.widen.bias[4:] = 1.0, 2.0
        gated.narrow.weight.fill_(1.0)
        gated.attention.projection.bias.fill_(4.0)
    added = 4 * functional.silu(torch.tensor(1.0)) * 2
    torch.testing.assert_close(gated(states), states + 4 / 2 + added / 2)
    assert torch.equal(plain(states), states)


def test_a_normed_block_forgets_how_large_states_were() -> None:
    """Attention adds 4 to both of a width of 2, which the norm takes off; relu(1) and relu(-1) are read."""
    block = NormedBlock(2, 1, 0.0)
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        block.attention.projection.bias.fill_(4.0)
        block.widen.bias[0], block.widen.bias[1] = 1.0, -1.0
        block.narrow.weight[0].fill_(3.0)
    states = torch.tensor([[[1.0, 3.0], [90.0, 30.0]]])
    torch.testing.assert_close(block(states), torch.tensor([[[-1.0 + 3.0, 1.0], [1.0 + 3.0, -1.0]]]))


def test_attention_finds_among_other_states() -> None:
    """Queries are alike, so that what is found is the mean of the others' values, twice themselves."""
    attention = CausalAttention(1, 1)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.query_key_value.weight[2], attention.projection.weight[0] = 2.0, 1.0
    states, others = torch.tensor([[[7.0], [8.0]]]), torch.tensor([[[1.0], [3.0]]])
    torch.testing.assert_close(attention(states, keys=others), torch.tensor([[[2.0], [4.0]]]))
    torch.testing.assert_close(attention(states, keys=states), attention(states))


def test_weights_halve_per_position_and_sum_to_one() -> None:
    expected = [[[1.0, 0, 0], [1 / 3, 2 / 3, 0], [1 / 7, 2 / 7, 4 / 7]]]
    torch.testing.assert_close(causal_weights(torch.tensor([math.log(2)]), 3), torch.tensor(expected))
    means = [[1.0, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]
    torch.testing.assert_close(causal_weights(torch.zeros(2), 3), torch.tensor([means, means]))


def test_low_pass_by_hand() -> None:
    """Channels 0 and 8 share a half-life of one position; channel 8 has a gain of 1/2."""
    low_pass = LowPass(9)
    with torch.no_grad():
        low_pass.log_rates[0] = math.log(math.log(2))
        low_pass.gain[8] = 0.5
    states = torch.zeros(1, 3, 9)
    states[0, :, 0] = states[0, :, 8] = torch.tensor([7.0, 0.0, 14.0])
    filtered = low_pass(states)
    low = torch.tensor([7.0, 7 / 3, 1 + 8])
    torch.testing.assert_close(filtered[0, :, 0], low)
    torch.testing.assert_close(filtered[0, :, 8], (low + states[0, :, 0]) / 2)
    assert (filtered[..., 1:8] == 0).all()


def test_filtered_attention_mixes_both() -> None:
    """Attention gives 4 everywhere; the filter keeps a constant as it is."""
    attention = CausalAttention(2, 1)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.projection.bias.fill_(4.0)
    mixed = FilteredAttention(attention, 2, 0.25)(torch.full((1, 3, 2), 8.0))
    torch.testing.assert_close(mixed, torch.full((1, 3, 2), 0.75 * 4 + 0.25 * 8))


def test_gru_by_hand() -> None:
    encoder = Gru(Gru.Config(length=2), 1).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.layers[0].weight_ih_l0[2] = 1.0  # the new state is tanh of the item, gates are 1/2
    items = torch.tensor([[[0.0], [1.0], [2.0]]])
    first = math.tanh(1) / 2
    expected = torch.tensor([[[0.0], [first], [first / 2 + math.tanh(2) / 2]]])
    torch.testing.assert_close(encoder(items, items[..., 0] > 0, items[..., 0]), expected)


def test_additive_attention_by_hand() -> None:
    encoder = AdditiveAttention(AdditiveAttention.Config(length=3), 1)
    items, mask = torch.tensor([[[0.0], [2.0], [8.0]]]), torch.tensor([[False, True, True]])
    torch.testing.assert_close(encoder.latest(items, mask, mask), torch.tensor([[5.0]]))  # begins as a mean
    with torch.no_grad():
        encoder.hidden.weight.fill_(1.0)
        encoder.hidden.bias.zero_()
        encoder.query.fill_(2.0)
    shares = [math.exp(2 * math.tanh(each)) for each in (2.0, 8.0)]
    last = (shares[0] * 2 + shares[1] * 8) / sum(shares)
    torch.testing.assert_close(encoder.latest(items, mask, mask), torch.tensor([[last]]))
    torch.testing.assert_close(encoder(items, mask, mask), torch.tensor([[[0.0], [2.0], [last]]]))


def test_additive_attention_before_a_much_larger_logit_is_of_the_items_before_it() -> None:
    """Logits of -100 and 100; exp(-200) is 0 in 32 bits."""
    encoder = AdditiveAttention(AdditiveAttention.Config(length=3), 1)
    with torch.no_grad():
        encoder.hidden.weight.fill_(1.0)
        encoder.hidden.bias.zero_()
        encoder.query.fill_(100.0)
    items, mask = torch.tensor([[[-20.0], [-30.0], [40.0]]]), torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(encoder(items, mask, mask), torch.tensor([[[-20.0], [-25.0], [40.0]]]))


def test_additive_attention_of_nothing_has_a_finite_gradient() -> None:
    encoder = AdditiveAttention(AdditiveAttention.Config(length=2), 1)
    items, mask = torch.zeros(2, 2, 1, requires_grad=True), torch.tensor([[False, False], [False, True]])
    (1e12 * (encoder.latest(items, mask, mask).sum() + encoder(items, mask, mask).sum())).backward()
    assert items.grad is not None
    assert items.grad[0].eq(0).all()
    assert items.grad.isfinite().all()
    assert encoder.query.grad.isfinite().all()


def test_buckets_of_times() -> None:
    day = 86_400
    times = torch.tensor([[0, 100, 100 + day, 50], [7, 7, 7, 7 + day]])  # asked before the last item: with it
    found = time_buckets(times)
    of = [[100, -1, -1], [100 + day, day, -1], [100 + day, day, -1]], [[-1, -1, -1]] * 2 + [[day, day, day]]
    seconds = torch.tensor(of).clamp(min=1).double()
    assert torch.equal(found, (seconds.log() / 0.301).floor().int())
    assert found.dtype == torch.int32


def test_hstu_asked_later_answers_differently_and_as_well_without_a_time() -> None:
    encoder = built(Hstu)
    embeddings, mask, times = histories()
    early, late = (times.clone() for _ in range(2))
    early[:, -1], late[:, -1] = times[:, -2], times[:, -2] + 10**7
    answers = [encoder.latest(embeddings, mask, times_of(encoder, mask, each)) for each in (early, late)]
    assert not torch.isclose(*answers)[2:].all(1).any()  # what one item alone weighs is normed away
    unknown = torch.cat([times[:, :-1] * mask, torch.zeros(B, 1, dtype=torch.int64)], 1)
    torch.testing.assert_close(encoder.latest(embeddings, mask, unknown), answers[0])
    encoder = Hstu(Hstu.Config(length=L, time_bias=False), H).eval()
    assert encoder.latest(embeddings, mask, times_of(encoder, mask, times)).isfinite().all()


def test_causal_attention_in_bf16_agrees_with_the_fused_kernel() -> None:
    operands = [torch.randn(3, 2, 7, 5, dtype=torch.float64) for _ in range(3)]
    expected = functional.scaled_dot_product_attention(*operands, is_causal=True)
    torch.testing.assert_close(causal_attention(*operands), expected)
    low = [each.bfloat16().requires_grad_() for each in operands]
    torch.testing.assert_close(causal_attention(*low).double(), expected, rtol=0.05, atol=0.02)
