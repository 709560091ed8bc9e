"""The result of a first look: table of recipes, paired tests, command of the best recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console as Screen
from rich.table import Table

from twotower.reports.compare.figure_names import heading
from twotower.reports.console.run_tables import figure, plain_table

Look = Mapping[str, Any]
"""`first_look` of `sweep.json`."""


def show(look: Look, screen: Screen) -> None:
    """Print table, tests and command."""
    screen.print(recipes_table(look))
    for name, why in look["left_out"].items():
        screen.print(f"left out    {name}: {why}")
    if look["tests"]:
        screen.print(tests_table(look))
    for line in lines_of(look):
        screen.print(line)


def recipes_table(look: Look) -> Table:
    """Return a row per recipe, the best first, then the best baselines, by validation metric."""
    best = look["best"] or {}
    parts = ["whole"] if look["share"] == 1 else ["sample", "whole"]
    metric = heading(look["metric"])
    table = plain_table(f"first look by {metric}")
    table.add_column("recipe", no_wrap=True)
    heads = {"sample": f"{look['share']:.3g} of users", "whole": "all users"}
    for part in parts:
        table.add_column(heads[part], justify="right")
    for part in parts:
        table.add_column(f"seconds, {heads[part]}" if len(parts) > 1 else "seconds", justify="right")
    table.add_column("settings")
    for row in look["recipes"]:
        cells = [figure(row[part]) for part in parts]
        cells += [figure(row["seconds"][part], "{:.0f}") for part in parts]
        words = " ".join(filter(None, [row["sets"], f"({row['note']})" if row["note"] else ""]))
        style = "bold" if row["recipe"] == best.get("recipe") else ""
        table.add_row(row["recipe"], *cells, words, style=style)
    for name, figures in look["baselines"].items():
        table.add_row(f"baseline {name}", *(figure(figures[part]) for part in parts), style="dim")
    return table


def tests_table(look: Look) -> Table:
    """Return paired tests of the best recipe against the others, over test users."""
    best, tests = look["best"], look["tests"]
    table = plain_table(f"{best['recipe']} against the others by {heading(tests[0]['metric'])}: paired tests")
    for title in ("against", "difference", "95 % interval", "p", "verdict"):
        words = title in ("against", "verdict")
        table.add_column(title, justify="left" if words else "right", no_wrap=not words)
    for test in tests:
        low_high: Sequence[float] | None = test["interval"]
        interval = "" if low_high is None else f"[{low_high[0]:+.4f}, {low_high[1]:+.4f}]"
        figures = [figure(test["difference"], "{:+.4f}"), interval, figure(test["p"])]
        table.add_row(test["against"], *figures, test["verdict"])
    return table


def lines_of(look: Look) -> list[str]:
    """Return lines on the best recipe, with its command."""
    best = look["best"]
    if best is None:
        return ["no recipe completed an epoch; increase sweep.minutes or decrease sweep.share"]
    on = "all users" if best["on"] == "whole" else "the sample alone; no recipe was trained on all users"
    found = [f"best        {best['recipe']}  {heading(look['metric'])} {best['value']:.4f}  on {on}"]
    if best["behind_baseline"]:
        found.append("warning: the best baseline is better on the validation split")
    note = "  (reuses its trained towers)" if best["on"] == "whole" and best["ended"] else ""
    return [*found, f"train       {best['command']}{note}"]
