"""Features, columns and settings that have no effect on a run."""

from collections.abc import Iterator

from twotower.data.dataset import RetrievalDataset
from twotower.experiments.runs.fingerprint import override_key
from twotower.jobs.run_config import RunConfig, WarmStartRunConfig

SIDES = {"user": "user_tower", "context": "user_tower", "item": "item_tower"}
"""Side of the features -> the tower that may read them."""
NOT_OF_A_WARM_START = {f"optimizer.{name}" for name in ("schedule", "warmup_share")}


def unused_setting_warnings(config: RunConfig, dataset: RetrievalDataset) -> list[str]:
    """Return one warning for each group of features, columns or settings without effect.

    Each names the keys and what gives them effect.
    """
    settings = [*_unused_settings(config), *_unused_with(config, dataset)]
    return [*_unread_features(config), *_unread_columns(config, dataset), *settings]


def _unread_features(config: RunConfig) -> Iterator[str]:
    blocks = config.block_names()
    read = {tower: getattr(config, tower).reads(blocks[tower]) for tower in ("user_tower", "item_tower")}
    for_new_items = config.new_items.reads(config.features.item)
    for tower, names in read.items():
        unread = [
            (f"features.{side}.{name}", tower == "item_tower" and name in for_new_items)
            for side in SIDES
            for name in getattr(config.features, side)
            if SIDES[side] == tower and name not in names
        ]
        why = f"because {tower} reads only {', '.join(sorted(names))}; {tower}.widths=[] reads all features"
        if keys := [key for key, is_content in unread if not is_content]:
            yield f"{', '.join(keys)}: no effect, {why}"
        if keys := [key for key, is_content in unread if is_content]:
            yield f"{', '.join(keys)}: affect only the embeddings of new items, {why}"
    if (encoded := config.history.block_dims(1).keys()) and not encoded & read["user_tower"]:
        reads = ", ".join(sorted(read["user_tower"]))
        remedy = "user_tower.residual=history reads it"
        yield f"history: no effect, because user_tower reads only {reads}; {remedy}"


def _unread_columns(config: RunConfig, dataset: RetrievalDataset) -> Iterator[str]:
    context = dataset.context_table
    columns = {
        "user": set(map(str, dataset.user_table.columns)),
        "item": set(map(str, dataset.item_table.columns)) - {dataset.item_label},
        "context": set() if context is None else set(map(str, context.columns)),
    }
    for side, names in columns.items():
        read = {feature.column for feature in getattr(config.features, side).values()}
        if unread := sorted(names - read - {"user_id", "item_id"}):
            yield (
                f"data: no feature reads the {side} columns {', '.join(unread)}, so they do not change the "
                f"embeddings; add them to features.{side}"
            )


def _unused_settings(config: RunConfig) -> Iterator[str]:
    for key, choice in config.choices():
        for field, remedy in choice.unused():
            yield f"{key}.{field}: no effect; {remedy}"
    typed = {override_key(text) for text in config.overrides}
    if not config.loss.scoring().uses_negatives:
        loss = config.loss.owner.__name__
        for key in sorted(key for key in typed if key.partition(".")[0] == "negatives"):
            yield f"{key}: no effect, because {loss} draws no negatives; choose another loss"
    if not config.new_items.reads(config.features.item):
        for key in sorted(key for key in typed if key.startswith("new_items.")):
            yield (
                f"{key}: no effect, because no feature in features.item has content; add words, tags, "
                "categories or vectors"
            )
    if isinstance(config, WarmStartRunConfig) and config.warm_start.epochs:
        for key in sorted(typed & NOT_OF_A_WARM_START):
            yield f"{key}: no effect; warm_start= trains at a constant optimizer.learning_rate"
    read = config.user_tower.reads(config.block_names()["user_tower"])
    is_set = "last_item" in config.history.model_fields_set and config.history.last_item
    if is_set and "history" in read and "last_item" not in read:
        yield (
            f"history.last_item: no effect, because user_tower reads only {', '.join(sorted(read))}; "
            "user_tower.widths=[] reads it"
        )
    if "trainer.initial_share" in typed and not config.initialization.build().informed:
        yield "trainer.initial_share: no effect; initialization=svd has embeddings to keep a share of"
    if not config.baselines.by_name:
        for field in sorted(config.baselines.model_fields_set & {"minutes", "tune"}):
            yield f"baselines.{field}: no effect; baselines=standard adds baselines"


def _unused_with(config: RunConfig, dataset: RetrievalDataset) -> Iterator[str]:
    """Yield the warnings about settings that this data leaves without effect."""
    typed = {override_key(text) for text in config.overrides}
    if "metrics.filter_seen" in typed and dataset.repeats:
        yield "metrics.filter_seen: no effect, because data.repeats=keep never excludes items of the history"
    events = getattr(config.data, "events", None) or {}
    for name in sorted(set(events) - set(dataset.events)) if dataset.events else ():
        found = ", ".join(dataset.events)
        yield f"data.events.{name}: no interaction has this event type; there are {found}"
    if "split.valid_share" in typed and "valid_share_of_train" not in dataset.audit:
        yield "split.valid_share: no effect, because rows of the data are marked as valid"
