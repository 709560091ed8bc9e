"""Interpolate between the initial embeddings and the trained weights, as the validation split chooses.

A training from informed embeddings can learn too much from a small or a fast log. Weights on the way back to
the initial ones are often better than both ends, and one of the ends is the initial embeddings themselves.

Reference: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022 (WiSE-FT).
"""

import logging

import numpy as np
from torch import Tensor

from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.checkpoints import INITIAL, read_checkpoint
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice

LOG = logging.getLogger("twotower")
INITIAL_SHARE = "trainer.initial_share"
SHARES = (0.25, 0.5, 0.75)
"""Shares of the initial embeddings that are tried besides 0 and 1."""


def mix_with_initial(
    module: RetrievalModule, checkpointing: Checkpointing, settings: TrainerChoice.Config
) -> tuple[float, float | None]:
    """Load (1 - share) * trained + share * initial weights; return the share and its validation score.

    The share is `initial_share`, or if that is null the one with the best score; of equal ones the largest.
    It is 0 if the initial embeddings carry no information, and 1 after no epoch.

    Args:
        module: with the trained weights.
        checkpointing: has their score; None without validation.
    """
    if not module.is_informed or settings.initial_share == 0:
        return 0.0, checkpointing.score
    if not checkpointing.epochs:
        return 1.0, module.initial_score
    initial = read_checkpoint(checkpointing.folder / INITIAL)["state_dict"]
    trained = {key: values.to("cpu", copy=True) for key, values in module.state_dict().items()}

    def load(share: float) -> float | None:
        mixed = {key: _mixture(values, initial[key], share) for key, values in trained.items()}
        module.load_state_dict(mixed)
        if module.validation is None:
            return None
        return module.validation.score(module.model, settings.monitor, module.temperature)

    if settings.initial_share is not None:
        return settings.initial_share, load(settings.initial_share)
    assert module.initial_score is not None
    assert checkpointing.score is not None
    # Lightning stores the score of an epoch as float32.
    scores = {0.0: checkpointing.score, 1.0: float(np.float32(module.initial_score))}
    scores |= {share: float(np.float32(load(share) or 0.0)) for share in SHARES}
    share = max(scores, key=lambda share: (scores[share], share))
    load(share)
    LOG.info(
        "%s=%g (%s: %s)",
        *(INITIAL_SHARE, share, settings.monitor),
        ", ".join(f"{abs(scores[each]):.4f} at {each:g}" for each in sorted(scores)),
    )
    return share, scores[share]


def _mixture(trained: Tensor, initial: Tensor, share: float) -> Tensor:
    """Interpolate a tensor of numbers; the memory of a sampler may have grown and stays."""
    is_mixed = trained.is_floating_point() and trained.shape == initial.shape
    return trained.lerp(initial, share) if is_mixed else trained
