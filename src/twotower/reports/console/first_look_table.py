"""What a first look ends with, for people: the table, the paired tests, the command to go on with."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console as Screen
from rich.table import Table

from twotower.reports.console.run_tables import plain_table

Look = Mapping[str, Any]
"""`first_look` of `sweep.json`."""


def show(look: Look, screen: Screen) -> None:
    """Print all of it."""
    screen.print(recipes_table(look))
    for name, why in look["left_out"].items():
        screen.print(f"left out    {name}: {why}")
    if look["tests"]:
        screen.print(tests_table(look))
    for line in lines_of(look):
        screen.print(line)


def recipes_table(look: Look) -> Table:
    """Return a row a recipe, the best first, then the best baselines; figures of the validation split."""
    best = look["best"] or {}
    parts = ["whole"] if look["share"] == 1 else ["sample", "whole"]
    metric = _short(look["metric"])
    table = plain_table(f"first look by {metric}")
    table.add_column("recipe", no_wrap=True)
    heads = {"sample": f"{look['share']:.3g} of users", "whole": "all users"}
    for part in parts:
        table.add_column(heads[part], justify="right")
    for part in parts:
        table.add_column(f"seconds, {heads[part]}" if len(parts) > 1 else "seconds", justify="right")
    table.add_column("what it sets")
    for row in look["recipes"]:
        cells = [_figure(row[part]) for part in parts]
        cells += [_figure(row["seconds"][part], "{:.0f}") for part in parts]
        words = " ".join(filter(None, [row["sets"], f"({row['note']})" if row["note"] else ""]))
        style = "bold" if row["recipe"] == best.get("recipe") else ""
        table.add_row(row["recipe"], *cells, words, style=style)
    for name, figures in look["baselines"].items():
        table.add_row(f"baseline {name}", *(_figure(figures[part]) for part in parts), style="dim")
    return table


def tests_table(look: Look) -> Table:
    """Return the best recipe against the others, on the users of the test split."""
    best, tests = look["best"], look["tests"]
    table = plain_table(f"{best['recipe']} against the others by {_short(tests[0]['metric'])}: paired tests")
    for heading in ("against", "difference", "95 % interval", "p", "verdict"):
        words = heading in ("against", "verdict")
        table.add_column(heading, justify="left" if words else "right", no_wrap=not words)
    for test in tests:
        low_high: Sequence[float] | None = test["interval"]
        interval = "" if low_high is None else f"[{low_high[0]:+.4f}, {low_high[1]:+.4f}]"
        figures = [_figure(test["difference"], "{:+.4f}"), interval, _figure(test["p"])]
        table.add_row(test["against"], *figures, test["verdict"])
    return table


def lines_of(look: Look) -> list[str]:
    """Return what is best, what to think of it, and the command."""
    best = look["best"]
    if best is None:
        return ["no recipe came so far that it can be judged; give sweep.minutes more, or sweep.share less"]
    on = "all users" if best["on"] == "whole" else "the sample alone: none was tried on all users"
    found = [f"best        {best['recipe']}  {_short(look['metric'])} {best['value']:.4f}  on {on}"]
    if best["behind_baseline"]:
        found.append("warning: the best baseline is ahead of it on the validation split")
    note = "  (its towers are there, and are taken)" if best["on"] == "whole" and best["ended"] else ""
    return [*found, f"go on       {best['command']}{note}"]


def _short(key: str) -> str:
    return key.replace("/", " ", 1).replace("_at_", "@")


def _figure(value: float | None, form: str = "{:.4f}") -> str:
    return "" if value is None else form.format(value)
