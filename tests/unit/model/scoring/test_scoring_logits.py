"""Losses over blocks of logits: right gradients, whatever the size of a block, and never the whole matrix."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoring_cases import logits_of, negatives_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from twotower.model.losses.bce import Bce
from twotower.model.losses.loss import Loss
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.scoring.fused_softmax import BLOCK_BYTES, cross_entropy
from twotower.model.scoring.logits import BLOCK_ELEMENTS, FalseNegatives, Logits
from twotower.model.scoring.scorer import RowLookup, ScoringConfig

P, C, D, H = 7, 5, 3, 2
FORMULAS = {"softmax": cross_entropy, "bce": Bce(Bce.Config(negative_weight=0.8))}
BLOCKS = [1, 16, 50, 1000]
MASKED = torch.tensor([[0, 0], [0, 1], [2, 4], *([5, column] for column in range(C))]).T.contiguous()


def embeddings() -> list[Tensor]:
    torch.manual_seed(1)
    return [
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in ((P, D), (P, D), (C, D), (P, H, D))
    ]


def compute(users: Tensor, positives: Tensor, items: Tensor, query: Tensor) -> Logits:
    rows = torch.ones(P, H, dtype=torch.int64)
    rows[0, 1] = 0
    rows[5] = 0  # padding; a positive has none at all
    negatives = negatives_of(
        C,
        P,
        log_multiplicity=torch.tensor([1.0, 2, 1, 3, 1], dtype=torch.float64).log(),
        query_rows=rows,
        query_log_q=torch.zeros(P, H),
    )
    weights = torch.linspace(0.1, 1, P, dtype=torch.float64)
    (logits,) = logits_of(
        ScoringConfig(), users, positives, items, negatives, masked=MASKED, weights=weights, query=query
    )
    return logits


@pytest.mark.parametrize("name", FORMULAS)
def test_gradcheck(name: str) -> None:
    def mean(*tensors: Tensor) -> Tensor:
        return compute(*tensors).mean(FORMULAS[name], block_elements=16)

    assert torch.autograd.gradcheck(mean, embeddings())


def test_no_negative_at_all_is_defined_for_labels() -> None:
    users, positives, items, _ = embeddings()
    (logits,) = logits_of(ScoringConfig(), users, positives, items[:0], negatives_of(0, P))
    loss = logits.mean(FORMULAS["bce"])
    expected = torch.nn.functional.softplus(-(users * positives).sum(1)).mean()
    torch.testing.assert_close(loss, expected)
    gradients = (
        torch.autograd.grad(each, [users, positives], retain_graph=True) for each in (loss, expected)
    )
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_block_size_changes_nothing(name: str) -> None:
    tensors = embeddings()
    results = []
    for block_elements in BLOCKS:
        loss = compute(*tensors).mean(FORMULAS[name], block_elements=block_elements)
        results.append((loss, *torch.autograd.grad(loss, tensors)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("block_elements", BLOCKS)
def test_a_formula_sees_every_row_once_and_no_more_than_a_block(block_elements: int) -> None:
    seen: list[torch.Size] = []

    def recording(positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        assert len(multiplicity) == negatives.shape[1]
        seen.append(negatives.shape)
        return cross_entropy(positive, negatives, multiplicity)

    compute(*embeddings()).mean(recording, block_elements=block_elements)
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


@pytest.mark.parametrize("kind", [SampledSoftmax, Bce])
def test_the_whole_matrix_is_never_built(kind: type[Loss]) -> None:
    num_positives, num_negatives = 1500, 3000
    users = torch.randn(num_positives, 4, requires_grad=True)
    items = torch.randn(num_negatives, 4, requires_grad=True)
    loss = kind(kind.Config())
    pairs = torch.arange(num_positives).repeat(2, 1)
    with LargestTensor() as mode:
        (logits,) = logits_of(
            loss.config.scoring(),
            users,
            items[:num_positives],
            items,
            negatives_of(num_negatives, num_positives),
            masked=pairs,
        )
        loss.batch_mean(logits).backward()
    most = max(BLOCK_ELEMENTS, BLOCK_BYTES // 4)
    assert mode.largest <= most < num_positives * num_negatives / 2


def test_nothing_is_differentiated_where_nothing_asks_for_it() -> None:
    logits = compute(*embeddings())
    with torch.no_grad():
        quiet = logits.mean(cross_entropy)
    torch.testing.assert_close(quiet, logits.mean(cross_entropy))
    assert not quiet.requires_grad


def test_a_parameter_of_the_loss_gets_its_gradient() -> None:
    tensors = embeddings()
    margin = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def hinge(positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        return (margin - positive[:, None] + negatives).clamp(min=0).sum(1)

    def mean(*each: Tensor) -> Tensor:
        return compute(*each[:4]).mean(hinge, [margin], block_elements=40)

    assert torch.autograd.gradcheck(mean, [*tensors, margin])
    mean(*tensors).backward()
    assert margin.grad is not None
    assert margin.grad > 0


def test_masks_are_repeated_for_each_positive_of_a_user() -> None:
    masks = FalseNegatives(torch.tensor([0, 0, 1]), torch.tensor([4, 5, 6], dtype=torch.int32))
    by_positive = masks.select(torch.tensor([0, 0, 1]))
    assert by_positive.users.tolist() == [0, 0, 1, 1, 2]
    assert by_positive.columns.tolist() == [4, 5, 4, 5, 6]


NUM_ITEMS = 12
ROW = st.integers(0, NUM_ITEMS)
LOOKUP = RowLookup(NUM_ITEMS)
"""One for all examples: it must forget the rows of a call."""


@given(rows=st.lists(ROW, unique=True), wanted=st.lists(ROW, max_size=20))
def test_each_row_has_its_position(rows: list[int], wanted: list[int]) -> None:
    found = LOOKUP.positions(torch.tensor(rows, dtype=torch.int64), torch.tensor(wanted, dtype=torch.int32))
    assert found.tolist() == [rows.index(row) if row in rows else -1 for row in wanted]
