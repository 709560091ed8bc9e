"""The settings of two towers, for training and for reading a bundle."""

from twotower.config.component import Config
from twotower.config.spec import Width
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.new_items.by_tower import ByTower
from twotower.towers.new_items.new_items import NewItems
from twotower.towers.tower import Tower


class TwoTowerConfig(Config):
    """Width, history, towers, item bias and new items."""

    embedding_dim: Width
    """D, the width of an embedding, including the column of the item bias."""
    history: HistoryEncoder.Config
    user_tower: Tower.Config
    item_tower: Tower.Config
    item_bias: ItemBias.Config
    new_items: NewItems.Config = ByTower.Config()
    """Embedding of items without training interactions."""

    @property
    def tower_width(self) -> int:
        """The width of the towers' output, without the column of the item bias."""
        return self.embedding_dim - self.item_bias.width

    def provides(self) -> frozenset[str]:
        """Return the needs of losses (`Loss.Config.needs`) that these towers meet."""
        return frozenset(need for need, remedy in self.remedies().items() if not remedy)

    def remedies(self) -> dict[str, str]:
        """Return need of a loss -> settings that meet it; empty if these towers meet it."""
        towers = {"user_tower": self.user_tower, "item_tower": self.item_tower}
        lacking = [tower.remedy(key) for key, tower in towers.items() if "unit_vectors" not in tower.provides]
        return {
            "unit_vectors": " and ".join(lacking),
            "no_item_bias": "set item_bias=none" if self.item_bias.width else "",
        }
