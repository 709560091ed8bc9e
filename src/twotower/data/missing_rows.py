"""Rows for users and items of the interactions that are missing from their table."""

from typing import Any

import numpy as np
import pandas as pd

GAPPED = {"i": "Int64", "u": "UInt64", "b": "boolean"}
"""Kind of a NumPy type without missing values -> the nullable pandas type."""


def with_rows(frame: pd.DataFrame, key: str, ids: "pd.Series[Any]") -> pd.DataFrame:
    """Return a table with an added row for each missing id; its other columns are missing values.

    Columns keep their type: integers and booleans become nullable.
    """
    lacking = ids[~ids.isin(frame[key])].drop_duplicates()
    if lacking.empty:
        return frame
    kinds = {name: dtype.kind for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype)}
    gapped = {name: GAPPED[kind] for name, kind in kinds.items() if kind in GAPPED}
    whole = pd.concat([frame[key], lacking], ignore_index=True)
    longer = frame.astype(gapped).reset_index(drop=True).reindex(whole.index)
    return longer.assign(**{key: whole})
