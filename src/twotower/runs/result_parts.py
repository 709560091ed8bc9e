"""The parts of `result.json` that have keys of their own."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class ResultPart(BaseModel):
    """A part of a result; keys of another version are kept as they are."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


class Provenance(ResultPart):
    """Which code and which machine made a run."""

    code: dict[str, Any] = {}
    machine: dict[str, Any] = {}


class Data(ResultPart):
    """Sizes of the data, and the audit of its split."""

    fingerprint: str | None = None
    """Of content and split; None where a run does not say."""
    feature_files: dict[str, str] = {}
    """`side.feature` -> SHA-256 of the files that the feature reads."""
    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    audit: dict[str, Any] = {}


class Training(ResultPart):
    """How the weights came about; `monitor` is the metric that chose the epoch, empty where none is known.

    A probability is the sigmoid of score / `temperature`, that of the loss at the end of the training; in
    `chosen` are settings that were left to the log or to the validation split, by key.
    """

    epochs: int | None = None
    refit: bool = False
    fitted_on: str | None = None
    objective: dict[str, Any] = {}
    monitor: str = ""
    temperature: float | None = None
    epoch_steps: int | None = None
    chosen: dict[str, float | None] = {}
    initialization: str | None = None
    """The better of two initializations on the validation split; None if only one was trained."""
    initialization_scores: dict[str, float] = {}
    """The validation score of each initialization that was trained."""


class Ancestry(ResultPart):
    """From which run this one goes on.

    `how` is `warm_start` (its towers were trained further) or `rebuild_bundle` (they are as they were). A
    generation is a training: the first is 1.
    """

    how: Literal["warm_start", "rebuild_bundle"]
    parent: str
    parent_fingerprint: str
    generation: int
    new_users: int = 0
    new_items: int = 0
    new_interactions: int = 0
    epochs: int | None = None
    replay: float | None = None
