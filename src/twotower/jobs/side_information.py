"""What a run reads besides the pairs of users and items."""

from twotower.data.sources.item_lists import ItemLists
from twotower.data.sources.source import NEEDS_TIMES
from twotower.data.tables import ITEM_ID, USER_ID
from twotower.jobs.run_config import RunConfig
from twotower.training.objectives.next_item import NextItem
from twotower.training.training_config import TrainingConfig

WITHOUT_TIMES = ItemLists.Config(pairs=True, ordered=True)


def side_information(config: RunConfig) -> dict[str, list[str]]:
    """Return kind of information -> keys of the settings that read it; kinds that nothing reads are left out.

    The kinds are `order` (of the interactions of a user), `times` (of interactions), `request_times`, and
    `user_features`, `item_features` and `context`, other than ids. Features that no tower reads do not count,
    nor do the split and the baselines.
    """
    read, in_user = config.read_features(), config.user_tower.reads(config.block_names()["user_tower"])
    history = ["history"] if config.history.block_dims(1).keys() & in_user else []
    order = list(history)
    if isinstance(config.objective, NextItem.Config) and config.objective.recency_half_life_share:
        order.append("objective.recency_half_life_share")
    of_requests = [key for key, feature in read.items() if feature.describes_request]
    ids = [key for key, feature in read.items() if feature.column in (USER_ID, ITEM_ID)]
    described = [key for key in read if key not in (*of_requests, *ids)]
    kinds = {
        "order": order if getattr(config.data, "ordered", True) else [],
        "times": [key for key in _keys_with_times(config) if key in read or not key.startswith("features.")],
        "request_times": [*(history if config.history.reads_request_times else []), *of_requests],
        "user_features": [key for key in described if key.startswith("features.user.")],
        "item_features": [key for key in described if key.startswith("features.item.")],
        "context": [key for key in described if key.startswith("features.context.")],
    }
    return {kind: keys for kind, keys in kinds.items() if keys}


def _keys_with_times(config: RunConfig) -> list[str]:
    """Return the settings of the training that are refused for data without times."""
    problems = config.model_copy(update={"data": WITHOUT_TIMES}).cross_choice_problems()
    return [
        problem.key
        for problem in problems
        if NEEDS_TIMES in problem.message and problem.key.partition(".")[0] in TrainingConfig.model_fields
    ]
