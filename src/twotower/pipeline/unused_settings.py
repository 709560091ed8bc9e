"""Features, columns and settings that have no effect on a run."""

from collections.abc import Iterator, Mapping

from twotower.data.dataset import RetrievalDataset
from twotower.features.feature import Feature
from twotower.pipeline.run_config import RunConfig, WarmStartRunConfig
from twotower.runs.fingerprint import override_key

SIDES = {"user": "user_tower", "context": "user_tower", "item": "item_tower"}
"""Side of the features -> the tower that may read them."""


def unused_setting_warnings(config: RunConfig, dataset: RetrievalDataset) -> list[str]:
    """Return one warning for each group of features, columns or settings without effect.

    Args:
        config: of the run.
        dataset: its data, for the columns of the tables.

    Returns:
        Each names the keys and what gives them effect.
    """
    return [*_unread_features(config), *_unread_columns(config, dataset), *_unused_settings(config)]


def _unread_features(config: RunConfig) -> Iterator[str]:
    features = {
        "user": config.features.user,
        "context": config.features.context,
        "item": config.features.item,
    }
    blocks = config.block_names()
    read = {tower: getattr(config, tower).reads(blocks[tower]) for tower in ("user_tower", "item_tower")}
    of_new_items = config.new_items.reads(features["item"])
    unread = {
        tower: [
            f"features.{side}.{name}"
            for side in features
            if SIDES[side] == tower
            for name in features[side]
            if name not in read[tower]
        ]
        for tower in read
    }
    for tower, keys in unread.items():
        remedy = f"{tower}.widths=[128] reads all features"
        reads = f"{tower} reads only {', '.join(sorted(read[tower]))}"
        content = [key for key in keys if tower == "item_tower" and key.split(".")[2] in of_new_items]
        if without := [key for key in keys if key not in content]:
            yield f"{', '.join(without)}: no effect, because {reads}; {remedy}"
        if content:
            yield (
                f"{', '.join(content)}: affect only the embeddings of new items, because {reads}; {remedy}"
            )
    if (encoded := config.history.block_dims(1).keys()) and not encoded & read["user_tower"]:
        reads = ", ".join(sorted(read["user_tower"]))
        remedy = "user_tower.residual=history reads it"
        yield f"history: no effect, because user_tower reads only {reads}; {remedy}"


def _unread_columns(config: RunConfig, dataset: RetrievalDataset) -> Iterator[str]:
    chosen: Mapping[str, tuple[Mapping[str, Feature.Config], set[str]]] = {
        "user": (config.features.user, set(map(str, dataset.user_table.columns))),
        "item": (config.features.item, set(map(str, dataset.item_table.columns)) - {dataset.item_label}),
        "context": (
            config.features.context,
            set() if dataset.context_table is None else set(map(str, dataset.context_table.columns)),
        ),
    }
    for side, (features, columns) in chosen.items():
        read = {feature.column for feature in features.values()}
        if unread := sorted(columns - read - {"user_id", "item_id"}):
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
    if isinstance(config, WarmStartRunConfig) and config.warm_start.epochs:
        for key in sorted(typed & {"optimizer.schedule", "optimizer.warmup_share"}):
            yield f"{key}: no effect; warm_start= trains at a constant optimizer.learning_rate"
    read = config.user_tower.reads(config.block_names()["user_tower"])
    is_set = "last_item" in config.history.model_fields_set and config.history.last_item
    if is_set and "history" in read and "last_item" not in read:
        yield (
            f"history.last_item: no effect, because user_tower reads only {', '.join(sorted(read))}; "
            "user_tower.widths=[128] reads it"
        )
    if not config.baselines.by_name and "minutes" in config.baselines.model_fields_set:
        yield "baselines.minutes: no effect; baselines=standard adds baselines"
