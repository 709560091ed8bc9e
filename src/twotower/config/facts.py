"""What is known of a run before its data is read, for rules between its choices."""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a choice may be told of the others; see `Component.Config.problems`. None = not known.

    Attributes:
        key: where the choice that is asked stands, e.g. `item_tower` or `features.user.country`.
        embedding_dim: D.
        num_items: of the catalogue; asked again once it is known for sure.
        columns: table (`users`, `items`) -> its columns.
        gives_split: whether the source says which interactions are train, valid or test.
        has_times: whether interactions have times; otherwise at most an order.
        gives_negatives: whether it says what was shown in vain.
        events: the words of its events that stand in histories.
        every_position: whether histories are summarised at every position, and not at the last alone.
        blocks: `user_tower`, `item_tower` -> the names of its inputs.
        provided: what negatives and towers provide of what a loss may need.
        remedies: what towers could provide and do not -> what to set for it.
        negatives: name of their class.
        num_draws: how many candidates they draw for a batch.
        shown_as: how the loss learns from shown negatives: `examples`, `query_negatives`; empty: not at all.
        num_shown: how many shown negatives of its user a positive is ranked against at most.
        has_fixed_temperature: whether what the loss divides scores by is known before training.
        logged: key that a training logs, e.g. `valid/recall_at_20` -> whether higher is better, or None.
        sparse: keys of the settings that make gradients sparse.
    """

    key: str = ""
    embedding_dim: int | None = None
    num_items: int | None = None
    columns: Mapping[str, Set[str]] | None = None
    gives_split: bool | None = None
    has_times: bool | None = None
    gives_negatives: bool | None = None
    events: Collection[str] | None = None
    every_position: bool | None = None
    blocks: Mapping[str, Set[str]] | None = None
    provided: Set[str] | None = None
    remedies: Mapping[str, str] | None = None
    negatives: str | None = None
    num_draws: int | None = None
    shown_as: str | None = None
    num_shown: int | None = None
    has_fixed_temperature: bool | None = None
    logged: Mapping[str, bool | None] | None = None
    sparse: tuple[str, ...] = ()

    def lacks_times(self, key: str, remedy: str) -> list[tuple[str, str]]:
        """Return what somebody who needs times says under a key, if they are known not to be there."""
        if self.has_times is not False:
            return []
        all_choices = "experiment=no_times makes all such choices"
        return [(key, f"needs times, which this data does not have; {remedy} ({all_choices})")]
