"""The bundled data set: purchases of a British online shop, 2010-12 to 2011-12."""

from pathlib import Path

import pandas as pd

from twotower.data.sources.source import Source
from twotower.data.tables import Tables

FOLDER = Path(__file__).parents[1] / "bundled" / "online_retail"
FILES = {name: FOLDER / f"{name}.csv.gz" for name in ("interactions", "users", "items")}
NAMES = {"CustomerID": "user_id", "StockCode": "item_id"}
TYPES = {"StockCode": "str", "description": "str"}


class OnlineRetail(Source):
    """First purchases: 266,221 interactions of 4,334 users (country) with 3,659 items (description, price).

    Reference: Chen, Sain and Guo, Online Retail, 2012, https://doi.org/10.24432/C5BW33, CC BY 4.0.
    """

    class Config(Source.Config):
        def catalogue_size(self) -> int:
            """Return the number of stock codes."""
            return 3_659

        def columns(self) -> dict[str, set[str]]:
            """Return the columns of the two tables."""
            return {"users": {"user_id", "country"}, "items": {"item_id", "description", "price"}}

    def load(self) -> Tables:
        """Read the three bundled files."""
        log, users, items = (
            pd.read_csv(path, dtype=TYPES, keep_default_na=False).rename(columns=NAMES)
            for path in FILES.values()
        )
        source_paths = {name: path.name for name, path in FILES.items()}
        return Tables(log[["user_id", "item_id", "timestamp"]], users, items, source_paths, "description")

    def files(self) -> list[Path]:
        """Return the three bundled files."""
        return list(FILES.values())
