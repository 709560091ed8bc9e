"""Rules between rooms: what is sound alone and wrong together."""

from collections.abc import Iterable, Mapping
from typing import Any

from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest
from twotower.config.spec import build


def between_rooms(settings: Mapping[str, Any], lenient: bool = False) -> Iterable[Problem]:
    """Yield what is wrong with the choices together.

    Args:
        settings: plain values.
        lenient: some choice is wrong by itself and told already; rules that it spoils are passed over.
    """
    for rule in (
        _check_data,
        _check_towers,
        _check_features,
        _check_needs,
        _check_trainer,
        _check_sparse,
        _check_known_sizes,
    ):
        try:
            yield from list(rule(settings))
        except Exception:
            if not lenient:
                raise


def _check_data(settings: Mapping[str, Any]) -> Iterable[Problem]:
    from twotower.data.splits.split import Split

    source = _source(settings)
    yield from (Problem(f"data.{key}", message) for key, message in asked(source).problems())
    split = build(settings["split"], Split)
    yield from (Problem("split", message) for message in asked(split).problems(asked(source)))


def _check_known_sizes(settings: Mapping[str, Any]) -> Iterable[Problem]:
    return check_sizes(settings, asked(_source(settings)).catalogue_size())


def _source(settings: Mapping[str, Any]) -> Any:
    from twotower.data.sources.source import Source

    return build(settings["data"], Source)


def config_of(spec: Mapping[str, Any], base: Any) -> Any:
    """Return the settings of a choice."""
    return base.Config.model_validate(spec)


def asked(component: Any) -> Any:
    """Return what answers before anything is built: the settings, where a component has them."""
    return getattr(component, "config", component)


def check_sizes(settings: Mapping[str, Any], num_items: int | None) -> list[Problem]:
    """Find what does not fit the catalogue; asked again once its size is known for sure.

    Args:
        settings: plain values.
        num_items: items of the catalogue, or None while unknown.
    """
    from twotower.evaluation.evaluator import Evaluator
    from twotower.index.index import Index
    from twotower.negatives.negatives import Negatives

    index = build(settings["index"], Index)
    found = [
        Problem(f"index.{key}", message)
        for key, message in asked(index).problems(settings["embedding_dim"], num_items)
    ]
    if num_items is None:
        return found
    evaluator = build(settings["metrics"], Evaluator)
    found += [Problem(f"metrics.{key}", message) for key, message in asked(evaluator).problems(num_items)]
    negatives = config_of(settings["negatives"], Negatives)
    return found + [Problem("negatives", text) for _, text in negatives.problems(num_items)]


def _check_towers(settings: Mapping[str, Any]) -> Iterable[Problem]:
    from twotower.towers.two_tower_config import TwoTowerConfig

    config = TwoTowerConfig.of(settings)
    if config.tower_width < 1 <= config.embedding_dim:
        yield Problem("embedding_dim", "leaves the towers no column beside the item bias; raise it")
        return
    history = config.history.block_dims(config.tower_width).keys()
    blocks = {
        "user_tower": {*settings["features"]["user"], *history},
        "item_tower": set(settings["features"]["item"]),
    }
    if not blocks["item_tower"]:
        yield Problem("features.item", "the item tower has no input; name at least one feature")
    for reserved in sorted(history & set(settings["features"]["user"])):
        yield Problem(f"features.user.{reserved}", "this name is the history encoder's; choose another")
    for side, tower in (("user_tower", config.user_tower), ("item_tower", config.item_tower)):
        yield from (Problem(f"{side}.{key}", text) for key, text in tower.problems(blocks[side]))


def _check_features(settings: Mapping[str, Any]) -> Iterable[Problem]:
    from twotower.features.feature import ContextFeature, Feature
    from twotower.features.feature_table import check_name

    columns = asked(_source(settings)).columns()
    for side, table in (("user", "users"), ("item", "items")):
        for name, spec in settings["features"][side].items():
            feature, key = build(spec, Feature), f"features.{side}.{name}"
            yield from (Problem(f"{key}.{parameter}", text) for parameter, text in asked(feature).problems())
            try:
                check_name(name, feature)
            except InputError as error:
                yield Problem(key, str(error))
                continue
            column = feature.column
            if isinstance(feature, ContextFeature):
                if side == "item":
                    yield Problem(key, "describes the request, so it belongs to the users")
            elif columns is not None and column not in columns[table]:
                text = f"the {table} of this data have no column {column!r}"
                yield Problem(f"{key}.column", f"{text}; {nearest(column, columns[table])}")


def _check_needs(settings: Mapping[str, Any]) -> Iterable[Problem]:
    from twotower.losses.loss import Loss
    from twotower.negatives.negatives import Negatives
    from twotower.towers.two_tower_config import TwoTowerConfig

    loss, negatives = config_of(settings["loss"], Loss), config_of(settings["negatives"], Negatives)
    lacking = loss.needs - negatives.provides
    name = loss.owner.__name__
    of_towers = TwoTowerConfig.of(settings).remedies()
    for need, remedy in of_towers.items():
        if need in lacking and remedy:
            text = f"{name} needs {need}, which the towers as set do not provide; {remedy}"
            yield Problem("loss", text)
    if lacking := lacking - of_towers.keys():
        text = (
            f"{name} needs {', '.join(sorted(lacking))}, which {negatives.owner.__name__} as set does not "
            "provide; choose other negatives, or switch the correction off in the loss"
        )
        yield Problem("loss", text)


def _check_trainer(settings: Mapping[str, Any]) -> Iterable[Problem]:
    from twotower.evaluation.evaluator import Evaluator
    from twotower.evaluation.user_values import name_of
    from twotower.training.trainer import TrainerChoice

    trainer = config_of(settings["trainer"], TrainerChoice)
    yield from (Problem(f"trainer.{key}", message) for key, message in trainer.problems())
    evaluator = build(settings["metrics"], Evaluator)
    ways = asked(evaluator).higher_is_better()
    logged = {f"valid/{key}": ways[name_of(key)] for key in asked(evaluator).keys()}  # noqa: SIM118
    choosing = [key for key, higher in logged.items() if higher is not None]
    if trainer.monitor not in logged:
        text = f"{trainer.monitor!r} is not logged; {nearest(trainer.monitor, choosing)}"
        yield Problem("trainer.monitor", text)
    elif logged[trainer.monitor] is None:
        text = (
            f"{name_of(trainer.monitor)} does not say whether higher or lower is better (its class has "
            f"higher_is_better = None), so it chooses no epoch; {nearest(trainer.monitor, choosing)}"
        )
        yield Problem("trainer.monitor", text)


def _check_sparse(settings: Mapping[str, Any]) -> Iterable[Problem]:
    from twotower.training.optimizers.optimizer import OptimizerChoice

    sparse = [
        f"features.{side}.{name}.sparse"
        for side in ("user", "item")
        for name, spec in settings["features"][side].items()
        if spec.get("sparse")
    ]
    if not sparse:
        return
    optimizer = config_of(settings["optimizer"], OptimizerChoice)
    if not optimizer.takes_sparse:
        name = optimizer.owner.__name__
        yield Problem("optimizer", f"{name} as set takes no sparse gradients, which {sparse[0]} gives")
    if settings["trainer"].get("gradient_clip_val"):
        yield Problem(
            "trainer.gradient_clip_val", f"torch cannot clip sparse gradients, which {sparse[0]} gives"
        )
