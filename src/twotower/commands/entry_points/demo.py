"""Show the life of a model on the bundled data: train, index, check, recommend, take in a new item.

  twotower demo                     about a minute of training, then recommendations of the bundle
  twotower demo embedding_dim=32    with other settings of `twotower train`
The run goes to outputs/demo/.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twotower.jobs.run_config import RunConfig
    from twotower.serving.live_items import Recommendation, UserId
    from twotower.serving.retriever import Retriever

NEW_ID = "NEW-1"
DESCRIPTION = "LUNCH BAG PINK RETROSPOT"
NEW_ITEM = {"description": DESCRIPTION, "price": 1.65}


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
    print("\n--- next")
    folder = shlex.quote(str(run))
    print(f"  serve it, with a page        twotower serve bundle={folder}")
    print(f"  look at the run              tensorboard --logdir {Path(config.output_root)}")
    print("  change something             twotower train embedding_dim=128 loss.temperature=0.1")
    print(f"  another index, no training   twotower reindex run={folder} index=ivf_flat")
    print("  your own data                twotower init log.csv --name shop")
    return DONE


def _show_bundle(retriever: "Retriever") -> None:
    """Print recommendations for a known and a new user, and of a new item."""
    import random

    known = [each for each in retriever.user_ids if len(retriever.history(each)) >= 5]
    user = random.Random(0).choice(known)
    print(f"\n--- a known user, drawn at random: {user}, whose latest items are")
    _print_items(retriever, retriever.history(user)[-5:])
    print("  is recommended (score, the dot product of two embeddings)")
    _print_ranking(retriever.recommend(user, k=5))

    words = {
        item: set(re.findall("[A-Z]{3,}", (retriever.label(item) or "").upper()))
        for item in retriever.item_ids
    }
    basket = [item for item in retriever.item_ids if {"CHRISTMAS", "DECORATION"} <= words[item]][:3]
    print("\n--- a brand-new user from Germany, with these items in the basket")
    _print_items(retriever, basket)
    print("  is recommended")
    _print_ranking(retriever.recommend_new({"country": "Germany"}, basket, k=5))
    print("\n--- items similar to the first of them")
    _print_ranking(retriever.similar(basket[0], k=5))

    suitable = {item for item, found in words.items() if len(found & set(DESCRIPTION.split())) >= 2}

    def share(user: "UserId") -> tuple[float, int]:
        history = retriever.history(user)
        number = len(suitable.intersection(history))
        return (number / len(history), number) if number >= 3 else (0.0, 0)

    user = max(sorted(retriever.user_ids, key=str), key=share)
    print(f"\n--- a brand-new item: {DESCRIPTION!r} at {NEW_ITEM['price']}, never sold to anybody")
    print(f"  shown to user {user}, who of all users has the largest share of items with two of its words:")
    _print_items(retriever, [item for item in retriever.history(user) if item in suitable][-5:])
    print(f"  before it is added  {_rank(retriever.recommend(user, retriever.num_items))}")
    retriever.add_item(NEW_ID, NEW_ITEM)
    print(f"  once it is added    {_rank(retriever.recommend(user, retriever.num_items))}")
    _print_ranking(retriever.recommend(user, k=5))


def _rank(ranking: Sequence["Recommendation"]) -> str:
    ids = [each.item_id for each in ranking]
    return f"rank {ids.index(NEW_ID) + 1} of {len(ids):,}" if NEW_ID in ids else "not found"


def _print_items(retriever: "Retriever", items: Iterable[int | str]) -> None:
    for item in items:
        print(f"    {item!s:>8}  {retriever.label(item)}")


def _print_ranking(ranking: Sequence["Recommendation"]) -> None:
    for rank, each in enumerate(ranking, start=1):
        print(f"  {rank:>2}  {each.item_id!s:>8}  {each.score:6.2f}  {each.label}")
