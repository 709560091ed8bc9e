"""Encoded features of all users, items or contexts.

Shapes: B requested rows, W width of a feature.
"""

import contextlib
from collections.abc import Container, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector, listed
from twotower.data.tables import ITEM_ID, USER_ID
from twotower.model.features.feature import Activity, Feature, check_name
from twotower.model.features.time_feature import TimeFeature

PREFIX = "encoded_"
KEYS = (USER_ID, ITEM_ID)


class FeatureTable(nn.Module):
    """Encoded features by row; row 0 = unknown, with every feature missing. Build one with `fit`.

    The encoded values ([num_rows, W], without time features) are buffers outside of `state_dict`.
    """

    def __init__(self, features: dict[str, Feature], encoded: dict[str, Tensor], num_rows: int) -> None:
        super().__init__()
        self.features = features
        self.table_features = table_features(features)
        self.num_rows = num_rows
        self.output_dims = {name: feature.output_dim for name, feature in features.items()}
        for name, values in encoded.items():
            unknown = features[name].encode([None])
            self.register_buffer(PREFIX + name, torch.cat([unknown, values]), persistent=False)
        self._gathered: tuple[Tensor, int, dict[str, Tensor]] | None = None

    @classmethod
    def fit(
        cls,
        features: dict[str, Feature],
        table: pd.DataFrame,
        train_rows: npt.NDArray[Any],
        source_path: str,
        grow: bool = False,
        activity: Activity | None = None,
    ) -> "FeatureTable":
        """Fit features on training rows (from 1), or let fitted features grow by them; then encode all rows.

        The entity of row r is at position r - 1 of the table, which has passed `column_faults`. `activity` of
        the training rows is what the rules of ids read; None: all training ids have a row.
        """
        encoded = {}
        for name, feature in table_features(features).items():
            values = _column(table, name, feature, source_path)
            training = values.iloc[np.asarray(train_rows) - 1]
            feature.fit(training if activity is None else feature.admit(training, activity), grow)
            encoded[name] = feature.encode(values)
        return cls(features, encoded, len(table))

    @property
    def columns(self) -> set[str]:
        """The raw columns of the features."""
        return {feature.column for feature in self.table_features.values()}

    def gather(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the encoded features of rows [...], each [..., W], without time features.

        Consecutive rows give views, and in training the last result is reused if its rows are the same, so
        that an encoder can recognize a catalogue.
        """
        encoded = {name: self.get_buffer(PREFIX + name) for name in self.table_features}
        span = _consecutive(rows, self.num_rows)
        if span is not None:
            return {name: values[span] for name, values in encoded.items()}
        is_cached = self.training and not rows.is_inference() and not torch.compiler.is_compiling()
        if is_cached and self._gathered is not None:
            earlier, version, gathered = self._gathered
            if rows._version == version and rows.is_set_to(earlier):
                return dict(gathered)
        gathered = {
            name: values.index_select(0, rows.reshape(-1)).reshape(*rows.shape, values.shape[1])
            for name, values in encoded.items()
        }
        if is_cached:
            self._gathered = rows, rows._version, gathered
        return dict(gathered)

    def all_rows(self) -> dict[str, Tensor]:
        """Return the encoded features of all rows but the unknown one, each [num_rows, W]."""
        return {name: self.get_buffer(PREFIX + name)[1:] for name in self.table_features}

    @contextlib.contextmanager
    def permuted(self, name: str, sources: Tensor) -> Iterator[None]:
        """Give each row r, as long as the context lasts, the value of a feature at row `sources[r]`."""
        encoded = self.get_buffer(PREFIX + name)
        setattr(self, PREFIX + name, encoded[sources])
        try:
            yield
        finally:
            setattr(self, PREFIX + name, encoded)

    def encode(self, records: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Encode new entities from raw values by column, each [B, W]; absent columns are missing values."""
        return {
            name: feature.encode([record.get(feature.column) for record in records])
            for name, feature in self.table_features.items()
        }

    def encode_times(self, request_times: Tensor, names: Container[str]) -> dict[str, Tensor]:
        """Encode request times [B], unix seconds, by each time feature among `names` -> each [B, W]."""
        return {
            name: feature.encode_times(request_times)
            for name, feature in self.features.items()
            if name in names and isinstance(feature, TimeFeature)
        }

    def encoders(self) -> nn.ModuleDict:
        """Return new encoders by name, including the encoders of time features."""
        return nn.ModuleDict({name: feature.encoder() for name, feature in self.features.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of each feature by name; `feature_from_json` builds them again."""
        return {name: feature.to_json() for name, feature in self.features.items()}


def table_features(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """Return the features that read a table: all but time features."""
    return {name: feature for name, feature in features.items() if not isinstance(feature, TimeFeature)}


def column_faults(features: Mapping[str, Feature], table: pd.DataFrame, source_path: str) -> list[str]:
    """Return messages about the names, columns and values of features of a table, except a missing key."""
    errors = ErrorCollector(source_path)
    for name, feature in table_features(features).items():
        with errors.collect():
            check_name(name, feature.config)
            if feature.column in table.columns or feature.column not in KEYS:
                errors.messages += feature.faults(_column(table, name, feature, source_path), source_path)
    return list(dict.fromkeys(errors.messages))


def files_digests(features: Mapping[str, Feature], table: pd.DataFrame, source_path: str) -> dict[str, str]:
    """Return feature name -> SHA-256 of the files it reads, for features that read files."""
    digests = {
        name: feature.files_digest(_column(table, name, feature, source_path))
        for name, feature in table_features(features).items()
    }
    return {name: digest for name, digest in digests.items() if digest is not None}


def _column(table: pd.DataFrame, name: str, feature: Feature, source_path: str) -> pd.Series:
    """Return a feature's column, its index named after the id so that messages can quote it."""
    if feature.column not in table.columns:
        columns = [str(column) for column in table.columns]
        near = listed(get_close_matches(feature.column, columns, n=3) or columns)
        raise InputError(
            f"{source_path}: feature {name!r} needs column {feature.column!r}, which is missing; "
            f"the columns are {near}"
        )
    values: pd.Series = table[feature.column]
    key = next((key for key in KEYS if key in table.columns), None)
    return values if key is None else values.set_axis(pd.Index(table[key], name=key))


def _consecutive(rows: Tensor, largest: int) -> slice | None:
    """Return existing consecutive rows as a slice; on the CPU only, where the check is cheap."""
    if rows.device.type != "cpu" or rows.dim() != 1 or len(rows) < 2 or torch.compiler.is_compiling():
        return None
    first, last = int(rows[0]), int(rows[-1])
    if first < 0 or last > largest or last - first != len(rows) - 1 or not bool((rows.diff() == 1).all()):
        return None
    return slice(first, last + 1)
