"""Folder names: what distinguishes first, as far as a file system takes it, and never the same for two."""

import hashlib
import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twotower.runs.folder_name import (
    MAX_LABEL,
    SHORT,
    folder_name,
    job_names,
    run_label,
    short_keys,
    trial_name,
    without_seed,
)

SAFE = re.compile(r"[A-Za-z0-9_=,+\[\]-][A-Za-z0-9._=,+\[\]-]*")
DIGEST = r"-[0-9a-f]{8}$"
keys = st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12})?", fullmatch=True) | st.sampled_from(
    [*SHORT, *SHORT.values()]
)
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
numbers = st.sampled_from(["1", "0.1", ".1", "10", "1e-3", "-0.5", "0", "00", "1.0"])
close = st.builds(lambda key, mark, value: f"{key}{mark}{value}", keys, st.sampled_from(["=", ""]), numbers)
"""Overrides, and bare words, that look alike once they are short."""

commands = st.lists(overrides | close | keys, min_size=1, max_size=8)


@given(commands, commands)
def test_names_are_equal_only_for_equal_overrides(one: list[str], other: list[str]) -> None:
    assert folder_name(one) == folder_name(tuple(one))
    assume(one != other)
    assert folder_name(one) != folder_name(other)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_a_name_is_a_short_safe_path_component(texts: list[str]) -> None:
    name = folder_name(texts)
    assert SAFE.fullmatch(name)
    assert name not in (".", "..")
    assert len(name) <= 30


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["embedding_dim=128", "optimizer.learning_rate=0.01"], "dim128,lr.01"),
        (["embedding_dim=32", "user_tower.widths=[256,128]"], "dim32,widths[256,128]"),
        (["embedding_dim=32", "loss.temperature=0.5", "index=flat_ip"], "dim32,temp.5,index=flat_ip"),
        (["index=ivf_flat", "index.target_recall=0.97"], "index=ivf_flat,recall.97"),
        (["loss", "embedding_dim", "data=synthetic"], "loss,dim,data=synthetic"),
        (["indexes"], "indexes"),
        (["seed=7"], "seed7"),
        ([], ""),
    ],
)
def test_short_overrides_are_the_whole_name(texts: list[str], name: str) -> None:
    assert folder_name(texts) == name


@pytest.mark.parametrize(
    ("texts", "begin"),
    [
        (["loss=bce", "negatives=uniform", "index=flat_ip"], "bce,uniform,flat_ip"),
        (["user_tower.dropout=0.2", "item_tower.dropout=0.3"], "user_tower.dropout.2"),
        (["user_tower.residual=history", "trainer.refit=false"], "residual=history"),
        (["loss.temperature=0.5", "embedding_dim=32", "index=ivf_pq", "seed=1"], "temp.5,dim32,seed1"),
        (["features.item.item_id.dropout=0.25"], "dropout.25"),
    ],
)
def test_long_names_are_short_words_and_a_hash(texts: list[str], begin: str) -> None:
    assert folder_name(texts)[:-9] == begin


def test_a_long_word_is_replaced_by_its_key() -> None:
    long, other = [["a=" + "x" * 120 + end] for end in "yz"]
    digest = hashlib.sha256(json.dumps(long).encode()).hexdigest()[:8]
    assert folder_name(long) == f"a-{digest}"
    assert folder_name(other) != folder_name(long)
    keys = [["features.item.item_id.some_very_long_setting=0.1"], ["name=" + "x" * 120, "seed=3"]]
    assert [folder_name(each)[:-9] for each in keys] == ["very_long_setting.1", "name,seed3"]


def test_a_trial_is_named_by_its_number_and_overrides() -> None:
    tried = ["embedding_dim=128", "optimizer.learning_rate=0.0107345", "index=ivf_sq"]
    assert trial_name(12, tried) == "0012_dim128_lr.0107_ivf_sq"
    many = [f"room_{number}.some_key=0.12345678" for number in range(9)]
    assert trial_name(3, many) == "0003_room_0.some_key.123"
    assert (
        trial_name(3, [*tried, "loss.temperature=1.5"]) == "0003_dim128_lr.0107_ivf_sq"
    )  # no part of a word


