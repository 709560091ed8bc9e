"""The contract of feature kinds: choices of `features`, also in `TWOTOWER_CONF`, and each of our kinds."""

import importlib
import inspect
import json
import pkgutil
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import HAS_TOKENIZERS, models
from variants import specs_of

import twotower.model.features
from twotower.config.errors import InputError
from twotower.config.spec import TARGET
from twotower.model.features.encoded_text import EncodedText
from twotower.model.features.feature import REQUEST_TIME, Feature, feature_from_json
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.time_feature import TimeFeature

PACKAGE = "twotower.model.features."
SAMPLES: dict[str, list[Any]] = {  # times for features of the request time, else the first that is accepted
    "times": [1_300_000_000, 1_300_100_000, 1_323_000_000, 1_300_300_000, 1_300_000_000, 1_310_000_000],
    "images": ["red.png", "blue.png", "red.png", "blue.png", "blue.png", "red.png"],
    "numbers": [3, 1.5, 20, 1.5, 3, 7],
    "dates": ["2011-03-02", "2012-01-31T12:00:00Z", "2011-03-02", "2013-05-05", "1999-12-31", "2011-03-03"],
    "text": ["red mug", "blue mug", "red cup", "cup", "Straße 7", "red mug"],
    "tags": [["a", "b"], ["b"], [], ["c", "a"], ["b", "c"], ["a"]],
    "vectors": [[1.0, 2.0], [0.0, 1.0], [3.0, 3.0], [1.0, 1.0], [2.0, 0.5], [1.0, 2.0]],
}
ODD = [
    None, float("nan"), float("inf"), -float("inf"), pd.NaT, pd.NA, np.nan, "", "never seen", b"bytes", -1,
    10**400, 1e300, True, [], {}, set(), (), [[1]], [None], np.zeros((2, 2)), np.array([]), np.array("x"),
    object(), 1j, Decimal("NaN"), pd.Timestamp("2020-01-01"), ["x", 1, None], np.str_("a"), np.int8(3),
    "\ud800",
]  # fmt: skip
NONSENSE = [{}, object(), 1j, pd.NaT]


def built(spec: dict[str, Any]) -> Feature:
    """Build as the pipeline does: a width left open becomes the tower's."""
    return Feature.Config.model_validate(spec).build(8)


def configured() -> dict[str, dict[str, Any]]:
    return {
        f"{choice}-{side}-{name}": spec
        for choice, sides in specs_of("features").items()
        for side, specs in sides.items()
        if side in ("user", "item", "context")
        for name, spec in specs.items()
    }


def direct() -> dict[str, dict[str, Any]]:
    return {
        "Id": {TARGET: PACKAGE + "id.Id", "column": "c", "dim": 3, "dropout": 0.3, "sparse": True},
        "Categorical": {TARGET: PACKAGE + "categorical.Categorical", "column": "c", "dim": 3, "min_count": 2},
        "Numeric": {TARGET: PACKAGE + "numeric.Numeric", "column": "c"},
        "Numeric-log1p": {TARGET: PACKAGE + "numeric.Numeric", "column": "c", "transform": "log1p"},
        "Binned": {TARGET: PACKAGE + "binned.Binned", "column": "c", "dim": 3, "num_bins": 3},
        "Date": {TARGET: PACKAGE + "date.Date", "column": "c", "dim": 3, "num_bins": 3},
        "Tags": {TARGET: PACKAGE + "tags.Tags", "column": "c", "dim": 3, "separator": " ", "max_tags": 2},
        "Vector": {TARGET: PACKAGE + "vector.Vector", "column": "c", "standardize": True},
        "HashedText": {TARGET: PACKAGE + "text.HashedText", "column": "c", "dim": 3},
        "HashedText-tiny": {TARGET: PACKAGE + "text.HashedText", "column": "c", "dim": 3, "buckets": 5},
        "RequestTime": {TARGET: PACKAGE + "request_time.RequestTime", "year": 2, "week": 1, "day": 1},
    } | encoded()


