"""The textbook's two towers: the model of `step_model.py` in plain PyTorch, as one would write it by hand.

Same parameters, same features, same masks and the same loss to the last digits; nothing is fused, shared or
left out. Shapes: P positives, N items, U users, L positions of a history, D embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.model.towers.two_tower import TwoTower


class Textbook(nn.Module):
    """Two towers and their softmax.

    Args:
        num_items: N.
        length: L.
        dim: D.
        width: of the hidden layers.
        known: [U + 1, N + 1] bool, the items that each user has.
        log_q: [N + 1] of every item.
        temperature: what scores are divided by.
    """

    known: Tensor
    log_q: Tensor

    def __init__(
        self,
        num_items: int,
        length: int,
        dim: int,
        width: int,
        known: Tensor,
        log_q: Tensor,
        temperature: float,
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, dim)
        self.history = nn.Embedding(num_items + 1, dim, padding_idx=0)
        self.age = nn.Parameter(torch.zeros(length))
        self.user_tower, self.item_tower = (
            nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, dim)) for _ in range(2)
        )
        self.temperature = temperature
        self.register_buffer("known", known)
        self.register_buffer("log_q", log_q)

    @torch.no_grad()
    def take(self, model: TwoTower) -> None:
        """Begin with the weights of another."""
        state = model.state_dict()
        self.items.weight.copy_(state["item_encoders.item_id.table.weight"])
        self.history.weight.copy_(state["history_table.weight"])
        self.age.copy_(state["history.age_logits"].flip(0))
        for side in ("user_tower", "item_tower"):
            own = {name: state[f"{side}.layers.{name}"] for name in ("0.weight", "0.bias")}
            last = max(key for key in state if key.startswith(f"{side}.layers.")).split(".")[2]
            own |= {f"2.{kind}": state[f"{side}.layers.{last}.{kind}"] for kind in ("weight", "bias")}
            getattr(self, side).load_state_dict(own)

    def encode_items(self, rows: Tensor) -> Tensor:
        """Embed items [B] -> [B, D]."""
        embeddings = self.items(rows)
        return F.normalize(self.item_tower(embeddings) + embeddings, dim=-1)

    def encode_users(self, histories: Tensor) -> Tensor:
        """Embed users by their histories [B, L] -> [B, D]."""
        there = histories > 0
        weights = torch.softmax(self.age.expand(histories.shape).masked_fill(~there, -1e9), -1) * there
        pooled = (self.history(histories) * weights[..., None]).sum(1)
        return F.normalize(self.user_tower(pooled) + pooled, dim=-1)

    def in_batch(self, users: Tensor, histories: Tensor, positives: Tensor) -> Tensor:
        """Return the loss of a batch whose positives are each other's negatives, corrected by log q."""
        logits = self.encode_users(histories) @ self.encode_items(positives).T / self.temperature
        logits = logits - self.log_q[positives]
        mask = self.known[users][:, positives]
        mask.fill_diagonal_(False)
        return F.cross_entropy(logits.masked_fill(mask, -torch.inf), torch.arange(len(users)))

    def catalogue(self, users: Tensor, histories: Tensor, positives: Tensor) -> Tensor:
        """Return the loss against every item."""
        items = self.encode_items(torch.arange(1, len(self.log_q)))
        logits = self.encode_users(histories) @ items.T / self.temperature
        mask = self.known[users][:, 1:]
        mask[torch.arange(len(users)), positives - 1] = False
        return F.cross_entropy(logits.masked_fill(mask, -torch.inf), positives - 1)
