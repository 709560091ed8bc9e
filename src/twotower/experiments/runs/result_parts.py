"""The parts of `result.json` that have their own fields."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class ResultPart(BaseModel):
    """A part of a result; unknown keys are kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


class Provenance(ResultPart):
    """Code and machine of a run."""

    code: dict[str, Any] = {}
    machine: dict[str, Any] = {}


class Data(ResultPart):
    """Sizes of the data, and the audit of its split."""

    fingerprint: str | None = None
    """Of content and split; None if the run failed before the data was loaded."""
    feature_files: dict[str, str] = {}
    """`side.feature` -> SHA-256 of the files that the feature reads."""
    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    audit: dict[str, Any] = {}

    @property
    def identity(self) -> str:
        """Fingerprint of the data that a model reads, as `RetrievalDataset.identity`."""
        from twotower.data.dataset import data_identity  # imports pandas

        return data_identity(str(self.fingerprint), self.feature_files)


class Training(ResultPart):
    """How the towers were trained.

    Attributes:
        monitor: the metric that chose the epoch; empty if unknown.
        temperature: of the loss at the end of training; a probability is sigmoid(score / temperature).
        chosen: settings that the log or the validation split determined, by key.
    """

    epochs: int | None = None
    refit: bool = False
    fitted_on: str | None = None
    objective: dict[str, Any] = {}
    monitor: str = ""
    temperature: float | None = None
    epoch_steps: int | None = None
    chosen: dict[str, float | None] = {}
    id_rows: dict[str, dict[str, int]] = {}
    """Key of an id feature -> its number of `rows`, of ids that are too `rare` or too `old` for one, and of
    `rows_given_back` by ids of the parent run; of features with `min_count` or `max_age_days` only."""


class Ancestry(ResultPart):
    """The run that this one started from: `how` it uses its towers, and the number of trainings so far."""

    how: Literal["warm_start", "rebuild_bundle"]
    parent: str
    parent_fingerprint: str
    generation: int
    new_users: int = 0
    new_items: int = 0
    new_interactions: int = 0
    epochs: int | None = None
    replay: float | None = None


class Power(ResultPart):
    """The smallest difference of a metric that a paired test over the users of a split can show.

    It is shown with probability `level` at the two-sided `alpha`, and None if too few users differ. The
    baselines `pair` have the assumed spread; `best_baseline` is the metric of the first on validation.
    """

    metric: str
    num_users: int
    difference: float | None
    pair: list[str]
    best_baseline: float
    level: float
    alpha: float


class FeatureImportance(ResultPart):
    """The drop of a validation metric when the values of a feature are permuted.

    The parts are `all` users, users with `no_history` and with a `short_history` (the lowest third), and
    targets that are `new_items` or `rare_items` (outside of the first 80 % of interactions).

    Attributes:
        metric: as `recall_at_20`.
        repeats: number of permutations of each feature.
        num_users: part -> number of users.
        values: part -> the metric without a permutation.
        drops: `user.NAME`, `context.NAME`, `item.NAME` or `history` -> part -> mean and standard deviation
            over permutations; positive if the feature helps.
        only_for_new_items: features that change only the embeddings of new items.
        constant: features with one value, which are not measured.
    """

    metric: str
    repeats: int
    num_users: dict[str, int]
    values: dict[str, float]
    drops: dict[str, dict[str, list[float | None]]]
    only_for_new_items: list[str] = []
    constant: list[str] = []
    seconds: float | None = None

    def ranked(self) -> list[str]:
        """Return the features by their drop for all users; those for new items only come last."""
        return sorted(
            self.drops,
            key=lambda name: (name in self.only_for_new_items, -(self.drops[name]["all"][0] or 0.0)),
        )


class NewItemCurve(ResultPart):
    """Recall on known and new items of the validation split, by the boost of new items.

    Attributes:
        metric: as `recall_at_20`.
        boost: of the towers.
        num_items: number of new items in the catalogue.
        without: the same recall in lists without new items.
        curve: `boost`, and recall on `known`, on `new` items (if any is a target) and on `all`.
    """

    metric: str
    boost: float
    num_items: int
    without: dict[str, float]
    curve: list[dict[str, float]]

    def own(self) -> dict[str, float]:
        """Return the entry of the curve that has the boost of the towers."""
        return next(each for each in self.curve if each["boost"] == self.boost)


class BenchmarkRecord(ResultPart):
    """The benchmark of a run.

    Attributes:
        fingerprint: of the contract: files, split, metrics and candidates.
        side_information: kind -> keys of the settings that read it; see `pipeline.side_information`.
    """

    name: str
    fingerprint: str
    side_information: dict[str, list[str]]


class SplitLooks(ResultPart):
    """The looks at one test split so far; see `runs.test_ledger`.

    `looks` counts configurations with their seeds. `optimism` is None if users have no values of the metric.
    """

    configurations: int
    looks: int
    metric: str
    optimism: float | None

    @property
    def consequence(self) -> str:
        """The expected optimism in words; empty if it is unknown."""
        if self.optimism is None:
            return ""
        metric = self.metric.removeprefix("test/").replace("_at_", "@")
        return (
            f"; the best of {self.configurations} is expected to be {self.optimism:.4f} too good in {metric}"
        )
