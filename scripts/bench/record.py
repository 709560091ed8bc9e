"""Measures the tables of README and guide, and prints them.

  python scripts/bench/record.py                           all tables: measured, stale and missing rows
  python scripts/bench/record.py --plan leaderboard        its stale and missing rows, with their minutes
  python scripts/bench/record.py --run leaderboard         measures these rows, then prints the table
  python scripts/bench/record.py --run leaderboard --rows '*beauty*' --seeds 42        some of them
  python scripts/bench/record.py --show leaderboard        the table in Markdown
  python scripts/bench/record.py --run new_items --with trainer.max_epochs=1 --results /tmp/trial      a trial

A row is measured in a process of its own and adds a line to results/TABLE.jsonl. A row is stale if the
settings have another fingerprint than its latest line, or if that line is older than `--since`.
To add a table, add an entry to trainings.yaml, or a `Table` to `TABLES` of a module that `MODULES` names.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.experiments.runs.provenance import machine
from twotower.files.plain_values import fingerprint_values

ROOT = Path(__file__).parents[2]
OUTPUTS, RESULTS = ROOT / "outputs" / "bench", Path(__file__).parent / "results"
MODULES = (
    *("leaderboard", "trainings", "carry_over", "studies", "steps", "speed"),
    *("index_peers", "index_costs", "filtered_search", "churn", "services", "scale"),
)
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a table: what is measured with which settings.

    Attributes:
        name: of the row, unique in its table.
        words: settings of `twotower train`, or arguments of the measurement.
        seeds: each is a line of its own.
        minutes: of one seed, until a line has them.
    """

    name: str
    words: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (42,)
    minutes: float = 1.0


@dataclass(frozen=True)
class Line:
    """What is stored of a measurement: a line of a results file.

    Attributes:
        settings: fingerprint of the settings; None for lines of earlier formats.
        data: SHA-256 of the data set, None if it was drawn or is unknown.
        machine: `cpu`, `cores`, `threads`, and the load averages `load_start` and `load_end`.
        figures: everything measured, JSON.
    """

    table: str
    row: str
    command: str
    settings: str | None
    data: str | None
    seed: int
    commit: str | None
    date: str
    machine: Mapping[str, Any]
    minutes: float
    figures: Figures


def words_fingerprint(row: Row) -> str:
    """Return the fingerprint of a row that is no training: of its arguments."""
    return fingerprint_values({"words": list(row.words)})


def show_means(lines: Sequence[Line]) -> str:
    """Return all figures that are numbers, a row each: means and standard deviations over the seeds."""
    frames = [pd.json_normalize(line.figures, sep=" ").select_dtypes("number") for line in lines]
    table = pd.concat(frames, ignore_index=True).groupby([line.row for line in lines], sort=False)
    means, spread = table.mean(), table.std()
    text = means.map("{:.4g}".format).where(
        spread.isna(), means.map("{:.4f}".format) + spread.map(" ± {:.4f}".format)
    )
    return markdown(text.mask(means.isna(), "").rename_axis("row").reset_index())


@dataclass(frozen=True)
class Table:
    """A table of the guide.

    Attributes:
        page: of the guide that has its figures.
        rows: returns its rows.
        measure: returns the figures of a row and seed; `data` among them is the SHA-256 of the data set.
        show: returns the table in Markdown from the latest line of each row and seed.
        settings: returns the fingerprint of a row's settings.
        command: of which `Row.words` are the arguments.
    """

    page: str
    rows: Callable[[], Sequence[Row]]
    measure: Callable[[Row, int], Figures]
    show: Callable[[Sequence[Line]], str] = show_means
    settings: Callable[[Row], str] = words_fingerprint
    command: str = ""


@dataclass(frozen=True)
class Pairs:
    """Medians of two sides that were timed alternately.

    Attributes:
        ours: seconds of a call.
        theirs: seconds of a call of the other side.
        ratio: median over the pairs of theirs / ours; above 1 if ours is faster.
        lowest: smallest ratio of a pair.
        highest: largest ratio of a pair.
    """

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float


