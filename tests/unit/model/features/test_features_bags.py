import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.text_lists import list_in_text
from twotower.model.features.encoders import BagEncoder
from twotower.model.features.tags import Tags
from twotower.model.features.text import HashedText

TABLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [4.0, 4.0]])


def encoder_of(table: torch.Tensor) -> BagEncoder:
    encoder = BagEncoder(len(table), dim=2, num_first=len(table))
    with torch.no_grad():
        encoder.weight.copy_(table)
    return encoder


def test_a_bag_is_the_mean_of_its_rows() -> None:
    bags = torch.tensor([[1, 2, 0], [3, 0, 0], [0, 0, 0]])
    assert encoder_of(TABLE)(bags).tolist() == [[0.5, 0.5], [4, 4], [0, 0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=6))
def test_planned_sums_and_gradients_equal_plain_ones(bags: list[list[int]]) -> None:
    encoded = torch.tensor(bags, dtype=torch.int32)
    encoder = BagEncoder(6, dim=4, num_first=4).double()
    direction = torch.arange(4 * len(bags), dtype=torch.float64).reshape(len(bags), 4)
    planned = encoder(encoded)
    plain = encoder._plain(encoded)
    assert torch.allclose(planned, plain)
    gradients = [
        torch.autograd.grad((sums * direction).sum(), encoder.weight)[0] for sums in (planned, plain)
    ]
    assert torch.allclose(*[gradient[1:] for gradient in gradients])
    assert gradients[0][0].eq(0).all()


def test_the_plan_is_cached_for_the_same_memory_only() -> None:
    encoder = encoder_of(TABLE)
    table = torch.tensor([[0, 0], [1, 2], [3, 0], [1, 1]], dtype=torch.int32)
    first = encoder(table[1:3])
    kept = encoder._planned
    assert torch.equal(encoder(table[1:3]), first)
    assert encoder._planned is kept
    assert encoder(table[2:4]).tolist() == [[4, 4], [1, 0]]
    encoder(table[1:3])
    table[1] = torch.tensor([3, 3])
    assert encoder(table[1:3]).tolist() == [[4, 4], [4, 4]]


def test_a_plan_made_without_gradients_serves_training() -> None:
    encoder = encoder_of(TABLE)
    bags = torch.tensor([[1, 2], [3, 0]])
    with torch.inference_mode():
        encoder(bags)
        assert encoder(bags.clone()).tolist() == [[0.5, 0.5], [4, 4]]
    kept = encoder._planned
    encoder(bags).sum().backward()
    assert encoder._planned is kept
    assert encoder.weight.grad is not None
    assert encoder.weight.grad.tolist() == [[0, 0], [0.5, 0.5], [0.5, 0.5], [1, 1]]


def test_tags_as_lists_sets_arrays_or_separated_text() -> None:
    feature = Tags(Tags.Config(column="genres", dim=2, separator="|", max_tags=3))
    feature.fit(pd.Series(["b|a", ["c"], [], ""]))
    values = ["a|b", ("b", "b", "new"), {"c", "a"}, np.array(["a", "b", "c"], dtype=object), None, 3, [["a"]]]
    assert feature.encode(values).tolist() == [
        [1, 2, 0], [2, 0, 0], [1, 3, 0], [1, 2, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0]
    ]  # fmt: skip


def test_tags_of_lists_written_as_text() -> None:
    feature = Tags(Tags.Config(column="t", dim=2, separator="|", max_tags=3))
    feature.fit(pd.Series(["[' a ', \"b's\"]", '["c", 2]']))
    values = [
        "['a' \"b's\"\n 'c']",
        "['b\\'s', '']",
        "[2]",
        "[]",
        ' ["a"] ',
        "a|c",
        "[a",
        "[a]",
        "[{'a': 'c'}]",
    ]
    assert feature.encode(values).tolist() == [
        [2, 3, 4], [3, 0, 0], [1, 0, 0], [0, 0, 0], [2, 0, 0], [2, 4, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        *("[It's a dog's life]", "[O'Reilly, O'Neil]", "[Live] 'x' [2001]", "['a', 1]", "['a' ... 'z']"),
        *("[['a'], ['b']]", "[a", "a, b"),
    ],
)
def test_text_with_more_than_quoted_values_is_no_list(text: str) -> None:
    assert list_in_text(text) is None


def test_escaped_and_missing_values_of_lists_in_text() -> None:
    assert list_in_text(r"['Rock\xa0Pop', 'a\nb', 'x\\y', 'R{B', None, nan]") == [
        "Rock\xa0Pop",
        "a\nb",
        "x\\y",
        "R{B",
    ]
    assert list_in_text(r'["\u00e9", null, 2]') == ["\u00e9", 2]


def test_lists_and_lists_in_text_have_equal_tags() -> None:
    feature = Tags(Tags.Config(column="t", dim=2))
    assert feature.tokens([" Rock ", "", 2]) == feature.tokens('[" Rock ", "", 2]') == ["Rock", 2]


def test_unknown_tags_do_not_take_the_place_of_known_ones() -> None:
    feature = Tags(Tags.Config(column="t", dim=2, max_tags=1, min_count=2))
    feature.fit(pd.Series([["rare", "often", "often"], ["often"]]))
    assert feature.encode([["rare", "often"], "often", ["rare"]]).tolist() == [[1], [1], [0]]


def test_text_tokens_are_words_then_ngrams() -> None:
    only_words, with_grams = (
        HashedText(HashedText.Config(column="t", dim=2, buckets=10**9, char_ngrams=char_ngrams))
        for char_ngrams in (False, True)
    )
    words = only_words.tokens("Red MUG, red!")
    assert words == [532439972, 373122562]  # crc32, on every machine
    assert words == only_words.tokens("red-mug")
    both = with_grams.tokens("red mug")
    assert both[:2] == words
    assert len(both) == 2 + 2 * (3 + 2 + 1)  # <red>: 3 of size 3, 2 of size 4, 1 of size 5


def test_text_learns_tokens_of_several_train_texts() -> None:
    feature = HashedText(HashedText.Config(column="d", dim=4, char_ngrams=False, max_tokens=2))
    feature.fit(pd.Series(["red mug", "red cup", "blue cup"]))
    assert len(feature.state.values) == 2
    red, cup = feature.encode(["red", "cup"])[:, 0].tolist()
    assert {red, cup} == {1, 2}
    assert feature.encode(["blue RED mug", "cup & red", "mug", "", None, 3]).tolist() == [
        [red, 0], [cup, red], [0, 0], [0, 0], [0, 0], [0, 0]
    ]  # fmt: skip


def test_ngrams_know_the_kin_of_unseen_words() -> None:
    feature = HashedText(HashedText.Config(column="d", dim=4))
    feature.fit(pd.Series(["candle", "candles"]))
    assert feature.encode(["candleholder"]).count_nonzero() > 0
    assert feature.encode(["mug"]).count_nonzero() == 0
