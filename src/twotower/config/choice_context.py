"""What a choice of a run can know of the other choices when it checks itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChoiceContext:
    """The run around a choice; see `Component.Config.problems`.

    Attributes:
        settings: name -> value; what could not be read is absent. The names are the root keys of a run, with
            a `Config` for each choice, and `towers` (all settings of the towers), `block_names` (key of a
            tower -> names of its inputs), `sparse_keys` (of settings that give sparse gradients), `monitored`
            (metrics that `trainer.monitor` may name), `columns` (table -> columns of the data) and
            `has_content` (of items, besides ids).
        key: of the choice, such as `loss` or `features.item.price`.
        num_items: in the catalogue; None before the data is read.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    num_items: int | None = None

    def get(self, name: str) -> Any:
        """Return the setting of a name, None if it is not known."""
        return self.settings.get(name)


NO_CONTEXT = ChoiceContext()
