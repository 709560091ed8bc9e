import numpy as np
import pytest
import tiny_bundle

from twotower.bundle.read import gather_history_vectors
from twotower.config.errors import InputError
from twotower.serving import retriever as retriever_module
from twotower.serving import user_profiles
from twotower.serving.browser import Browser
from twotower.serving.requests import UnknownUser
from twotower.serving.retriever import Retriever

NOW = tiny_bundle.NOW
PROFILE = {"country": "FR", "age": 64.0, "likes": ["books"]}
USER_01 = {"country": None, "age": 20.0, "likes": ["tea", "books"], "city": "Bonn"}


@pytest.fixture
def retriever(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items="tower", profiles=True)
    return Retriever.open(tmp_path / "bundle")


def scores(found):
    return pytest.approx({each.item_id: each.score for each in found}, abs=1e-6)


def found(retriever, user, **moment):
    asked = {"k": 60, "exclude_seen": False} | moment
    return {each.item_id: each.score for each in retriever.recommend(user, **asked)}


def stored(retriever, user):
    return {name: value for name, value in retriever.user(user)["features"].items() if name != "city"}


def test_what_a_request_gives_goes_before_what_is_stored_column_by_column(retriever):
    before = found(retriever, "user-01")
    own = stored(retriever, "user-01")
    other = "FR" if own["country"] != "FR" else "DE"
    for column, value in {"country": other, "age": 90.0, "likes": ["books"]}.items():
        moment = found(retriever, "user-01", features={column: value})
        assert moment != pytest.approx(before, abs=1e-4)
        assert moment == pytest.approx(found(retriever, "user-01", features={**own, column: value}), abs=1e-6)
        assert found(retriever, "user-01", features={column: own[column]}) == pytest.approx(before, abs=1e-6)
    assert found(retriever, "user-01") == before  # nothing was stored


def test_none_is_unknown_whatever_is_stored(retriever):
    nothing = dict.fromkeys(PROFILE)
    retriever.put_user("user-01", {})
    unknown = found(retriever, "user-01")
    retriever.forget_user("user-01")
    assert found(retriever, "user-01") != pytest.approx(unknown, abs=1e-4)
    assert found(retriever, "user-01", features=nothing) == pytest.approx(unknown, abs=1e-6)


def test_the_id_stays_the_user_s(retriever):
    """Two users of the same profile and history differ by their embedded ids alone."""
    moment = {"features": PROFILE, "exclude_seen": False, "k": 60}
    retriever.put_user("stranger", {})
    asked = [retriever.recommend(user, **moment) for user in ("user-12", "stranger")]
    named = [{each.item_id: each.score for each in each_found} for each_found in asked]
    nobody = retriever.recommend_new(PROFILE, k=60)
    assert named[1] == scores(nobody)
    assert named[0] != scores(nobody)


def test_the_session_is_what_events_would_be_and_is_not_stored(retriever):
    before = retriever.history("user-02")
    session = ["item-040", "item-041"]
    given = retriever.recommend("user-02", 60, history=session, history_times=[NOW + 5, NOW + 86_400])
    assert not set(session) & {each.item_id for each in given}  # seen
    assert retriever.history("user-02") == before
    retriever.add_event("user-02", "item-040", NOW + 5)
    retriever.add_event("user-02", "item-041", NOW + 86_400)
    assert {each.item_id: each.score for each in given} == scores(retriever.recommend("user-02", 60))


def test_the_session_is_of_the_request_s_time_unless_it_says_otherwise(retriever):
    asked = {"k": 60, "history": ["item-040", "item-041"], "request_time": NOW + 9}
    untimed = retriever.recommend("user-01", **asked)
    assert untimed == retriever.recommend("user-01", **asked, history_times=[NOW + 9, NOW + 9])


def test_the_session_comes_after_what_is_stored_whatever_its_times(retriever, monkeypatch):
    """Five positions: of user-03, who has items 4 to 12, the towers see 10, 11, 12 and the session."""
    seen, embed = [], retriever_module.embed_users
    monkeypatch.setattr(retriever_module, "embed_users", lambda *given: seen.append(given) or embed(*given))
    moment = {"history": ["item-050", "item-051"], "history_times": [100_000_000, 100_000_001]}
    retriever.recommend("user-03", **moment)
    ((_, _, (vectors, positions, times, _), now),) = seen
    bundle = retriever.bundle
    expected, _ = gather_history_vectors(bundle.model, np.array([[10, 11, 12, 50, 51]]), bundle.tower_outputs)
    np.testing.assert_array_equal(vectors, expected)
    assert positions.tolist() == [[1, 2, 3, 4, 5]]
    last = NOW - 100_000 + 3 + 6 + 9 - 1
    assert times.tolist() == [[last - 2, last - 1, last, 100_000_000, 100_000_001]]
    assert now.tolist() == [NOW]


