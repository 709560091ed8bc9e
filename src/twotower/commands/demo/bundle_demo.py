"""Demo of a trained bundle: a known user, a new user, and a new item."""

import random
import re
from pathlib import Path

from twotower.runs.run_files import newest_run
from twotower.serving.live_items import ItemId, Recommendation, UserId
from twotower.serving.retriever import Retriever

NEW_ID = "NEW-1"
NEW_ITEM = {"description": "LUNCH BAG PINK RETROSPOT", "price": 1.65}
NUM_RANDOM = 300


def _words(text: str | None) -> set[str]:
    return set(re.findall(r"[A-Z]{3,}", (text or "").upper()))


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n--- {text}")


def _show_items(retriever: Retriever, items: list[ItemId]) -> None:
    for item in items:
        print(f"    {item!s:>8}  {retriever.label(item)}")


def _show(found: list[Recommendation]) -> None:
    for place, each in enumerate(found, start=1):
        print(f"  {place:>2}  {each.item_id!s:>8}  {each.score:6.2f}  {each.label}")


def _known_user(retriever: Retriever, rng: random.Random) -> None:
    user = rng.choice([each for each in retriever.user_ids if len(retriever.history(each)) >= 5])
    title(f"a known user, drawn at random: {user}, whose latest items are")
    _show_items(retriever, retriever.history(user)[-5:])
    print("  is recommended (score, the dot product of two embeddings)")
    _show(retriever.recommend(user, k=5))


def _new_user(retriever: Retriever) -> None:
    wanted = {"CHRISTMAS", "DECORATION"}
    history = [item for item in retriever.item_ids if wanted <= _words(retriever.label(item))][:3]
    title("a brand-new user from Germany, with these items in the basket")
    _show_items(retriever, history)
    print("  is recommended")
    _show(retriever.recommend_new({"country": "Germany"}, history, k=5))
    title("items similar to the first of them")
    _show(retriever.similar(history[0], k=5))


def fitting_items(retriever: Retriever) -> set[ItemId]:
    """Return the items that share two words with the new one, chosen without the model."""
    named = _words(str(NEW_ITEM["description"]))
    return {item for item in retriever.item_ids if len(_words(retriever.label(item)) & named) >= 2}


def fitting_users(retriever: Retriever, fits: set[ItemId]) -> list[UserId]:
    """Return the users who have at least three of these items, the largest share of a history first."""
    histories = {user: retriever.history(user) for user in retriever.user_ids}
    counts = {user: len(fits.intersection(history)) for user, history in histories.items()}
    fitting = [user for user, count in counts.items() if count >= 3]
    return sorted(fitting, key=lambda user: (-counts[user] / len(histories[user]), -counts[user], str(user)))


def _rank_text(retriever: Retriever, user: UserId) -> str:
    found = [each.item_id for each in retriever.recommend(user, k=retriever.num_items)]
    return f"rank {found.index(NEW_ID) + 1} of {len(found):,}" if NEW_ID in found else "not found"


def _share(retriever: Retriever, users: list[UserId], k: int) -> float:
    return sum(NEW_ID in {e.item_id for e in retriever.recommend(u, k)} for u in users) / len(users)


def _new_item(retriever: Retriever, rng: random.Random) -> None:
    fits = fitting_items(retriever)
    users = fitting_users(retriever, fits)
    user = users[0]
    others = sorted(set(retriever.user_ids) - set(users), key=str)
    title(f"a brand-new item: {NEW_ITEM['description']!r} at {NEW_ITEM['price']}, never sold to anybody")
    print(f"  shown to user {user}, who of all users has the largest share of items with two of its words:")
    _show_items(retriever, [item for item in retriever.history(user) if item in fits][-5:])
    print(f"  before it is added  {_rank_text(retriever, user)}")
    retriever.add_item(NEW_ID, NEW_ITEM)
    print(f"  once it is added    {_rank_text(retriever, user)}")
    _show(retriever.recommend(user, k=5))
    print("  it is in the top 20 / top 100 of")
    for name, group in (
        (f"all {len(users)} users who have three such items", users),
        (f"{NUM_RANDOM} other users, drawn at random", rng.sample(others, min(NUM_RANDOM, len(others)))),
    ):
        print(f"    {_share(retriever, group, 20):6.1%} / {_share(retriever, group, 100):6.1%}  of {name}")
    chance = 20 / retriever.num_items, 100 / retriever.num_items
    print(f"    {chance[0]:6.1%} / {chance[1]:6.1%}  by chance")
    retriever.remove_item(NEW_ID)
    print(f"  once it is removed  {_rank_text(retriever, user)}")


def life(folder: Path) -> None:
    """Show recommendations of the bundle of the newest run in a folder."""
    retriever = Retriever.open(newest_run(folder, with_bundle=True) / "bundle")
    rng = random.Random(0)
    _known_user(retriever, rng)
    _new_user(retriever)
    _new_item(retriever, rng)