def encoded() -> dict[str, dict[str, Any]]:
    """Specs of what pretrained models encode, tiny ones that are written here."""
    text, image = map(str, models())
    of_image = {"column": "c", "model": image, "folder": image, "dim": 3}
    found = {"EncodedImage": {TARGET: PACKAGE + "encoded_image.EncodedImage", **of_image}}
    if HAS_TOKENIZERS:
        found["EncodedText"] = {TARGET: PACKAGE + "encoded_text.EncodedText", "column": "c", "model": text}
    return found


CASES = configured() | direct()


def sample_for(feature: Feature) -> list[Any]:
    for name, values in SAMPLES.items():
        if (name == "times") != isinstance(feature, TimeFeature):
            continue
        try:
            feature.check(pd.Series(values, dtype=object), "sample")
        except InputError:
            continue
        return values
    raise AssertionError(f"no sample column suits {type(feature).__name__}; add one to SAMPLES")


def fitted(spec: dict[str, Any]) -> tuple[Feature, list[Any]]:
    feature: Feature = built(spec)
    values = sample_for(feature)
    feature.fit(pd.Series(values * 5, dtype=object))
    return feature, values


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def test_every_kind_of_ours_is_tested() -> None:
    modules = [
        importlib.import_module(PACKAGE + module.name)
        for module in pkgutil.iter_modules(twotower.model.features.__path__)
    ]
    kinds = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Feature) and not inspect.isabstract(kind) and kind.__module__ == module.__name__
    }
    if not HAS_TOKENIZERS:
        kinds -= {EncodedText}
    assert kinds == {type(Feature.Config.model_validate(spec).build(1)) for spec in direct().values()}


def test_the_encoder_has_the_declared_dim_for_any_leading_shape(spec: dict[str, Any]) -> None:
    feature, values = fitted(spec)
    encoded = feature.encode(values)
    encoder = feature.encoder().eval()
    assert encoded.shape[0] == len(values)
    output = encoder(encoded)
    assert output.shape == (len(values), feature.output_dim)
    assert output.dtype == torch.float32
    nested = encoder(encoded.reshape(2, 3, -1))
    assert torch.equal(nested, output.reshape(2, 3, -1))
    assert encoder(encoded[:1]).shape == (1, feature.output_dim)
    assert encoder(encoded[:0]).shape == (0, feature.output_dim)
    assert feature.encode([]).shape == encoded[:0].shape
    trained = feature.encoder()
    if list(trained.parameters()):
        trained(encoded).square().sum().backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())


def test_odd_values_are_encoded(spec: dict[str, Any]) -> None:
    feature, values = fitted(spec)
    encoded = feature.encode([*ODD, values[0]])
    assert len(encoded) == len(ODD) + 1
    assert torch.equal(encoded[-1:], feature.encode(values[:1]))
    assert feature.encoder().eval()(encoded).isfinite().all()
    assert all(feature.encode([value]).shape == encoded[:1].shape for value in ODD)
    missing = feature.encode([None])
    assert not torch.equal(feature.encode(values), missing.expand(len(values), -1))
    for value in NONSENSE:
        assert torch.equal(feature.encode([value]), missing), value
    output = feature.encoder().eval()(missing)
    assert (output.eq(0) | output.eq(1)).all()
    assert output.sum() <= 1  # at most one flag of a missing value


def test_json_round_trip(spec: dict[str, Any]) -> None:
    feature, values = fitted(spec)
    text = json.dumps(feature.to_json(), allow_nan=False)
    again = feature_from_json(json.loads(text), "here")
    assert type(again) is type(feature)
    assert json.dumps(again.to_json()) == text
    assert torch.equal(again.encode([*values, *ODD]), feature.encode([*values, *ODD]))
    shapes = [
        {key: value.shape for key, value in each.encoder().state_dict().items()} for each in (feature, again)
    ]
    assert shapes[0] == shapes[1]
    assert again.output_dim == feature.output_dim