def test_jobs_have_short_words_if_unique_in_the_sweep() -> None:
    kept = ["loss.temperature=0.5", "objective.recency_half_life_days=180"]
    quoted = (
        ["user_tower.residual='null'", "embedding_dim=8"],
        ["user_tower.residual=null", "embedding_dim=8"],
    )
    jobs = [[*kept, f"index={index}"] for index in ("auto", "ivf_pq", "ivf_flat", "ivf_flat")]
    names = job_names([*jobs, *quoted])
    assert names[:4] == [
        "temp.5,recency180,index=auto",
        "temp.5,recency180,index=ivf_pq",
        "temp.5,recency180,ivf_flat",
        "temp.5,recency180,ivf_flat",  # the same job twice
    ]
    assert [re.search(DIGEST, name) is not None for name in names[4:]] == [True, False]
    assert len(set(names)) == 5


@given(st.lists(commands, max_size=6))
def test_names_of_jobs_are_equal_only_for_equal_jobs(jobs: list[list[str]]) -> None:
    names = job_names(jobs)
    assert len(set(names)) == len(set(map(tuple, jobs)))
    assert all(0 < len(name) <= 30 for name in names)


def test_ambiguous_short_keys_get_as_few_parts_as_needed() -> None:
    keys = ["features.item.item_id.dropout", "history.dropout", "optimizer.learning_rate", "a.b.power"]
    assert short_keys(keys) == ["item_id.dropout", "history.dropout", "lr", "power"]
    assert short_keys(["a.x.rate", "b.x.rate"]) == ["a.x.rate", "b.x.rate"]


THEN = "2026-11-26_04-36-23-123456"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (f"dim128,lr.01_{THEN}", "dim128,lr.01"),
        (f"{THEN}_embedding_dim=128", "embedding_dim=128"),  # as it once was
        (THEN, ""),
        (f"seed7_{THEN}", ""),
        ("bce,uniform,flat_ip,seed1-1a2b3c4d", "bce,uniform,flat_ip"),
        ("dim32,seed2", "dim32"),
        ("0012_dim128_lr.0107", "0012_dim128_lr.0107"),
    ],
)
def test_the_label_of_a_run_has_no_time_hash_or_seed(name: str, label: str) -> None:
    assert run_label(name) == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("temp1.0,dim32,index=flat_ip", "temp1.0,dim32,flat_ip"),
        ("temp1.0,recency180,index=flat_ip", "temp1.0,recency180,flat_ip"),
        ("widths[256,128],dim128,temp1.0,wd.01", "widths[256,128],dim128"),
        ("0012_dim128_lr.0107_ivf_sq", "0012_dim128_lr.0107_ivf_sq"),
    ],
)
def test_a_long_label_loses_keys_of_choices_then_words(name: str, label: str) -> None:
    assert run_label(name, MAX_LABEL) == label


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("seed=1,embedding_dim=32", "embedding_dim=32"),
        ("a/embedding_dim=32,seed=11", "a/embedding_dim=32"),
        ("embedding_dim=32/seed=1", "embedding_dim=32"),
        ("data.seed=3,x=1", "data.seed=3,x=1"),
        ("seed1,dim32", "dim32"),
        ("a/dim32,seed11", "a/dim32"),
        ("dim32/seed1", "dim32"),
        ("bce,seed-1-1a2b3c4d", "bce"),
        ("bce-1a2b3c4d", "bce-1a2b3c4d"),
        ("seed1", ""),
    ],
)
def test_the_name_of_a_configuration_has_no_seed(name: str, without: str) -> None:
    assert without_seed(name) == without


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("data.interactions_path=/data/log.csv", "path=-data-log.csv"),
        ("~baselines.ease", "no_ease"),
        ("name=a b", "name=a-b"),
        ("name=täglich", "t-glich"),
        ("..", ""),
        (".hidden=1", "hidden1"),
    ],
)
def test_unsafe_characters_are_replaced_and_hashed(text: str, begin: str) -> None:
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
def test_quotes_and_unsafe_characters_distinguish_values(one: list[str], other: list[str]) -> None:
    assert folder_name(one) != folder_name(other)
