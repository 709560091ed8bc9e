"""The page of the guide that lists every key."""

from collections.abc import Iterable, Iterator

from twotower.commands.command_keys import COMMANDS
from twotower.commands.conf import CONF, groups_of, keys_of
from twotower.commands.help import MARKERS, Choices, group_annotation
from twotower.commands.keys import Key, Section, component_bases, keys_of_class, plain_keys, sections

INTRODUCTION = """\
# Every key

Written by `python scripts/write_reference.py` from the code; on the command line
`twotower train --help loss` shows the part about a group. A key is typed `group.key=value`. Where a
choice's YAML sets a key, its default here is what the YAML says. Values out of range are refused before any
data is read.
"""


def reference_page(choices: Choices) -> str:
    """Return the page: all groups with their choices, and the plain keys of all commands."""
    defaults = groups_of("train")
    lines = [INTRODUCTION, "## Groups", "", " · ".join(f"[{group}](#{group})" for group in defaults), ""]
    for group, default in defaults.items():
        lines += [f"## {group}", "", f"Default: `{'none' if default is None else default}`.", ""]
        lines += _group_lines(group, choices)
    lines += ["## Commands", ""]
    for command, keys in COMMANDS.items():
        comments = "".join(
            (CONF / f"{name}.yaml").read_text("utf-8") for name in ("trust", "run_keys", command)
        )
        given = {key: MARKERS.get(str(value), value) for key, value in keys_of(command).items()}
        mode = f"train {command}=RUN" if command in ("warm_start", "rebuild_bundle") else command
        lines += [f"### twotower {mode}", "", *_table(keys_of_class(keys, given, comments))]
    return "\n".join(lines).rstrip() + "\n"


def _group_lines(group: str, choices: Choices) -> Iterator[str]:
    """Yield lines; keys that all choices have are listed once, and those of a class with its first choice."""
    annotation = group_annotation(group)
    own = plain_keys(annotation, {})
    yield from _table(own)
    common = set(own)
    for base in dict.fromkeys(component_bases(annotation)):
        keys = keys_of_class(base.Config)
        common |= set(keys)
        yield f"`{base.__module__}.{base.__qualname__}` is what choices extend{', with' if keys else '.'}"
        yield from ("", *_table(keys))
    seen: dict[str, Section] = {}
    for section in sections(group, choices(group), annotation):
        first = seen.setdefault(section.target or section.title, section)
        target = f" `{section.target}`" if section.target else ""
        yield from (f"### {section.title}", "", f"{_escaped(section.text)}{target}".strip())
        if first is not section:
            yield f"Keys as of `{first.title}`, but for those named here."
        listed = common if first is section else {*common, *first.keys}
        yield from ("", *_table(key for key in section.keys if key not in listed))


def _table(keys: Iterable[Key]) -> list[str]:
    rows = [
        f"| `{key.name}` | `{key.default}` | {_escaped(key.takes)} | {_escaped(key.meaning)} |"
        for key in keys
    ]
    return ["| key | default | takes | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _escaped(text: str) -> str:
    """Return a text for a Markdown table; code in backticks is unchanged."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(
        part if number % 2 else part.replace("<", "&lt;").replace("*", "\\*")
        for number, part in enumerate(parts)
    )
