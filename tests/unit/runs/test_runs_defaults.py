"""Settings that no YAML states."""

from twotower.runs.defaults import unstated_defaults


def test_defaults_of_classes_have_dotted_keys() -> None:
    loss = {"_target_": "twotower.losses.bpr.Bpr", "temperature": 0.5}
    ease = {"_target_": "twotower.evaluation.baselines.ease.Ease", "regularization": 7}
    index = {"_target_": "twotower.index.flat_ip.FlatIP"}
    found = unstated_defaults(
        {"loss": loss, "baselines": {"ease": ease}, "index": index, "embedding_dim": 64}
    )
    assert "loss.temperature" not in found  # stated
    assert found["baselines.ease.max_items"] == 20_000
    assert "baselines.ease.regularization" not in found
    assert not any(key.startswith("index.num_subquantizers") for key in found)


def test_missing_classes_and_other_classes_have_no_defaults() -> None:
    gone, other = {"_target_": "mine.Loss"}, {"_target_": "twotower.config.errors.InputError"}
    assert unstated_defaults({"loss": gone, "index": other, "name": "default"}) == {}
