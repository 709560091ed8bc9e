"""What a request is answered with."""

from dataclasses import dataclass

ItemId = int | str
UserId = int | str


@dataclass(frozen=True)
class Recommendation:
    """One item, and why it stands where it does.

    Args:
        score: the dot product of the two embeddings.
        label: the item's name for people, where the data have one.
    """

    item_id: ItemId
    score: float
    label: str | None
