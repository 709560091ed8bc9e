"""The report of `twotower index_lab`: a table, a page and figures."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from twotower.experiments.console.console_tables import make_table
from twotower.experiments.runs.outcome import front
from twotower.experiments.tensorboard.plots import to_png
from twotower.experiments.tensorboard.tensorboard_run import write_lab_summaries
from twotower.index_lab.lab_plots import lab_curves, lab_memory
from twotower.index_lab.measure import LabRow

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #8a8a8a55; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tr.front td:first-child { font-weight: 600; }
.wide { overflow-x: auto; }
img { max-width: 100%; }
"""


class LabReport:
    """Measured indexes as a table for the console, a page, and events for TensorBoard.

    Rows on the Pareto front are bold.
    """

    def __init__(self, rows: Sequence[LabRow], title: str, target_recall: float) -> None:
        best, shown = pareto_rows(rows), ranked(rows)
        self.title, self.target_recall, self.headings = title, target_recall, [*columns(rows[0])]
        self.rows, self.is_bold = [[*columns(row).values()] for row in shown], [row in best for row in shown]
        self.figures = {"recall and speed": lab_curves(rows), "recall and memory": lab_memory(rows)}

    def table(self) -> Table:
        """Return the table for the console."""
        styles = ["bold" if bold else "" for bold in self.is_bold]
        return make_table(self.title, self.headings, self.rows, styles)

    def page(self, skipped: Mapping[str, str]) -> str:
        """Return the page, in one file; `skipped` is case -> why it was left out."""
        headed = "".join(f"<th>{html.escape(each)}</th>" for each in self.headings)
        body = "\n".join(
            f"<tr{' class=front' if bold else ''}>"
            + "".join(f"<td>{html.escape(each)}</td>" for each in row)
            + "</tr>"
            for row, bold in zip(self.rows, self.is_bold, strict=True)
        )
        images = "\n".join(
            f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(to_png(figure)[0]).decode()}">'
            for name, figure in self.figures.items()
        )
        left_out = "".join(
            f"<p>{html.escape(f'{name} was left out: {why}')}</p>" for name, why in skipped.items()
        )
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Index laboratory</title><style>{STYLE}</style></head>
<body><h1>Index laboratory</h1>
<p>{self.title}. Each row is the fastest search whose recall reaches {self.target_recall:g}, or the most
thorough one. Queries per second are measured for a batch on one thread, p50 and p99 are times of one query
on one thread. Times to add and remove are per item. No row beats a <b>bold</b> one in recall, speed and bytes
per item.</p>
<div class="wide"><table><thead><tr>{headed}</tr></thead><tbody>
{body}
</tbody></table></div>
{left_out}
{images}
</body></html>
"""

    def write_events(self, folder: Path) -> None:
        """Write the figures and the table for TensorBoard."""
        summaries = {f"index_lab/{name.replace(' ', '_')}": each for name, each in self.figures.items()}
        lines = [self.headings, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
        )
        table = "\n".join(aligned)  # as code, because TensorBoard breaks the numbers of narrow columns
        write_lab_summaries(folder, summaries, {"index_lab/table": f"```\n{table}\n```"})


def columns(row: LabRow) -> dict[str, str]:
    """Return heading -> text of a row of the table; recall is at k of the exact results."""
    search = " ".join(f"{key}={value}" for key, value in row.chosen.search_args.items())
    return {
        "index": row.name,
        "search": search or "all",
        **{f"recall@{k}": f"{value:.4f}" for k, value in row.recall_at.items()},
        "queries/s": f"{row.chosen.queries_per_second:,.0f}",
        "p50 ms": f"{row.latency_ms_p50:.3f}",
        "p99 ms": f"{row.latency_ms_p99:.3f}",
        "bytes/item": f"{row.bytes_per_item:.0f}",
        "build s": f"{row.build_seconds:.2f}",
        "add ms": f"{row.add_ms:.3f}",
        "remove ms": f"{row.remove_ms:.3f}",
    }


def ranked(rows: Sequence[LabRow]) -> list[LabRow]:
    """Return rows that reach the target first, the fastest of them first."""
    return sorted(rows, key=lambda row: (not row.reaches_target, -row.chosen.queries_per_second))


def pareto_rows(rows: Sequence[LabRow]) -> list[LabRow]:
    """Return the rows that no other row beats in recall, queries per second and bytes per item."""
    criteria = [(-row.chosen.recall, -row.chosen.queries_per_second, row.bytes_per_item) for row in rows]
    return [rows[at] for at in front(criteria)]
