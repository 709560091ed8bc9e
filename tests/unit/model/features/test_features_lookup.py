from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from twotower.config.errors import InputError
from twotower.model.features.binned import Binned
from twotower.model.features.categorical import Categorical
from twotower.model.features.date import Date
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.id import Id


def test_rows_follow_the_sorted_train_values() -> None:
    feature = Categorical(Categorical.Config(column="c", dim=4))
    feature.fit(pd.Series(["b", "a", "b"]))
    assert feature.encode(["a", "b", "c", None, float("nan"), ["a"], 3]).tolist() == [
        [1], [2], [0], [0], [0], [0], [0]
    ]  # fmt: skip


def test_one_is_one_in_any_numeric_type_but_not_in_text() -> None:
    feature = Id(Id.Config(column="item_id", dim=4))
    feature.fit(pd.Series([7, 1]))
    assert feature.encode([1, 1.0, np.int64(1), np.float32(7), "1"]).flatten().tolist() == [1, 1, 1, 2, 0]
    assert feature.encode(pd.Series([1.0, np.nan, 7.0])).flatten().tolist() == [1, 0, 2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "Float32", "float64"])
def test_decimals_of_a_table_are_those_of_requests(dtype: str) -> None:
    feature = Categorical(Categorical.Config(column="size", dim=4))
    column = pd.Series([2.5, 0.1, None, 7], dtype=dtype)
    feature.fit(column)
    assert feature.state.values == [0.1, 2.5, 7]
    assert feature.encode(column).flatten().tolist() == [2, 1, 0, 3]
    assert feature.encode([2.5, 0.1, None, 7]).flatten().tolist() == [2, 1, 0, 3]
    assert feature.encode(column.iloc[:0]).shape == (0, 1)


def test_id_dropout_reaches_the_unknown_row_in_training_only() -> None:
    encoder = LookupEncoder(num_rows=3, dim=4, dropout=0.5)
    rows = torch.ones(1000, 1, dtype=torch.int64)
    assert encoder.table.weight[0].eq(0).all()
    torch.manual_seed(0)
    dropped = encoder(rows).eq(0).all(-1).float().mean().item()
    assert 0.45 < dropped < 0.55
    encoder(rows).sum().backward()
    assert encoder.table.weight.grad is not None
    assert encoder.table.weight.grad[0].ne(0).all()
    encoder.eval()
    assert encoder(rows).ne(0).any(-1).all()


def test_bins_are_quantiles_of_train() -> None:
    feature = Binned(Binned.Config(column="age", dim=2, num_bins=4))
    feature.fit(pd.Series(range(1, 9)))
    assert feature.state.edges == pytest.approx([3, 5, 7])
    values = [1, 3, 5, 8, 1e9, -1e9, None, float("inf"), "x", "5"]
    assert feature.encode(values).flatten().tolist() == [1, 2, 3, 4, 4, 1, 0, 0, 0, 3]


def test_dates_are_binned_whatever_their_type() -> None:
    feature = Date(Date.Config(column="released", dim=2, num_bins=2))
    feature.fit(pd.Series(["1970-01-02", "1970-01-11", "1970-01-21", "1970-01-31"]))
    assert feature.state.edges == [20]  # days since 1970
    texts = ["1970-01-20T23:59:59Z", "1970-01-21T01:00:00+02:00", "1970-01-21", "1901-01-01", "3000-01-01"]
    assert feature.encode(texts).flatten().tolist() == [1, 1, 2, 1, 2]
    objects = [date(1970, 1, 20), pd.Timestamp("1970-01-21"), pd.NaT, 20, "2024", "31.05.2024", "now"]
    assert feature.encode(objects).flatten().tolist() == [1, 2, 0, 0, 0, 0, 0]
    column = pd.Series(pd.to_datetime(["1970-01-20", "1970-01-21", None]))
    assert feature.encode(column).flatten().tolist() == [1, 2, 0]


def test_dates_of_another_format() -> None:
    feature = Date(Date.Config(column="released", dim=2, num_bins=2, format="%d.%m.%Y"))
    feature.fit(pd.Series(["01.02.2020", "02.01.2021"]))
    assert feature.encode(["02.01.2020", "01.02.2022", "2022-02-01"]).flatten().tolist() == [1, 2, 0]
    with pytest.raises(InputError, match=r"expected a date of the format %d.%m.%Y, found '2022-02-01'"):
        feature.check(pd.Series(["2022-02-01"]), "items.csv")
    whole = Date(Date.Config(column="released", dim=2, num_bins=2, format="%Y%m%d"))
    whole.fit(pd.Series([20200101, 20210101]))
    assert whole.encode(pd.Series([20191231.0, None, 20210102.0])).flatten().tolist() == [1, 0, 2]
    with pytest.raises(InputError, match=r"a date of the format %Y.%m, found 2024.01"):  # 2024.10 is 2024.1
        Date(Date.Config(column="c", dim=2, format="%Y.%m")).check(pd.Series([2024.01, 2024.10]), "items.csv")
    assert feature.encode(["now", "today"]).flatten().tolist() == [0, 0]
    with pytest.raises(ValidationError, match=r"codes of strftime, like %d.%m.%Y \('Q' is a bad directive"):
        Date.Config(column="released", dim=2, format="%d %Q")
    for wrong in ("", "mixed", "%H:%M"):
        with pytest.raises(ValidationError, match=r"like %d.%m.%Y \(no code of a date"):
            Date.Config(column="released", dim=2, format=wrong)