def pairs(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    count: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Figures:
    """Time two sides alternately, because only the ratio of one run means something on a shared machine.

    Args:
        ours: one side.
        theirs: the other.
        count: number of pairs.
        warm_up: pairs before, not counted.
        clock: in seconds.
    """
    taken: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    for number in range(warm_up + count):
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            began = clock()
            side()
            taken[side].append(clock() - began)
    own, others = taken[ours][warm_up:], taken[theirs][warm_up:]
    ratios = [other / each for each, other in zip(own, others, strict=True)]
    ours_median, theirs_median, ratio = (statistics.median(values) for values in (own, others, ratios))
    return asdict(Pairs(ours_median, theirs_median, ratio, min(ratios), max(ratios)))


def wall_and_cpu(
    ours: Callable[[], object], theirs: Callable[[], object], count: int, warm_up: int = 1
) -> Figures:
    """Return `pairs` by the clock on the wall and by processor time."""
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    return {name: pairs(ours, theirs, count, warm_up, clock) for name, clock in clocks.items()}


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts in Markdown."""
    rows: list[list[Any]] = [list(table), ["---"] * len(table.columns), *table.values.tolist()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def tables() -> dict[str, Table]:
    """Return all tables by name."""
    return {name: each for module in MODULES for name, each in importlib.import_module(module).TABLES.items()}


def read(table: str, results: Path = RESULTS) -> list[Line]:
    """Return the lines of a table; of the same row, settings, data and seed the latest."""
    lines: dict[tuple[str, str | None, str | None, int], Line] = {}
    path = results / f"{table}.jsonl"
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        line = Line(**json.loads(text))
        key = (line.row, line.settings, line.data, line.seed)
        lines.pop(key, None)  # so that a line that was measured again is the last
        lines[key] = line
    return list(lines.values())


def keep(line: Line, results: Path = RESULTS) -> None:
    """Add a line to the file of its table."""
    results.mkdir(parents=True, exist_ok=True)
    with (results / f"{line.table}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(line)) + "\n")


def latest(lines: Iterable[Line]) -> dict[tuple[str, int], Line]:
    """Return the latest line of each row and seed."""
    return {(line.row, line.seed): line for line in lines}


@dataclass(frozen=True)
class Todo:
    """A row and seed that is to be measured, why, and for about how many minutes."""

    row: Row
    seed: int
    why: str
    minutes: float


def plan(table: Table, rows: Sequence[Row], lines: Sequence[Line], since: str = "") -> list[Todo]:
    """Return the missing and stale rows, the shortest first."""
    measured, found = latest(lines), []
    for row in rows:
        settings = table.settings(row)
        known = [line for line in lines if line.row == row.name]
        minutes = known[-1].minutes or row.minutes if known else row.minutes
        of_today = {line.seed: line for line in known if line.settings == settings}
        for seed in row.seeds:
            line = of_today.get(seed) or measured.get((row.name, seed))
            why = (
                "missing"
                if line is None
                else "stale"
                if line.settings != settings or line.date < since
                else ""
            )
            found += [Todo(row, seed, why, minutes)] if why else []
    return sorted(found, key=lambda each: each.minutes)


def measured_line(
    name: str, table: Table, row: Row, seed: int, figures: Figures, load: float, began: float
) -> Line:
    """Return the line of some figures that were measured just now."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    here = {key: machine()[key] for key in ("cpu", "cores", "threads")}
    return Line(
        table=name,
        row=row.name,
        command=" ".join([table.command, *row.words]).strip(),
        settings=table.settings(row),
        data=figures.pop("data", None),
        seed=seed,
        commit=commit or None,
        date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        machine=here | {"load_start": round(load, 1), "load_end": round(os.getloadavg()[0], 1)},
        minutes=round((time.monotonic() - began) / 60, 2),
        figures=figures,
    )


def measure(name: str, table: Table, row: Row, seed: int) -> Line:
    """Measure a row in a process of its own, whose memory and threads no earlier row has used."""
    load, began = os.getloadavg()[0], time.monotonic()
    command = [sys.executable, __file__, "--child", name, json.dumps(asdict(row)), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return measured_line(name, table, row, seed, json.loads(done.stdout.splitlines()[-1]), load, began)


def in_this_process(name: str, row: Mapping[str, Any], seed: int) -> None:
    """Measure a row and print its figures as the last line."""
    values = dict(row) | {"words": tuple(row["words"]), "seeds": tuple(row["seeds"])}
    print("\n" + json.dumps(tables()[name].measure(Row(**values), seed)), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--plan", nargs="+", default=[], metavar="TABLE", help="missing and stale rows")
    parser.add_argument("--run", nargs="+", default=[], metavar="TABLE", help="measure these rows")
    parser.add_argument("--show", nargs="+", default=[], metavar="TABLE", help="print tables")
    parser.add_argument("--rows", nargs="+", default=["*"], help="names or patterns of rows")
    parser.add_argument("--seeds", nargs="+", type=int, help="other seeds than the table has")
    parser.add_argument("--since", default="", help="lines before this date are stale, such as 2026-12-24")
    parser.add_argument("--with", nargs="+", default=[], dest="words", help="further settings, for a trial")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        name, row, seed = given.child
        return in_this_process(name, json.loads(row), int(seed))
    if given.words and given.results == RESULTS:
        parser.error("--with measures other settings than the table has: name another folder by --results")
    known = tables()
    if unknown := {*given.plan, *given.run, *given.show} - known.keys():
        parser.error(f"unknown table {', '.join(sorted(unknown))}; expected {', '.join(known)}")
    if not (given.plan or given.run or given.show):
        return print(overview(known, given.results, given.since))
    for name in dict.fromkeys((*given.plan, *given.run)):
        rows = [
            Row(row.name, (*row.words, *given.words), tuple(given.seeds or row.seeds), row.minutes)
            for row in known[name].rows()
            if any(fnmatch(row.name, pattern) for pattern in given.rows)
        ]
        for todo in plan(known[name], rows, read(name, given.results), given.since):
            about = f"about {todo.minutes:.0f} minutes"
            print(f"{name}: {todo.row.name}, seed {todo.seed}: {todo.why}, {about}", flush=True)
            if name in given.run:
                keep(measure(name, known[name], todo.row, todo.seed), given.results)
    for name in (*given.run, *given.show):
        print(f"\n{name} ({known[name].page})\n\n{known[name].show(read(name, given.results))}")
    return None


def overview(known: Mapping[str, Table], results: Path, since: str) -> str:
    """Return how many rows of each table are measured, stale and missing."""
    rows = []
    for name, table in known.items():
        todo = plan(table, table.rows(), read(name, results), since)
        number = sum(len(row.seeds) for row in table.rows())
        why = {each: sum(one.why == each for one in todo) for each in ("stale", "missing")}
        minutes = f"{sum(each.minutes for each in todo):.0f}"
        rows.append(
            {"table": name, "page": table.page, "measured": number - len(todo), **why, "minutes": minutes}
        )
    return markdown(pd.DataFrame(rows))


if __name__ == "__main__":
    importlib.import_module("record").main()  # of the module whose classes the tables use
