import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.data.times import SECONDS_A_DAY
from twotower.model.features.feature import feature_from_json
from twotower.model.features.numeric import Numeric
from twotower.model.features.request_time import YEAR_SECONDS, RequestTime
from twotower.model.features.vector import Vector

HERE = ChoiceContext(key="features.user.when")


def test_numbers_are_standardized_with_train_moments() -> None:
    feature = Numeric(Numeric.Config(column="price"))
    feature.fit(pd.Series([1.0, 3.0]))
    encoded = feature.encode([1, 2, "3", None, float("inf"), "x", 1e30, True])
    expected = [[-1, 0], [0, 0], [1, 0], [0, 1], [0, 1], [0, 1], [10, 0], [-1, 0]]
    assert encoded.tolist() == expected


@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_a_constant_is_0_although_its_deviation_is_rounded(transform: str) -> None:
    feature = Numeric(Numeric.Config(column="price", transform=transform))
    feature.fit(pd.Series([4.99] * 26_744))
    assert feature.state.std == 1
    same, other = feature.encode([4.99, 5.49])[:, 0].tolist()
    assert same == pytest.approx(0, abs=1e-6)
    assert 0 < other < 0.51
    small = Numeric(Numeric.Config(column="price"))
    small.fit(pd.Series([1.0, 1.0 + 1e-9]))
    assert small.encode([1.0, 1.0 + 1e-9])[:, 0].tolist() == pytest.approx([-1, 1], abs=1e-6)


def test_log1p_comes_first() -> None:
    feature = Numeric(Numeric.Config(column="price", transform="log1p"))
    feature.fit(pd.Series([0.0, math.e**2 - 1]))
    assert feature.state.mean == pytest.approx(1)
    assert feature.encode([math.e - 1, -3]).tolist() == [pytest.approx([0, 0], abs=1e-6), [0, 1]]


def test_a_vector_is_projected_without_a_constant() -> None:
    feature = Vector(Vector.Config(column="v", dim=3))
    feature.fit(pd.Series([[1.0, 2.0], [3.0, 2.0]]))
    again = feature_from_json(json.loads(json.dumps(feature.to_json())), "features.user.v")
    assert (again.output_dim, feature.output_dim, feature.length) == (3, 3, 2)
    assert feature.encode([[1, 2], [1, 2, 3], None]).tolist() == [[1, 2], [0, 0], [0, 0]]
    encoder = feature.encoder()
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, -1.0]]))
    assert encoder(feature.encode([[1, 2], None])).tolist() == [[1, 4, 1], [0, 0, 0]]
    with pytest.raises(InputError, match=r"a vector of finite numbers of length 2, .* found \[1, 2, 3\]"):
        feature.check(pd.Series([[1, 2, 3]]), "items.parquet")


def test_vectors_keep_their_values_or_are_standardized() -> None:
    values = pd.Series([[1.0, 2.0], np.array([3.0, 2.0])])
    plain = Vector(Vector.Config(column="v"))
    plain.fit(values)
    assert plain.output_dim == 2
    assert plain.encode([[1, 2], [1, 2, 3], None, "x", [float("nan"), 1]]).tolist() == [[1, 2]] + [[0, 0]] * 4
    scaled = Vector(Vector.Config(column="v", standardize=True))
    scaled.fit(values)
    assert scaled.encode([(1, 2), (3, 5)]).tolist() == [[-1, 0], [1, 3]]


def test_vectors_come_from_a_file_by_row_number(tmp_path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.arange(6, dtype=np.float16).reshape(3, 2))
    feature = Vector(Vector.Config(column="image_row", path=str(path)))
    feature.fit(pd.Series([2, 0]))
    assert feature.encode([1, 1.0, 3, -1, 0.5, None, [7, 8]]).tolist() == [
        [2, 3], [2, 3], [0, 0], [0, 0], [0, 0], [0, 0], [7, 8]
    ]  # fmt: skip
    with pytest.raises(
        InputError, match=r"items.csv: column 'image_row', row 2: expected a row number .* 0 to 2"
    ):
        feature.check(pd.Series([0, 3]), "items.csv")


@pytest.mark.parametrize("content", [None, b"no matrix", "object", "line"])
def test_a_file_that_is_no_matrix_is_refused(tmp_path, content) -> None:
    path = tmp_path / "v.npy"
    if content == "object":
        np.save(path, np.array([{}]), allow_pickle=True)
    elif content == "line":
        np.save(path, np.arange(3))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"v\.npy"):
        Vector(Vector.Config(column="row", path=str(path))).fit(pd.Series([0]))


def test_request_time_is_cyclical() -> None:
    feature = RequestTime(RequestTime.Config(year=2, day=1))
    assert feature.output_dim == 6
    encoded = feature.encode_times(torch.tensor([YEAR_SECONDS, YEAR_SECONDS + YEAR_SECONDS // 4, 0]))
    day = 2 * math.pi * (YEAR_SECONDS % SECONDS_A_DAY) / SECONDS_A_DAY
    # sin 1, sin 2, cos 1, cos 2 of the year, then sin, cos of the day
    assert encoded[0].tolist() == pytest.approx([0, 0, 1, 1, math.sin(day), math.cos(day)], abs=1e-4)
    assert encoded[1, :4].tolist() == pytest.approx([1, 0, 0, -1], abs=1e-4)
    assert encoded[2].eq(0).all()
    assert torch.equal(feature.encode([YEAR_SECONDS, None, "x"])[:1], encoded[:1])
    assert feature.encode([None, "x", float("inf"), -5]).eq(0).all()


def test_request_time_without_harmonics_is_refused() -> None:
    assert list(RequestTime.Config(year=0).problems(HERE)) == [
        ("year", "year, week and day are all 0; set one of them to 1 or more")
    ]
    assert list(RequestTime.Config().problems(HERE)) == []


def test_numbers_whose_squares_overflow() -> None:
    feature = Numeric(Numeric.Config(column="x"))
    feature.fit(pd.Series([1e300, 3e300]))
    assert (feature.state.mean, feature.state.std) == pytest.approx((2e300, 1e300))
    assert feature.encode([1e300, 3e300, 0.0]).tolist() == [[-1, 0], [1, 0], [-2, 0]]
    feature.fit(pd.Series([-1.7e308, 1.7e308]))
    assert feature.encode([-1.7e308, 1.7e308]).tolist() == [[-1, 0], [1, 0]]
    assert json.loads(json.dumps(feature.to_json(), allow_nan=False))["state"]["mean"] == 0
