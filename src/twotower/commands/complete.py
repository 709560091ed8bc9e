"""Completion of `twotower` commands in a shell; argcomplete talks to the shell."""

import argparse
import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import argcomplete
import yaml
from argcomplete.completers import FilesCompleter

from twotower.commands.command_keys import COMMANDS
from twotower.commands.conf import choices
from twotower.commands.config_source import class_fields, config_fields
from twotower.commands.help import groups_of
from twotower.commands.latest import KEYS as FOLDER_KEYS
from twotower.commands.main import COMMAND_NAMES
from twotower.commands.overrides import OPTIONAL
from twotower.commands.parent_run import REBUILD_BUNDLE
from twotower.config.run_keys import WARM_START
from twotower.config.spec import TARGET, is_ours
from twotower.runs.run_files import LATEST

SHELLS = ("bash", "zsh", "fish", "tcsh")


def answer_shell() -> None:
    """Complete the command line that argcomplete's environment variables hold, and end the process."""
    parser = argparse.ArgumentParser(add_help=False)
    words = parser.add_argument("words", nargs="*")
    words.completer = lambda prefix, parsed_args, **_: completions(  # type: ignore[attr-defined]
        parsed_args.words, prefix
    )
    argcomplete.autocomplete(parser, append_space=False)


def completions(words: Sequence[str], begun: str) -> list[str]:
    """Return what the last word of a command line may become: up to the next `.` or `=`, or with a value.

    Args:
        words: earlier words, the command first.
        begun: the last word.
    """
    if not words or words[0] == "completion":
        return [name for name in (SHELLS if words else COMMAND_NAMES) if name.startswith(begun)]
    command = {"demo": "train"}.get(words[0], words[0])
    if command == "train":
        modes = {word.partition("=")[0] for word in words} & {WARM_START, REBUILD_BUNDLE}
        command = next(iter(modes), command)
    if command not in COMMANDS:
        return list(FilesCompleter()(begun))
    key, equals, value = begun.partition("=")
    keys = dict(_keys(command, words))
    if not equals:
        step = re.compile(rf"{re.escape(begun)}[^.=]*[.=]")
        return sorted({match[0] for name in keys if (match := step.match(f"{name}="))})
    earlier, comma, last = value.rpartition(",")
    found = [text for text in keys.get(key, ()) if text.startswith(last)]
    if key in FOLDER_KEYS or (not found and "str" in keys.get(key, ()) and key != "name"):
        found += FilesCompleter()(last)
    return [f"{key}={earlier}{comma}{text}" for text in found if text != "str"]


def _keys(command: str, words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield groups and keys with their values, those of the chosen choices too."""
    kind = COMMANDS[command].keys
    for name, each in class_fields(kind.__module__, kind.__name__).items():
        yield name, [LATEST] if name in FOLDER_KEYS else _values(each.annotation)
    yield from (
        (name, [LATEST]) for name in FOLDER_KEYS if command == "train" and name not in ("run", "bundle")
    )
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    for group, default in groups_of(command):
        files = choices(group)
        yield group, sorted([*files, *(["null"] if group in OPTIONAL else [])])
        if (path := files.get(typed.get(group, str(default)))) is not None:
            spec = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            yield from _keys_of_choice(spec, f"{group}.")


def _keys_of_choice(spec: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys that a YAML sets, and those of its class if it is ours: no other code is read."""
    fields = (config_fields(spec[TARGET]) if is_ours(spec.get(TARGET)) else None) or {}
    for key in sorted({*spec, *fields} - {TARGET}):
        if isinstance(spec.get(key), dict):
            yield from _keys_of_choice(spec[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _values(fields[key].annotation) if key in fields else []


def _values(annotation: ast.expr) -> list[str]:
    """Return the words that an annotation allows; `str` stands for any text."""
    nodes = list(ast.walk(annotation))
    words = [
        str(node.value) for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    words += ["false", "true"] if "bool" in names else []
    words += ["null"] if any(isinstance(node, ast.Constant) and node.value is None for node in nodes) else []
    return [*sorted(words), *({"str"} & names)]
