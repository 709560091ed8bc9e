"""Jobs and their figures: names beside the figures where there is room, and above them where there is not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from twotower.reports.console.folding import folded

GAP, INDENT = 2, 2


@dataclass(frozen=True)
class Line:
    """One job.

    Attributes:
        job: its name.
        settings: what varies, where the name does not say it.
        cells: status and figures.
        style: of all of it.
    """

    job: str
    settings: str
    cells: Sequence[str]
    style: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table of jobs, which rich draws as wide as the screen is.

    Attributes:
        title: above it.
        headings: of the cells; a space in one is where it may be folded.
        lines: one a job.
    """

    title: str
    headings: Sequence[str]
    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a plain table, or one with the names above the figures."""
        wide = self._wide()
        if Measurement.get(console, options.update_width(10**6), wide).maximum <= options.max_width:
            yield wide
        else:
            yield from self._narrow(console, options)

    def _wide(self) -> Table:
        table = plain_table(self.title)
        with_settings = any(line.settings for line in self.lines)
        for heading in ("job", "settings") if with_settings else ("job",):
            table.add_column(heading, no_wrap=True)
        _add_figures(table, self.headings)
        for line in self.lines:
            names = (line.job, line.settings) if with_settings else (line.job,)
            table.add_row(*names, *line.cells, style=line.style)
        return table

    def _narrow(self, console: Console, options: ConsoleOptions) -> Iterator[Segment | Text]:
        headings = [heading.replace(" ", "\n", 1) for heading in self.headings]
        figures = plain_table()
        _add_figures(figures, headings)
        for line in self.lines:
            figures.add_row(*line.cells, style=line.style)
        drawn = console.render_lines(figures, options.update_width(options.max_width - INDENT), pad=False)
        height = 1 + max(heading.count("\n") for heading in headings)
        yield Text(self.title, style="bold")
        for segments in drawn[:height]:
            yield from (Segment(" " * INDENT), *segments, Segment.line())
        for line, segments in zip(self.lines, drawn[height:], strict=True):
            yield Text("\n".join(_names(line, options.max_width)), style=line.style, overflow="fold")
            yield from (Segment(" " * INDENT), *segments, Segment.line())


def plain_table(title: str | None = None, show_header: bool = True) -> Table:
    """Return a table without lines."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=show_header,
        header_style="bold",
    )


def _add_figures(table: Table, headings: Sequence[str]) -> None:
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "status" else "right", no_wrap=True)


def _names(line: Line, width: int) -> list[str]:
    if not line.settings:
        return folded(line.job, width)
    indent = len(line.job) + GAP
    first, *more = folded(line.settings, width - indent)
    return [f"{line.job}{' ' * GAP}{first}", *(f"{' ' * indent}{each}" for each in more)]
