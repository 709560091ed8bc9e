"""Write docs/reference.md, the page of every key, from the code.

python scripts/write_reference.py
"""

import re
from collections.abc import Iterable
from pathlib import Path

from twotower.commands.command_keys import COMMANDS
from twotower.commands.conf import CONF, groups_of
from twotower.commands.help import Key, default_in_words, keys_of_command, sections
from twotower.config.component import Component

GUIDE = Path(__file__).parents[1] / "docs" / "reference.md"
INTRODUCTION = """\
# Every key

Written by `python scripts/write_reference.py` from the code; on the command line
`twotower train --help loss` shows the part about a group. A key is typed `group.key=value`. Where a
choice's YAML sets a key, its default here is what the YAML says. Keys that all choices of a group have are
listed once, with their base class. Values out of range are refused before any data is read.
"""


def page() -> str:
    """Return the page: all groups with their choices, and the plain keys of all commands."""
    defaults = groups_of("train")
    defaults |= {
        key: value for each in COMMANDS for key, value in groups_of(each).items() if key not in defaults
    }
    lines = [INTRODUCTION, "## Groups", "", " · ".join(f"[{group}](#{group})" for group in defaults), ""]
    for group, default in defaults.items():
        lines += [f"## {group}", "", f"Default: `{default_in_words(default) or 'none'}`.", ""]
        for section in sections(group, own_choices):
            lines += [f"### {section.title}", "", _escaped(section.text)]
            if section.config and issubclass(section.config, Component.Config):
                lines += [f"`{section.config.__module__}.{section.config.owner.__qualname__}`"]
            lines += ["", *_table(section.keys)]
    lines += ["## Commands", ""]
    for command in COMMANDS:
        mode = f"train {command}=RUN" if command in ("warm_start", "rebuild_bundle") else command
        lines += [f"### twotower {mode}", "", *_table(keys_of_command(command))]
    return "\n".join(lines).rstrip() + "\n"


def own_choices(group: str) -> dict[str, Path]:
    """Return the choices of this project, without those of the user."""
    return {path.stem: path for path in (CONF / group).glob("*.yaml")}


def _table(keys: Iterable[Key]) -> list[str]:
    rows = [
        f"| `{key.name}` | `{key.default}` | {_escaped(key.takes)} | {_escaped(key.meaning)} |"
        for key in keys
    ]
    return ["| key | default | takes | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _escaped(text: str) -> str:
    """Return a text for a Markdown table; code in backticks is unchanged."""
    escapes = {"<": "&lt;", "*": "\\*"}
    return re.sub("(`[^`]*`)|[<*]", lambda found: found[1] or escapes[found[0]], text.replace("|", "\\|"))


if __name__ == "__main__":
    GUIDE.write_text(page(), encoding="utf-8")
