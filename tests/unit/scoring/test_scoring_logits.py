"""The kernel: right gradients, whatever the size of a block, and never the whole matrix."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from twotower.losses.bce import Bce
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.losses.kernels.blockwise import BLOCK_ELEMENTS, PairLoss, blockwise_loss
from twotower.losses.kernels.softmax import BLOCK_BYTES, cross_entropy
from twotower.losses.loss import Loss
from twotower.negatives.candidates import Candidates

P, C, D = 7, 5, 3
COUNT = torch.tensor([1.0, 2, 1, 3, 1], dtype=torch.float64)


def bce(positive: Tensor, negatives: Tensor) -> Tensor:
    return Bce(Bce.Config(negative_weight=0.8))(positive, negatives, COUNT)


FORMULAS = {"softmax": cross_entropy, "bce": bce}
BLOCKS = [1, C, 2 * C, 3 * C + 1, 100 * C]


def arguments() -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(1)
    tensors = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((P, D), (C, D), (P,))]
    masked = torch.tensor([[0, 0], [0, 1], [2, 4], *([5, column] for column in range(C))]).T.contiguous()
    return tensors, [torch.randn(C, dtype=torch.float64), *masked, torch.rand(P, dtype=torch.float64)]


@pytest.mark.parametrize("block_elements", BLOCKS)
@pytest.mark.parametrize("name", FORMULAS)
def test_gradcheck(name: str, block_elements: int) -> None:
    tensors, constants = arguments()

    def call(*inputs: Tensor) -> Tensor:
        return blockwise_loss(FORMULAS[name], *inputs, *constants, block_elements=block_elements)

    assert torch.autograd.gradcheck(call, tensors)


OWN = 4


def own_logits() -> Tensor:
    torch.manual_seed(2)
    logits = torch.randn(P, OWN, dtype=torch.float64)
    logits[0, 2] = logits[5] = -torch.inf  # one is padding; a positive has none at all
    return logits.requires_grad_()


@pytest.mark.parametrize("block_elements", BLOCKS)
def test_gradcheck_with_own_candidates(block_elements: int) -> None:
    tensors, constants = arguments()
    finite = own_logits().detach().nan_to_num(neginf=-1.5).requires_grad_()
    padding = own_logits().isneginf()

    def call(*inputs: Tensor) -> Tensor:
        own = inputs[-1].masked_fill(padding, -torch.inf)
        return blockwise_loss(cross_entropy, *inputs[:-1], *constants, own, block_elements=block_elements)

    assert torch.autograd.gradcheck(call, [*tensors, finite])


@pytest.mark.parametrize("num_candidates", [C, 0])
@pytest.mark.parametrize("block_elements", BLOCKS)
def test_own_candidates_are_autograd_s_plain_formula(block_elements: int, num_candidates: int) -> None:
    (users, items, positive), (bias, *masked, weights) = arguments()
    items, bias, own = items.detach()[:num_candidates].requires_grad_(), bias[:num_candidates], own_logits()
    masked = [pairs if num_candidates else pairs[:0] for pairs in masked]
    tensors = [users, items, positive, own]
    got = blockwise_loss(
        cross_entropy, users, items, positive, bias, *masked, weights, own, block_elements=block_elements
    )
    logits = users @ items.T + bias
    mask = torch.zeros_like(logits, dtype=torch.bool)
    mask[masked[0], masked[1]] = True
    joined = torch.cat([positive[:, None], logits.masked_fill(mask, -torch.inf), own], 1)
    plain = ((joined.logsumexp(1) - positive) * weights).sum() / weights.sum()
    torch.testing.assert_close(got, plain)
    torch.testing.assert_close(torch.autograd.grad(2 * got, tensors), torch.autograd.grad(2 * plain, tensors))


def test_no_candidate_at_all_is_defined_for_labels() -> None:
    (users, items, positive), (bias, *masked, weights) = arguments()
    none, pairs = items.detach()[:0].requires_grad_(), [each[:0] for each in masked]

    def formula(of_positive: Tensor, negatives: Tensor) -> Tensor:
        return Bce(Bce.Config())(of_positive, negatives, COUNT[:0])

    loss = blockwise_loss(formula, users, none, positive, bias[:0], *pairs, weights)
    expected = (torch.nn.functional.softplus(-positive) * weights).sum() / weights.sum()
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(loss, [users, positive])
    assert (gradients[0] == 0).all()
    torch.testing.assert_close(gradients[1], torch.autograd.grad(expected, positive)[0])


@pytest.mark.parametrize("name", FORMULAS)
def test_the_block_size_changes_nothing(name: str) -> None:
    tensors, constants = arguments()
    results = []
    for block_elements in BLOCKS:
        loss = blockwise_loss(FORMULAS[name], *tensors, *constants, block_elements=block_elements)
        results.append((loss, *torch.autograd.grad(loss, tensors)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("block_elements", BLOCKS)
def test_a_formula_sees_every_row_once_and_no_more_than_a_block(block_elements: int) -> None:
    tensors, constants = arguments()
    seen: list[torch.Size] = []

    def recording(positive: Tensor, negatives: Tensor) -> Tensor:
        seen.append(negatives.shape)
        return cross_entropy(positive, negatives)

    blockwise_loss(recording, *tensors, *constants, block_elements=block_elements)
    assert sum(rows for rows, _ in seen) == P
    assert all(rows == 1 or rows * columns <= block_elements for rows, columns in seen)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements any operation returned."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, Tensor):
                self.largest = max(self.largest, leaf.numel())
        return result


@pytest.mark.parametrize(
    "loss",
    [SampledSoftmax(SampledSoftmax.Config(learned_temperature=True)), Bce(Bce.Config())],
    ids=["softmax", "bce"],
)
def test_the_whole_matrix_is_never_built(loss: Loss) -> None:
    num_positives, num_candidates = 1500, 3000
    users = torch.randn(num_positives, 4, requires_grad=True)
    items = torch.randn(num_candidates, 4, requires_grad=True)
    candidates = Candidates(
        torch.arange(1, num_candidates + 1),
        torch.zeros(num_candidates),
        torch.full((num_candidates,), -7.0),
        torch.full((num_positives,), -7.0),
        torch.arange(num_positives),
        torch.arange(num_positives),
    )
    with LargestTensor() as mode:
        loss.mean_loss(users, items[:num_positives], items, candidates, torch.ones(num_positives)).backward()
    most = max(BLOCK_ELEMENTS, BLOCK_BYTES // 4)
    assert mode.largest <= most < num_positives * num_candidates / 2


def test_nothing_is_differentiated_where_nothing_asks_for_it() -> None:
    tensors, constants = arguments()
    formula: PairLoss = cross_entropy
    with torch.no_grad():
        quiet = blockwise_loss(formula, *tensors, *constants)
    torch.testing.assert_close(quiet, blockwise_loss(formula, *tensors, *constants))
    assert not quiet.requires_grad


def test_a_lone_candidate_tensor_gets_its_gradient() -> None:
    (users, items, positive), constants = arguments()
    fixed = users.detach(), positive.detach()
    loss = blockwise_loss(cross_entropy, fixed[0], items, fixed[1], *constants)
    expected = torch.autograd.grad(blockwise_loss(cross_entropy, users, items, positive, *constants), items)
    torch.testing.assert_close(torch.autograd.grad(loss, items), expected)


def test_a_parameter_of_the_loss_gets_its_gradient() -> None:
    (users, items, positive), (bias, *masked, weights) = arguments()
    margin = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def hinge(positive: Tensor, negatives: Tensor) -> Tensor:
        return (margin - positive[:, None] + negatives).clamp(min=0).sum(1)

    def call(*inputs: Tensor) -> Tensor:
        return blockwise_loss(
            hinge, *inputs[:3], bias, *masked, weights, block_elements=2 * C, parameters=[margin]
        )

    assert torch.autograd.gradcheck(call, [users, items, positive, margin])
    call(users, items, positive).backward()
    assert margin.grad is not None
    assert margin.grad > 0
