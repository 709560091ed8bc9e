"""`scripts/compare.py`: its arguments, and where each form of output goes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twotower.config.errors import InputError
from twotower.files.atomic import write_text_atomically
from twotower.reports.compare.build import compare
from twotower.reports.compare.export import as_csv, as_json, as_markdown
from twotower.reports.compare.find import is_run, run_folders
from twotower.reports.compare.metric import DEFAULT
from twotower.reports.compare.report import Options, Report
from twotower.reports.compare.screen import show
from twotower.reports.compare.table import summary

STDOUT = "-"
Writer = Callable[[Report], str]


def run_command(arguments: Sequence[str], description: str) -> int:
    """Compare the runs that the arguments name; returns the exit status.

    Args:
        arguments: of the command line, without the script's name.
        description: what `--help` begins with.

    Raises:
        InputError: no run, an unknown name, or an output that cannot be written.
    """
    asked = parser(description).parse_args(arguments)
    outputs = [(name, asked_path) for name in FORMS if (asked_path := getattr(asked, name))]
    _check(outputs)
    folders, notes = run_folders(asked.paths)
    report = compare(folders, _options(asked), notes)
    to_stdout = [name for name, path in outputs if path == STDOUT]
    if to_stdout:
        sys.stdout.write(FORMS[to_stdout[0]](report))
        print("\n".join(summary(report)), file=sys.stderr)
    else:
        show(report)
    for name, path in outputs:
        if path != STDOUT:
            _write(name, path, FORMS[name](report))
            print(f"written: {path}", file=sys.stderr if to_stdout else sys.stdout)
    return 0


def _write(name: str, path: str, text: str) -> None:
    try:
        write_text_atomically(Path(path), text)
    except OSError as error:
        raise InputError(
            f"--{name} {path}: cannot be written ({error.strerror}); name another file"
        ) from error


def parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    made = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 done, 1 failed, 2 your input.",
        allow_abbrev=False,
    )
    made.add_argument(
        "paths", nargs="+", metavar="PATH", help="runs, sweeps, folders above them, globs in quotes"
    )
    made.add_argument("--metric", metavar="KEY", help=f"figure to compare and sort by [{DEFAULT}]")
    made.add_argument(
        "--columns", metavar="KEY,KEY", help="more figures to show [the index's, if it differs, or ndcg@20]"
    )
    made.add_argument(
        "--baseline", metavar="RUN", help="run or built-in baseline to set against [best by validation]"
    )
    made.add_argument("--with-baselines", action="store_true", help="show the built-in baselines as rows")
    made.add_argument(
        "--by",
        choices=["run", "configuration"],
        default="run",
        help="what a row is; a configuration is all its seeds",
    )
    made.add_argument("--pairs", action="store_true", help="compare all pairs, not only with the baseline")
    made.add_argument("--no-tests", action="store_true", help="differences only: quicker with many runs")
    made.add_argument("--html", metavar="FILE", help="write one self-contained page with plots")
    for form in ("csv", "json", "markdown"):
        made.add_argument(f"--{form}", metavar="FILE", help=f"write {form}; - is standard output")
    made.add_argument("--debug", action="store_true", help="show where an error comes from")
    return made


def _options(asked: argparse.Namespace) -> Options:
    return Options(
        metric=asked.metric,
        columns=None if asked.columns is None else tuple(asked.columns.split(",")),
        baseline=asked.baseline,
        with_baselines=asked.with_baselines,
        by_configuration=asked.by == "configuration",
        pairs=asked.pairs,
        tests=not asked.no_tests,
    )


def _check(outputs: Sequence[tuple[str, str]]) -> None:
    """Refuse outputs that cannot be written before any run is read."""
    to_stdout = [f"--{name}" for name, path in outputs if path == STDOUT]
    if len(to_stdout) > 1:
        raise InputError(f"{' and '.join(to_stdout)}: only one of them can go to standard output")
    paths = [Path(path).resolve() for _, path in outputs if path != STDOUT]
    if len(set(paths)) < len(paths):
        raise InputError("two outputs have the same file name; give each its own")
    for name, text in outputs:
        path = Path(text)
        if text == STDOUT and name == "html":
            raise InputError("--html -: name a file, as in --html report.html")
        if text != STDOUT and path.is_dir():
            raise InputError(f"--{name} {text}: a folder is there; name a file")
        if text != STDOUT and is_run(path.parent):
            raise InputError(
                f"--{name} {text}: a run folder holds only what the run wrote; name a file elsewhere"
            )
        if name == "html":
            _check_plotly()


def _check_plotly() -> None:
    from importlib.util import find_spec

    if find_spec("plotly") is None:
        raise InputError("--html needs plotly, which is not installed; pip install -e '.[report]'")


def _as_html(report: Report) -> str:
    from twotower.reports.compare.page import as_html

    return as_html(report)


FORMS: dict[str, Writer] = {"html": _as_html, "csv": as_csv, "json": as_json, "markdown": as_markdown}
