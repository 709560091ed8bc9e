"""Several temporal splits of one log, each as if the log ended with its test window."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.spec import NonNegativeFloat, PositiveFloat, PositiveInt
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.splits.split import Split
from twotower.data.splits.temporal import NEVER, Temporal
from twotower.data.times import date


class Rolling(Temporal):
    """`Temporal` at several times; the test window of the newest ends with the last interaction.

    Interactions after its test window, and users and items that occur only then, are not part of the data of
    a window. Its valid window is the test window of the one before, if `step`, `test` and `valid` are equal.
    """

    class Config(Temporal.Config):
        """Settings of the windows; lengths are in `unit`."""

        num_windows: PositiveInt = 4
        """Number of windows."""
        window: PositiveInt | None = None
        """This window alone, 1 is the oldest; null: the newest, and the older ones in `windows/`."""
        step: PositiveFloat | None = None
        """From one window to the next; null: `test`, so that test windows do not overlap."""
        gap: NonNegativeFloat = 0.0
        """Before the valid and the test window, as if models were trained on older data; its interactions
        are dropped."""
        history_length: PositiveFloat | None = None
        """Length of the training interactions before the windows; null: all earlier interactions."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Require that the window exists."""
            is_missing = self.window is not None and self.window > self.num_windows
            missing = [("window", f"expected at most num_windows={self.num_windows}")] if is_missing else []
            return [*super().problems(context), *missing]

        def windows(self) -> Sequence[int]:
            """Return all windows, unless one is chosen."""
            return range(1, self.num_windows + 1) if self.window is None else ()

    config: Config
    name = "rolling"

    def __init__(self, config: Config, edges: list[int] | None = None) -> None:
        super().__init__(config)
        self.window = config.window or config.num_windows
        self._edges = edges
        self.end = edges[-1] if edges and edges[-1] != NEVER else None

    def resolve(self, interactions: Interactions) -> Split:
        """Return the split with its cutoffs in unix seconds; raises InputError if some windows do not fit."""
        times = np.sort(interactions.times)
        edges = [self._window_edges(times, window) for window in range(1, self.config.num_windows + 1)]
        fits = [self._fits(times, each) for each in edges]
        if not all(fits):
            num_fitting = fits[::-1].index(False)
            raise InputError(
                f"split=rolling: only {num_fitting} of {self.config.num_windows} windows fit into the log, "
                f"from {date(int(times[0]))} to {date(int(times[-1]))} with {len(times):,} interactions: "
                f"each needs some in train, valid and test; set split.num_windows={max(num_fitting, 1)}, or "
                "lower split.test, split.valid, split.step, split.gap or split.history_length"
            )
        return Rolling(self.config, edges[self.window - 1])

    def edges(self, interactions: Interactions) -> list[int]:
        """See `Temporal.edges`."""
        return self._edges or self._window_edges(np.asarray(interactions.times), self.window)

    def _window_edges(self, times: NDArray[np.int64], window: int) -> list[int]:
        config = self.config
        later = (config.num_windows - window) * (config.step or config.test)
        lengths = [later, config.test, config.gap, config.valid, config.gap, config.history_length or 0.0]
        from_end = np.cumsum(lengths).tolist()
        first, *edges = [self.cutoff(times, length) for length in reversed(from_end[1:])]
        return [first if config.history_length else 0, *edges, self.cutoff(times, later) if later else NEVER]

    def _fits(self, times: NDArray[np.int64], edges: list[int]) -> bool:
        """Return whether the history is complete, and train, valid and test have interactions."""
        train, _, valid, _, test = np.diff(np.searchsorted(times, edges))
        is_complete = self.config.history_length is None or edges[0] >= times[0]
        return bool(is_complete and min(train, valid, test) > 0)

    def audit(self, interactions: Interactions) -> Audit:
        """Return the window and its cutoffs."""
        return {"window": f"{self.window} of {self.config.num_windows}", **super().audit(interactions)}
