"""Rows of users and items that the log names and their table lacks."""

from typing import Any

import numpy as np
import pandas as pd

GAPPED = {"i": "Int64", "u": "UInt64", "b": "boolean"}
"""Kind of a NumPy type that has no missing value -> the type that has one."""


def with_rows(frame: pd.DataFrame, key: str, ids: "pd.Series[Any]") -> pd.DataFrame:
    """Return a table with a row more for each id that it lacks, every other column missing.

    Columns keep the kind of their values: whole numbers, true and false stay what they are beside gaps.
    """
    lacking = ids[~ids.isin(frame[key])].drop_duplicates()
    if lacking.empty:
        return frame
    kinds = {name: dtype.kind for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype)}
    gapped = {name: GAPPED[kind] for name, kind in kinds.items() if kind in GAPPED}
    whole = pd.concat([frame[key], lacking], ignore_index=True)
    longer = frame.astype(gapped).reset_index(drop=True).reindex(whole.index)
    return longer.assign(**{key: whole})
