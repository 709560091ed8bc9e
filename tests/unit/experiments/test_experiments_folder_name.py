"""Folder names: what was typed, as far as a file system takes it, and never the same for two."""

import hashlib
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twotower.experiments.folder_name import MAX_NAME, folder_name

SAFE = re.compile(r"[A-Za-z0-9_=,+\[\]-][A-Za-z0-9._=,+\[\]-]*")
DIGEST = r"-[0-9a-f]{8}$"
keys = st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12})?", fullmatch=True)
plain = (
    st.integers(-100, 10**6).map(str)
    | st.floats(-1e3, 1e3).map(repr)
    | st.from_regex(r"[A-Za-z_]{1,9}", fullmatch=True)
    | st.lists(st.integers(0, 99), min_size=1, max_size=3).map(lambda each: str(each).replace(" ", ""))
)
odd = st.text(max_size=60).filter(lambda text: "'" not in text and "\\" not in text).map(lambda t: f"'{t}'")
overrides = st.builds(
    lambda sign, key, value: f"{sign}{key}={value}",
    st.sampled_from(["", "+", "++"]),
    keys,
    plain | odd | plain.map(lambda text: f"'{text}'"),
)
commands = st.lists(overrides, min_size=1, max_size=8)


@given(commands, commands)
def test_the_same_overrides_share_a_name_and_others_never(one: list[str], other: list[str]) -> None:
    assert folder_name(one) == folder_name(tuple(one))
    assume(one != other)
    assert folder_name(one) != folder_name(other)


@given(st.lists(st.tuples(keys, plain), min_size=1, max_size=3), st.data())
def test_other_quotes_make_another_name(typed: list[tuple[str, str]], data: st.DataObject) -> None:
    quotes = st.lists(st.sampled_from(["", "'", '"']), min_size=len(typed), max_size=len(typed))
    one, other = (
        [f"{key}={quote}{value}{quote}" for quote, (key, value) in zip(data.draw(quotes), typed, strict=True)]
        for _ in range(2)
    )
    assert (folder_name(one) == folder_name(other)) == (one == other)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_a_name_is_one_short_safe_part_of_a_path(texts: list[str]) -> None:
    name = folder_name(texts)
    assert SAFE.fullmatch(name)
    assert name not in (".", "..")
    assert len(name) <= MAX_NAME + 9


@given(st.lists(st.builds("{}={}".format, keys, plain), min_size=1, max_size=3))
def test_a_plain_short_name_is_what_was_typed(texts: list[str]) -> None:
    assume(len(",".join(texts)) <= MAX_NAME)
    assert folder_name(texts) == ",".join(texts)


def test_a_long_name_is_cut_and_told_apart_by_a_hash() -> None:
    fits = ["a=" + "x" * (MAX_NAME - 2)]
    assert folder_name(fits) == fits[0]
    long, other = [fits[0] + "y"], [fits[0] + "z"]
    digest = hashlib.sha256(long[0].encode()).hexdigest()[:8]
    assert folder_name(long) == f"{fits[0]}-{digest}"
    assert folder_name(other) != folder_name(long)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("data.interactions_path=/data/log.csv", "data.interactions_path=-data-log.csv"),
        ("~baselines.ease", "baselines.ease"),
        ("name=a b", "name=a-b"),
        ("name=täglich", "name=t-glich"),
        ("..", ""),
        (".hidden=1", "hidden=1"),
    ],
)
def test_what_a_path_cannot_hold_is_replaced_and_hashed(text: str, begin: str) -> None:
    name = folder_name([text])
    assert re.search(DIGEST, name)
    assert name[:-9] == begin


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["user_tower.residual='null'"], ["user_tower.residual=null"]),
        (["name='1'"], ["name=1"]),
        (["name='a,seed=1'"], ["name=a", "seed=1"]),
        (["name='[1,2]'"], ["name=[1,2]"]),
        (["name=a/b"], ["name=a-b"]),
        (["name=a b"], ["name=a/b"]),
    ],
)
def test_quotes_and_odd_characters_still_tell_values_apart(one: list[str], other: list[str]) -> None:
    assert folder_name(one) != folder_name(other)
