"""How an evaluation is divided among the processes that run it together."""

from torch import Tensor


class Division:
    """The division among one process, which does everything."""

    def share(self, number: int) -> slice:
        """Return the share of this process in a number of rows."""
        return slice(0, number)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate the rows [n, ...] of all processes, in their order."""
        return rows


WHOLE = Division()
