import pytest
import tiny_bundle

from twotower.config.errors import InputError
from twotower.serving.retriever import Retriever


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests") / "bundle"
    tiny_bundle.write(folder)
    opened = Retriever.open(folder)
    opened.remove_item("item-060")
    return opened


NOW = tiny_bundle.NOW
WRONG = {
    "user unknown": (lambda r: r.recommend("nobody"), ["'nobody'", "recommend_new"]),
    "user of another type": (lambda r: r.recommend(3), ["user 3", "int", "text"]),
    "user unhashable": (lambda r: r.recommend(["user-01"]), ["list", "text"]),
    "history of nobody": (lambda r: r.history("nobody"), ["'nobody'"]),
    "k zero": (lambda r: r.recommend("user-01", 0), ["k:", "1 or more", "0"]),
    "k a fraction": (lambda r: r.recommend_new(k=1.5), ["k:", "1.5"]),
    "k true": (lambda r: r.similar("item-001", True), ["k:", "True"]),
    "allow unknown": (lambda r: r.recommend("user-01", allow=["item-001", "x"]), ["allow: item 'x'"]),
    "allow of another type": (lambda r: r.recommend("user-01", allow=[5]), ["allow: item 5", "int", "text"]),
    "allow removed": (lambda r: r.recommend("user-01", allow=["item-060"]), ["'item-060'", "was removed"]),
    "allow one text": (lambda r: r.recommend("user-01", allow="item-001"), ["allow:", "['item-001']"]),
    "deny one text": (lambda r: r.recommend("user-01", deny="item-001"), ["deny:", "list"]),
    "history unknown": (lambda r: r.recommend_new(history=["x"]), ["history: item 'x'"]),
    "history one text": (lambda r: r.recommend_new(history="item-001"), ["history:", "list"]),
    "history too short": (
        lambda r: r.recommend_new(history=["item-001"], history_times=[NOW, NOW]),
        ["history_times", "1 times", "got 2"],
    ),
    "history out of order": (
        lambda r: r.recommend_new(history=["item-001"] * 2, history_times=[NOW, NOW - 1]),
        ["history_times", "oldest first"],
    ),
    "time in milliseconds": (
        lambda r: r.recommend("user-01", request_time=NOW * 1000),
        ["request_time", "unix"],
    ),
    "time as text": (lambda r: r.recommend_new(request_time="now"), ["request_time", "'now'"]),
    "feature misspelt": (lambda r: r.recommend_new({"contry": "DE"}), ["'contry'", "did you mean 'country'"]),
    "feature of the id": (lambda r: r.add_item("new", {"item_id": "new"}), ["'item_id'", "price"]),
    "feature of another type": (lambda r: r.add_item("new", {"price": "cheap"}), ["'price'", "'cheap'"]),
    "similar to nothing": (lambda r: r.similar("x"), ["'x'", "59 items"]),
    "similar to a removed one": (lambda r: r.similar("item-060"), ["was removed"]),
    "label of nothing": (lambda r: r.label("x"), ["'x'"]),
    "added twice": (lambda r: r.add_item("item-001", {}), ["'item-001'", "already"]),
    "added of another type": (lambda r: r.add_item(5, {}), ["text", "5"]),
    "added without a name": (lambda r: r.add_item("", {}), ["1 to 256"]),
    "removed unknown": (lambda r: r.remove_item("x"), ["'x'"]),
    "removed twice": (lambda r: r.remove_item("item-060"), ["was removed"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_says_what_to_do(retriever, case):
    call, parts = WRONG[case]
    with pytest.raises(InputError) as caught:
        call(retriever)
    for part in parts:
        assert part in str(caught.value)
    assert retriever.num_items == 59


def test_deny_ignores_what_is_unknown(retriever):
    found = retriever.recommend("user-01", 60, deny=["x", 5, None, "item-060", "item-010"])
    assert len(found) == 59 - 3 - 1


def test_a_removed_item_may_be_in_a_history(retriever):
    assert len(retriever.recommend_new(history=["item-060", "item-001"], k=60)) == 58


@pytest.mark.parametrize("item_id", [2**63, -(2**70), True, 1.0, "7"])
def test_an_id_that_is_no_whole_number_of_64_bits_is_refused(tmp_path, item_id):
    tiny_bundle.write(tmp_path / "bundle", text=False)
    retriever = Retriever.open(tmp_path / "bundle")
    with pytest.raises(InputError, match="64 bits"):
        retriever.add_item(item_id, {})
    with pytest.raises(InputError, match="allow: item"):
        retriever.recommend(1, allow=[item_id])
    assert len(retriever.recommend(1, deny=[item_id])) == 10
