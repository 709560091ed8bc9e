"""A request's context and the words of events, against the towers asked by hand."""

from contextlib import closing

import pytest
import tiny_bundle
import torch

from twotower.config.errors import InputError
from twotower.model.towers.user_batch import UserBatch
from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import EventAdded
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever

NOW = tiny_bundle.NOW
DESK = {"device": "desk", "hour": 20.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, vectors = tiny_bundle.write(folder / "bundle", told=True, history_items="tower")
    return folder, model, vectors


@pytest.fixture
def retriever(run):
    return Retriever.open(run[0] / "bundle")


def by_hand(run, user, context, *, items=(), codes=(), **features):
    """Scores of all items for a user whose stored history is followed by items, as the towers say."""
    _, model, vectors = run
    log = tiny_bundle.history(told=True)
    had = slice(*log.offsets[user : user + 2])
    rows = [*log.items[had], *items][-tiny_bundle.LENGTH :]
    events = [*log.events[had], *codes][-tiny_bundle.LENGTH :]
    encoded = model.users.gather(torch.tensor([user])) | model.contexts.encode([context])
    if features:
        encoded |= model.users.encode([features])
    with torch.inference_mode():
        asked = torch.tensor([rows]), torch.zeros(1, len(rows), dtype=torch.int64), torch.tensor([NOW])
        vector = model.encode_users(UserBatch.from_features(encoded, *asked, torch.tensor([events]).long()))
    return dict(zip(map(name, range(1, 61)), (vectors @ vector[0].numpy()).tolist(), strict=True))


def name(row):
    return tiny_bundle.item_id(row, text=True)


def scores(found):
    return {each.item_id: each.score for each in found}


@pytest.mark.parametrize("context", [{}, DESK, {"device": "phone", "hour": 8}, {"device": None}, {"hour": 3}])
def test_the_context_counts_as_it_does_in_training(run, retriever, context):
    request = Request("user-03", k=60, exclude_seen=False, context=context, request_time=NOW)
    (found,) = retriever.answer([request])
    assert scores(found) == pytest.approx(by_hand(run, 3, context), abs=1e-5)


def test_requests_of_several_contexts_and_profiles_are_answered_together(run, retriever):
    asked = [("user-03", DESK), ("user-04", {}), ("user-04", {"device": "phone"}), ("user-03", {"hour": 1.0})]
    override = {"country": "FR"}
    found = retriever.answer(
        [
            Request(user, override, k=60, exclude_seen=False, context=context, request_time=NOW)
            for user, context in asked
        ]
    )
    for (user, context), each in zip(asked, found, strict=True):
        expected = by_hand(run, int(user[-2:]), context, **override)
        assert scores(each) == pytest.approx(expected, abs=1e-5)


def test_a_user_without_an_id_has_a_context_too(retriever):
    plain, desk = (
        scores(retriever.recommend_new({"country": "DE"}, ["item-001"], 60, context=context))
        for context in ({}, DESK)
    )
    assert max(abs(plain[item] - desk[item]) for item in desk) > 1e-3
    assert desk == scores(retriever.recommend_new({"country": "DE"}, ["item-001"], 60, context=DESK))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"devise": "phone"}, r"context: 'devise' is not a feature of this model; did you mean 'device'\?"),
        ({"country": "DE"}, "context: 'country' is not a feature of this model; .*valid: device, hour"),
        ({"hour": "noon"}, "context.*column 'hour'.*expected a finite number, found 'noon'"),
        ({"hour": 10**30}, "context: column 'hour': expected whole numbers of 64 bits"),
        (["desk"], "context: expected column: value pairs"),
    ],
)
def test_a_context_that_cannot_be_is_refused(retriever, context, message):
    right, wrong = retriever.answer([Request("user-03"), Request("user-03", context=context)])
    assert len(right) == 10
    with pytest.raises(InputError, match=message):
        raise wrong


def test_a_bundle_without_contexts_says_so(tmp_path):
    tiny_bundle.write(tmp_path / "bundle")
    retriever = Retriever.open(tmp_path / "bundle")
    with pytest.raises(
        InputError, match="context: 'device' is not a feature of this model; none are valid here"
    ):
        retriever.recommend("user-01", context={"device": "phone"})
    with pytest.raises(InputError, match="event: this bundle has no event types, got 'buy'"):
        retriever.add_event("user-01", "item-040", NOW, "buy")