def test_it_grows_and_known_values_keep_their_rows(spec: dict[str, Any]) -> None:
    values = sample_for(built(spec))
    feature, grown = built(spec), built(spec)
    for each in (feature, grown):
        each.fit(pd.Series(values[:4] * 5, dtype=object))
    grown.fit(pd.Series(values * 5, dtype=object), grow=True)
    old, new = feature.encoder().eval(), grown.encoder().eval()
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            before = old.get_parameter(name)
            assert len(parameter) >= len(before)
            parameter[: len(before)], parameter[len(before) :] = before, before[0]
    assert torch.equal(new(grown.encode([*values, None])), old(feature.encode([*values, None])))
    assert torch.equal(grown.encode([None]), feature.encode([None]))


def test_only_train_rows_are_learned(spec: dict[str, Any]) -> None:
    values = sample_for(built(spec))
    payloads = []
    for others in (values[4:], values[:2]):
        feature: Feature = built(spec)
        series = pd.Series([*values[:4], *others], dtype=object)
        table = FeatureTable.fit(
            {"f": feature}, pd.DataFrame({feature.column: series}), np.arange(1, 5), "sample"
        )
        payloads.append(json.dumps(table.to_json()))
    assert payloads[0] == payloads[1]


def test_values_beyond_train_are_unknown() -> None:
    for name in ("Id", "Categorical", "Tags", "HashedText"):
        feature: Feature = built(direct()[name])
        table = pd.DataFrame({"c": ["seen", "seen", "other"]})
        rows = FeatureTable.fit({"f": feature}, table, np.array([1, 2]), "sample").gather(
            torch.tensor([0, 1, 3])
        )["f"]
        assert rows[1].any()
        assert torch.equal(rows[2], rows[0])


def test_missing_values_are_unknown_unless_refused(spec: dict[str, Any]) -> None:
    feature: Feature = built(spec)
    values = pd.Series([*sample_for(feature), None], dtype=object)
    feature.fit(values)
    assert torch.equal(feature.encode(values)[6], feature.encode([np.nan])[0])
    if not isinstance(feature, TimeFeature):
        strict = built(spec | {"missing": "refuse"})
        message = rf"table\.csv: column '{feature.column}', row 7: .*missing: unknown"
        with pytest.raises(InputError, match=message):
            strict.check(values, "table.csv")


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA], ids=str)
def test_a_column_without_any_value_is_unknown_everywhere(spec: dict[str, Any], nothing: Any) -> None:
    feature: Feature = built(spec)
    frame = pd.DataFrame({feature.column: pd.Series([nothing] * 4, dtype=object)})
    table = FeatureTable.fit({"f": feature}, frame, np.arange(1, 4), "table.csv")
    if isinstance(feature, TimeFeature):
        return
    rows = table.gather(torch.arange(5))["f"]
    assert torch.equal(rows, feature.encode([None]).expand(5, -1))
    encoder = feature.encoder()
    output = encoder(rows)
    assert output.shape == (5, feature.output_dim)
    assert feature.output_dim > 0
    if output.requires_grad:
        output.sum().backward()
    known = feature.encode(sample_for(built(spec)))
    assert encoder(known).isfinite().all()


def test_only_context_features_read_the_request_time(spec: dict[str, Any]) -> None:
    feature: Feature = built(spec)
    assert isinstance(feature, TimeFeature) == (feature.column == REQUEST_TIME)
    if isinstance(feature, TimeFeature):
        times = torch.tensor([1_300_000_000, 0, 1_323_000_000])
        assert torch.equal(feature.encode_times(times), feature.encode(times.tolist()))
        assert torch.equal(feature.encode_times(times[1:2]), feature.encode([None]))