def test_a_profile_takes_the_place_of_the_one_before_whole(retriever):
    own, before = retriever.user("user-01"), found(retriever, "user-01")
    assert (own["known"], own["live"]) == (True, False)
    assert {**own["features"], "country": None} == USER_01
    assert retriever.put_user("user-01", PROFILE) is True
    assert found(retriever, "user-01") == pytest.approx(
        found(retriever, "user-01", features=PROFILE), abs=1e-6
    )
    assert retriever.put_user("user-01", {"age": 64.0, "city": "Oslo"}) is False
    assert retriever.user("user-01") == {
        "user_id": "user-01",
        "known": True,
        "live": True,
        "features": {"age": 64.0, "city": "Oslo", "country": None, "likes": None},
    }
    shown = Browser(retriever).user("user-01")
    assert shown["features"] == {"age": 64.0, "city": "Oslo"}
    moment = found(retriever, "user-01", features={"age": 64.0, "country": None, "likes": None})
    assert found(retriever, "user-01") == pytest.approx(moment, abs=1e-6)
    only_age = found(retriever, "user-01", features={"age": 20.0})  # over the live profile, not the bundle's
    assert only_age != pytest.approx(before, abs=1e-4)
    retriever.forget_user("user-01")
    assert retriever.user("user-01") == own
    assert found(retriever, "user-01") == before


def test_a_profile_makes_a_user_known_until_it_is_forgotten(retriever):
    with pytest.raises(UnknownUser):
        retriever.user("late")
    assert retriever.put_user("late", PROFILE) is True
    assert retriever.user_ids[-1] == "late"
    assert retriever.history("late") == []
    assert retriever.user("late")["known"] is False
    assert retriever.recommend("late", 60) == retriever.recommend_new(PROFILE, k=60)
    assert [each["user_id"] for each in Browser(retriever).users("la", 5)] == ["late"]
    retriever.forget_user("late")
    for call in (retriever.recommend, retriever.user, retriever.forget_user):
        with pytest.raises(UnknownUser, match="'late'"):
            call("late")
    assert len(retriever.user_ids) == tiny_bundle.NUM_USERS
    retriever.add_event("late", "item-001", NOW)
    retriever.put_user("late", PROFILE)
    assert len(retriever.user_ids) == tiny_bundle.NUM_USERS + 1
    retriever.forget_user("late")
    assert retriever.history("late") == ["item-001"]  # an event knows the user
    assert retriever.user("late")["features"] == {}


@pytest.mark.parametrize(
    ("user_id", "features", "part"),
    [
        (5, PROFILE, "user_id: user ids of this bundle are text"),
        ("", PROFILE, "user_id"),
        ("user-01", {"aeg": 3.0}, "features: 'aeg' is not a feature of this model; did you mean 'age'?"),
        ("user-01", {"user_id": "user-02"}, "'user_id' is not a feature"),
        ("user-01", {"request_time": NOW}, "'request_time' is not a feature"),
        ("user-01", {"age": "old"}, "features: column 'age'"),
        ("user-01", {"city": 3}, "column 'city' holds text"),
        ("user-01", ["age"], "features: expected column: value"),
        ("user-01", {"age": 2**70}, "64 bits"),
    ],
)
def test_a_wrong_profile_changes_nothing(retriever, user_id, features, part):
    before = found(retriever, "user-01")
    with pytest.raises(InputError, match=part):
        retriever.put_user(user_id, features)
    if user_id == "user-01" and "city" not in features:
        with pytest.raises(InputError, match=part):
            retriever.recommend("user-01", features=features)
    assert found(retriever, "user-01") == before
    assert len(retriever.user_ids) == tiny_bundle.NUM_USERS


def test_what_no_feature_reads_is_stored_but_no_part_of_a_request(retriever):
    retriever.put_user("user-01", {**PROFILE, "city": "Oslo"})
    with pytest.raises(InputError, match="features: 'city' is not a feature of this model"):
        retriever.recommend("user-01", features={"city": "Oslo"})


def test_a_profile_without_finite_scores_is_refused(retriever, monkeypatch):
    embed = user_profiles.embed_users
    for value in (float("nan"), float("inf"), 3e38, 1e15):
        broken = lambda *given, value=value: np.full_like(embed(*given), value)  # noqa: E731
        monkeypatch.setattr(user_profiles, "embed_users", broken)
        with pytest.raises(InputError, match="features: the embedding of user 'late' is not finite"):
            retriever.put_user("late", PROFILE)
    assert len(retriever.user_ids) == tiny_bundle.NUM_USERS