def test_a_word_says_what_becomes_of_an_event(run, retriever):
    for item, word in (("item-040", "buy"), ("item-041", "view"), ("item-042", "skip"), ("item-043", "ping")):
        retriever.add_event("user-03", item, NOW, word)
    retriever.add_event("user-03", "item-044", NOW, "rate")  # of the configuration, and never in the data
    retriever.add_event("user-03", "item-045", NOW)
    assert retriever.history("user-03")[-4:] == ["item-040", "item-041", "item-044", "item-045"]
    request = Request("user-03", k=60, exclude_seen=False, request_time=NOW)
    expected = by_hand(run, 3, {}, items=[40, 41, 44, 45], codes=[1, 3, 0, 0])
    assert scores(retriever.answer_one(request)) == pytest.approx(expected, abs=1e-5)
    offered = scores(retriever.recommend("user-03", 60)).keys()
    log = tiny_bundle.history(told=True)
    had = slice(*log.offsets[3:5])
    bought = {name(row) for row in log.items[had][log.is_positive[had]]}
    looked = {name(row) for row in log.items[had]} - bought
    assert offered == {name(row) for row in range(1, 61)} - bought - {"item-040", "item-044", "item-045"}
    assert looked <= offered  # what was only looked at may be recommended
    with pytest.raises(
        InputError, match=r"event: 'by' is not an event type of this bundle; did you mean 'buy'\?"
    ):
        retriever.add_event("user-03", "item-040", NOW, "by")


def test_the_words_of_a_session_count(run, retriever):
    session = ["item-040", "item-041", "item-042", "item-043", "item-044"]
    given = {"history": session, "history_events": ["buy", "view", "skip", "ping", None], "request_time": NOW}
    found = retriever.answer_one(Request("user-03", k=60, exclude_seen=False, **given))
    expected = by_hand(run, 3, {}, items=[40, 41, 44], codes=[1, 3, 0])
    assert scores(found) == pytest.approx(expected, abs=1e-5)
    offered = scores(retriever.recommend_new({}, k=60, **given))
    assert {"item-041", "item-042", "item-043"} <= offered.keys()
    assert not {"item-040", "item-044"} & offered.keys()
    for wrong, message in (
        (["buy"], "history_events: expected 5 event types, one per item of history, got 1"),
        (["by"] * 5, r"history_events: 'by' is not an event type of this bundle; did you mean 'buy'\?"),
        ("buy", "history_events: expected a list of event types"),
    ):
        with pytest.raises(InputError, match=message):
            retriever.recommend_new({}, **given | {"history_events": wrong})


def test_two_words_at_one_second_are_two_events_and_one_word_is_one(run):
    retriever = Retriever.open(run[0] / "bundle")
    for word in ("view", "buy", "view", None, "buy"):
        retriever.add_event("late", "item-007", NOW, word)
    assert retriever.history("late") == ["item-007"] * 2
    log = tiny_bundle.history(told=True)
    first = int(log.offsets[1])
    row, time = int(log.items[first]), int(log.times[first])
    retriever.add_event("user-01", name(row), time, "view")  # the bundle's own
    retriever.add_event("user-01", name(row), time)
    assert len(retriever.history("user-01")) == 3
    retriever.add_event("user-01", name(row), time, "buy")
    assert len(retriever.history("user-01")) == 4


def test_words_are_stored_with_events_and_come_back(run, tmp_path):
    store, folder = tmp_path / "live.db", run[0]
    with closing(LiveService(folder, folder / "bundle", store)) as service:
        kept = [EventAdded("user-03", "item-040", NOW, word) for word in ("buy", "view", "skip", None)]
        assert [service.write(each) for each in kept] == [1, 1, 1, 1]
        assert service.write(EventAdded("user-03", "item-041", NOW, "ping")) == 0
        assert service.write(EventAdded("new", "item-041", NOW)) == 1
        for event, time in (("by", NOW), ("ping", 0)):
            with pytest.raises(InputError):
                service.write(EventAdded("user-03", "item-040", time, event))
        before = service.retriever.answer_one(Request("user-03", k=60, context=DESK))
        history = service.retriever.history("user-03")
    assert history[-2:] == ["item-040"] * 2
    with closing(LiveService(folder, folder / "bundle", store)) as service:
        assert service.num_quarantined == 0
        assert service.retriever.history("user-03") == history
        after = service.retriever.answer_one(Request("user-03", k=60, context=DESK))
        assert scores(after) == pytest.approx(scores(before), abs=1e-5)
    with closing(ChangeStore(store)) as opened:
        assert list(opened.changes()) == [*kept, EventAdded("new", "item-041", NOW)]
