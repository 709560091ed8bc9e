"""Show the life of a model on the bundled data: train, index, check, recommend, take in a new item.

  twotower demo                     about a minute of training, then recommendations of the bundle
  twotower demo embedding_dim=32    with other settings of `twotower train`
The run goes to outputs/demo/.
"""

import random
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twotower.jobs.run_config import RunConfig
    from twotower.serving.live_items import Recommendation
    from twotower.serving.retriever import Retriever

NEW_ID, NEW_ITEM = "NEW-1", {"description": "LUNCH BAG PINK RETROSPOT", "price": 1.65}


def task(config: "RunConfig", overrides: Sequence[str]) -> int:
    """Train, then show the bundle."""
    from twotower.config.errors import InputError
    from twotower.config.exits import DONE, stoppable
    from twotower.data.sources.online_retail import OnlineRetail
    from twotower.jobs.train_run import train_in_new_folder

    if not isinstance(config.data, OnlineRetail.Config):
        raise InputError(
            "data: twotower demo shows items of the bundled shop; for other data, type: "
            f"{shlex.join(['twotower', 'train', *overrides])}"
        )
    run, status = train_in_new_folder(config)
    if status != DONE:
        return status
    from twotower.serving.retriever import Retriever

    with stoppable(lambda: f"the run is in {run}"):
        _show_bundle(Retriever.open(run / "bundle"))
    folder = shlex.quote(str(run))
    print(f"""
--- next
  serve it, with a page        twotower serve bundle={folder}
  look at the run              tensorboard --logdir {Path(config.output_root)}
  change something             twotower train embedding_dim=128 loss.temperature=0.1
  another index, no training   twotower reindex run={folder} index=ivf_flat
  your own data                twotower init log.csv --name shop""")
    return DONE


def _show_bundle(bundle: "Retriever") -> None:
    """Print recommendations for a known and a new user, and of a new item."""

    def print_items(items: Iterable[int | str]) -> None:
        for item in items:
            print(f"    {item!s:>8}  {bundle.label(item)}")

    def print_ranking(ranking: Sequence["Recommendation"]) -> None:
        for rank, each in enumerate(ranking, start=1):
            print(f"  {rank:>2}  {each.item_id!s:>8}  {each.score:6.2f}  {each.label}")

    def items_with(num_words: int, text: str) -> list[int | str]:
        words = set(text.split())
        labels = {item: set((bundle.label(item) or "").split()) for item in bundle.item_ids}
        return [item for item, label in labels.items() if len(label & words) >= num_words]

    histories = {user: bundle.history(user) for user in sorted(bundle.user_ids, key=str)}
    user = random.Random(0).choice([user for user in bundle.user_ids if len(histories[user]) >= 5])
    print(f"\n--- a known user, drawn at random: {user}, whose latest items are")
    print_items(histories[user][-5:])
    print("  is recommended (score, the dot product of two embeddings)")
    print_ranking(bundle.recommend(user, k=5))

    basket = items_with(2, "CHRISTMAS DECORATION")[:3]
    print("\n--- a brand-new user from Germany, with these items in the basket")
    print_items(basket)
    print("  is recommended")
    print_ranking(bundle.recommend_new({"country": "Germany"}, basket, k=5))
    print("\n--- items similar to the first of them")
    print_ranking(bundle.similar(basket[0], k=5))

    similar = set(items_with(2, str(NEW_ITEM["description"])))
    counts = {user: len(similar.intersection(history)) for user, history in histories.items()}
    users = [user for user, count in counts.items() if count >= 3]
    user = max(users, key=lambda user: (counts[user] / len(histories[user]), counts[user]))
    print(
        f"\n--- a brand-new item: {NEW_ITEM['description']!r} at {NEW_ITEM['price']}, never sold to anybody"
    )
    print(f"  shown to user {user}, who of all users has the largest share of items with two of its words:")
    print_items([item for item in histories[user] if item in similar][-5:])
    bundle.add_item(NEW_ID, NEW_ITEM)
    ids = [each.item_id for each in bundle.recommend(user, bundle.num_items)]
    rank = f"rank {ids.index(NEW_ID) + 1} of {len(ids):,}" if NEW_ID in ids else "not found"
    print(f"  once it is added    {rank}")
    print_ranking(bundle.recommend(user, k=5))
