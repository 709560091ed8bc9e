"""Write docs/reference.md, the page of every key, from the code.

python scripts/write_reference.py
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from twotower.commands.command_keys import COMMANDS
from twotower.commands.conf import CONF, groups_of
from twotower.commands.help import Section, default_in_words, keys_of_command, sections
from twotower.config.component import Component

GUIDE = Path(__file__).parents[1] / "docs" / "reference.md"
INTRODUCTION = """\
# Every key

Written by `python scripts/write_reference.py` from the code; on the command line
`twotower train --help loss` shows the part about a group. A key is typed `group.key=value`.

The first table of a group lists its choices and classes with their keys and defaults. Where a choice's YAML
sets a key, the default is the value of the YAML. Entries of a choice name the classes of features, metrics
and baselines. Keys that all choices of a group have are listed with their base class. The second table
explains the keys; where a key has several meanings, the choices are in brackets. Values out of range are
refused before any data is read.
"""


def page() -> str:
    """Return the page: all groups with their choices, and the plain keys of all commands."""
    defaults = groups_of("train")
    defaults |= {
        key: value for each in COMMANDS for key, value in groups_of(each).items() if key not in defaults
    }
    lines = [INTRODUCTION, "## Groups", "", " · ".join(f"[{group}](#{group})" for group in defaults), ""]
    for group, default in defaults.items():
        choices = list(sections(group, own_choices))
        lines += [f"## {group}", ""]
        if f"{group}={default}" not in [section.title for section in choices]:
            lines += [f"Default: `{default_in_words(default) or 'none'}`.", ""]
        rows = [_choice(section, section.title == f"{group}={default}") for section in choices]
        lines += ["| choice | what it is | keys |", "|---|---|---|", *rows, ""]
        lines += _meanings(choices)
    lines += ["## Commands", ""]
    for command in COMMANDS:
        mode = f"train {command}=RUN" if command in ("warm_start", "rebuild_bundle") else command
        rows = [
            f"| `{key.name}` | `{key.default}` | {_escaped(key.takes)} | {_escaped(key.meaning)} |"
            for key in keys_of_command(command)
        ]
        lines += [
            f"### twotower {mode}",
            "",
            "| key | default | takes | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def own_choices(group: str) -> dict[str, Path]:
    """Return the choices of this project, without those of the user."""
    return {path.stem: path for path in (CONF / group).glob("*.yaml")}


def _name(section: Section) -> str:
    """Return the name of a choice or class, without its group."""
    return re.split("=|: ", section.title, maxsplit=1)[1]


def _choice(section: Section, is_default: bool) -> str:
    """Return the row of a choice: its name, its description and class, its keys with their defaults."""
    text = _escaped(section.text)
    if section.config and issubclass(section.config, Component.Config):
        text += f" `{section.config.__module__}.{section.config.owner.__qualname__}`"
    keys = [
        f"`{key.name}` required" if key.default == "required" else f"`{key.name}={key.default}`"
        for key in section.keys
    ]
    name = f"`{_name(section)}`" if "=" in section.title else f"class `{_name(section)}`"
    name += " (default)" if is_default else ""
    return f"| {name} | {text.strip()} | {', '.join(keys)} |"


def _meanings(choices: Sequence[Section]) -> Iterator[str]:
    """Yield the table of the keys of all choices; a key with several meanings is followed by the choices."""
    uses: dict[str, dict[tuple[str, str], list[str]]] = {}
    for section in choices:
        for key in section.keys:
            uses.setdefault(key.name, {}).setdefault((key.takes, key.meaning), []).append(_name(section))
    if not uses:
        return
    yield from ("| key | takes | meaning |", "|---|---|---|")
    for name, meanings in uses.items():
        for (takes, meaning), names in meanings.items():
            of = f" ({', '.join(names)})" if len(meanings) > 1 else ""
            yield f"| `{name}`{of} | {_escaped(takes)} | {_escaped(meaning)} |"
    yield ""


def _escaped(text: str) -> str:
    """Return a text for a Markdown table; code in backticks is unchanged."""
    escapes = {"<": "&lt;", "*": "\\*"}
    return re.sub("(`[^`]*`)|[<*]", lambda found: found[1] or escapes[found[0]], text.replace("|", "\\|"))


if __name__ == "__main__":
    GUIDE.write_text(page(), encoding="utf-8")
