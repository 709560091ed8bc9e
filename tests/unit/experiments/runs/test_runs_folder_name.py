"""Folder names: the overrides in short words, at most 30 characters, unique within a sweep."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.experiments.runs.folder_name import (
    SHORT,
    folder_name,
    job_names,
    run_label,
    short_keys,
    trial_name,
    without_seed,
)

SAFE = re.compile(r"[A-Za-z0-9_=,+\[\]-][A-Za-z0-9._=,+\[\]-]*")
keys = st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12})?", fullmatch=True) | st.sampled_from(
    [*SHORT, *SHORT.values()]
)
values = (
    st.integers(-100, 10**6).map(str)
    | st.floats(-1e3, 1e3).map(repr)
    | st.from_regex(r"[A-Za-z_]{1,9}", fullmatch=True)
    | st.text(max_size=60).map(lambda text: f"'{text}'")
)
overrides = st.builds(
    lambda sign, key, value: f"{sign}{key}={value}", st.sampled_from(["", "+", "++"]), keys, values
)
commands = st.lists(overrides | keys, min_size=1, max_size=8)


@given(st.lists(commands, max_size=6))
def test_names_of_jobs_are_safe_and_equal_only_for_equal_jobs(jobs: list[list[str]]) -> None:
    names = job_names(jobs)
    assert len(set(names)) == len(set(map(tuple, jobs)))
    assert all(SAFE.fullmatch(name) and len(name) <= 30 for name in names)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["embedding_dim=128", "optimizer.learning_rate=0.01"], "dim128,lr.01"),
        (["embedding_dim=32", "user_tower.widths=[256,128]"], "dim32,widths[256,128]"),
        (["embedding_dim=32", "loss.temperature=0.5", "index=flat_ip"], "dim32,temp.5,flat_ip"),
        (["loss", "embedding_dim", "data=synthetic"], "loss,dim,synthetic"),
        (["user_tower.dropout=0.2", "item_tower.x=0.3"], "dropout.2,x.3"),
        (["features.item.item_id.dropout=0.25"], "dropout.25"),
        (["seed=7"], "seed7"),
        ([], ""),
    ],
)
def test_a_name_is_the_overrides_in_short_words(texts: list[str], name: str) -> None:
    assert folder_name(texts) == name


@pytest.mark.parametrize(
    ("texts", "begin"),
    [
        (["user_tower.dropout=0.2", "item_tower.dropout=0.3"], "user_tower.dropout.2"),
        (
            ["loss.temperature=0.5", "embedding_dim=32", "loss=in_batch_softmax", "seed=1"],
            "temp.5,dim32,seed1",
        ),
        (["data.path=/data/log.csv"], "path=-data-log.csv"),
        (["name=a b"], "name=a-b"),
        (["a.b=" + "1" * 120], "b" + "1" * 20),
        (["name=" + "x" * 120, "seed=3"], "xxxxxxxxxxxxxxx,seed3"),
    ],
)
def test_long_and_unsafe_names_have_a_hash(texts: list[str], begin: str) -> None:
    name = folder_name(texts)
    assert re.search(r"-[0-9a-f]{8}$", name)
    assert name[:-9] == begin
    assert folder_name([*texts[:-1], texts[-1] + "0"]) != name


def test_names_of_jobs_distinguish_keys_of_the_whole_sweep() -> None:
    jobs = [["user_tower.dropout=0.2"], ["item_tower.dropout=0.2"], ["loss=bce"], ["loss=bce"]]
    assert job_names(jobs) == ["user_tower.dropout.2", "item_tower.dropout.2", "bce", "bce"]


def test_jobs_with_equal_or_long_words_end_with_a_hash() -> None:
    jobs = [
        ["embedding_dim=32", "loss=in_batch_softmax", "index=flat_ip", "seed=1"],
        ["embedding_dim=32", "loss=bce", "index=flat_ip", "seed=1"],
        ["embedding_dim=64", "loss='bce'"],
        ["embedding_dim=64", "loss=bce"],
    ]
    long, short, *equal = job_names(jobs)
    assert re.fullmatch(r"dim32,flat_ip,seed1-[0-9a-f]{8}", long)
    assert short == "dim32,bce,flat_ip,seed1"
    assert all(re.fullmatch(r"dim64,bce-[0-9a-f]{8}", name) for name in equal)
    assert equal[0] != equal[1]


def test_a_removal_and_a_job_without_overrides_have_names() -> None:
    assert job_names([(), ["~baselines.ease"], ["~features.item.price", "seed=1"]]) == [
        "unchanged",
        "no_ease",
        "no_price,seed1",
    ]


def test_a_trial_is_named_by_its_number_and_whole_words() -> None:
    tried = ["embedding_dim=128", "optimizer.learning_rate=0.0107345", "index=ivf_sq"]
    assert trial_name(12, tried) == "0012_dim128_lr.0107_ivf_sq"
    assert trial_name(3, [*tried, "loss=in_batch_softmax"]) == "0003_dim128_lr.0107_ivf_sq"
    assert folder_name(tried) == "dim128,lr.0107345,ivf_sq"


def test_ambiguous_short_keys_get_as_few_parts_as_needed() -> None:
    keys = ["features.item.item_id.dropout", "history.dropout", "optimizer.learning_rate", "a.b.power"]
    assert list(short_keys(keys).values()) == ["item_id.dropout", "history.dropout", "lr", "power"]
    assert list(short_keys(["a.x.rate", "b.x.rate"]).values()) == ["a.x.rate", "b.x.rate"]


THEN = "2026-11-26_04-36-23-123456"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (f"dim128,lr.01_{THEN}", "dim128,lr.01"),
        (THEN, ""),
        (f"seed7_{THEN}", ""),
        ("bce,uniform,flat_ip,seed1-1a2b3c4d", "bce,uniform,flat_ip"),
        ("dim32,seed2", "dim32"),
        ("0012_dim128_lr.0107", "0012_dim128_lr.0107"),
        ("widths[256,128],dim128,temp1.0,wd.01", "widths[256,128],dim128"),
    ],
)
def test_the_label_of_a_run_has_no_time_hash_or_seed(name: str, label: str) -> None:
    assert run_label(name) == label


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("a/embedding_dim=32,seed=11", "a/embedding_dim=32"),
        ("embedding_dim=32/seed=1", "embedding_dim=32"),
        ("data.seed=3,x=1", "data.seed=3,x=1"),
        ("seed1,dim32", "dim32"),
        ("dim32/seed1", "dim32"),
        ("bce,seed-1-1a2b3c4d", "bce"),
        ("bce-1a2b3c4d", "bce-1a2b3c4d"),
        ("seed1", ""),
    ],
)
def test_the_name_of_a_configuration_has_no_seed(name: str, without: str) -> None:
    assert without_seed(name) == without
