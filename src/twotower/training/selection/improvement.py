"""Whether weights improve on others on the validation split, by more than their standard error."""

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.user_values import exceeds
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice


def has_improved(
    module: RetrievalModule,
    score: float | None,
    settings: TrainerChoice.Config,
    rival: NDArray[np.float64] | None,
) -> bool:
    """Return whether the final weights improve on the initial embeddings and on a rival.

    Args:
        score: monitored metric of the final weights, negated if lower is better; None without validation.
        rival: monitored metric by user of other weights, which must be exceeded by some standard errors.
    """
    initial = module.initial_score
    # Lightning stores metrics as float32.
    better = score is None or initial is None or score > float(np.float32(initial))
    if module.validation is None or rival is None:
        return better
    module.validation.score(module.model, settings.monitor, module.temperature)
    values = module.validation.monitored(settings.monitor)
    return better and exceeds(values, rival, settings.min_standard_errors)
