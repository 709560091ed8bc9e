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
from twotower.commands.conf import choices, groups_of
from twotower.commands.config_source import class_fields, config_fields
from twotower.commands.latest import KEYS as FOLDER_KEYS
from twotower.commands.main import COMMAND_NAMES
from twotower.commands.overrides import OPTIONAL
from twotower.commands.parent_run import REBUILD_BUNDLE
from twotower.config.run_keys import WARM_START
from twotower.config.spec import TARGET, is_ours
from twotower.runs.run_files import LATEST

TEXT = "str"
SHELLS = ("bash", "zsh", "fish", "tcsh")
MODES = {"resume": "train", "rerun": "train", WARM_START: WARM_START, REBUILD_BUNDLE: REBUILD_BUNDLE}
"""Key of `train` that names a run -> the command whose keys it has."""


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
    command, *typed = words
    if command in ("train", "demo"):
        command = next((MODES[key] for word in typed if (key := word.partition("=")[0]) in MODES), "train")
    if command not in COMMANDS:
        return list(FilesCompleter()(begun))
    keys = dict(_keys(command, dict(word.split("=", 1) for word in typed if "=" in word)))
    key, equals, value = begun.partition("=")
    if not equals:
        step = re.compile(rf"{re.escape(begun)}[^.=]*[.=]")
        return sorted({match[0] for name in keys if (match := step.match(f"{name}="))})
    earlier, comma, last = value.rpartition(",")
    found = [text for text in keys.get(key, ()) if text.startswith(last)]
    if key in FOLDER_KEYS or (not found and TEXT in keys.get(key, ()) and key != "name"):
        found += FilesCompleter()(last)
    return [f"{key}={earlier}{comma}{text}" for text in found if text != TEXT]


def _keys(command: str, typed: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield groups and keys with their values, those of the chosen choices too."""
    kind = COMMANDS[command]
    for name, each in class_fields(kind.__module__, kind.__name__).items():
        yield name, [LATEST] if name in FOLDER_KEYS else _values(each.annotation)
    for name in MODES if command == "train" else ():
        yield name, [LATEST]
    for group, default in groups_of(command).items():
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
    """Return the words that an annotation allows; `TEXT` last if it allows any text."""
    nodes = list(ast.walk(annotation))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    constants = {node.value for node in nodes if isinstance(node, ast.Constant)}
    words = [value for value in constants if isinstance(value, str)]
    words += ["null"] if None in constants else []
    words += ["false", "true"] if "bool" in names else []
    return [*sorted(words), *({TEXT} & names)]
