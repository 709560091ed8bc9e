"""Completion of `twotower` commands in a shell; argcomplete talks to the shell."""

import argparse
from collections.abc import Iterator, Mapping, Sequence

import argcomplete
import yaml
from argcomplete.completers import FilesCompleter

from twotower.commands.conf import CONF, choices, groups_of, keys_of
from twotower.commands.config_source import config_keys
from twotower.commands.latest import KEYS as FOLDER_KEYS
from twotower.commands.main import COMMAND_NAMES
from twotower.config.spec import TARGET
from twotower.runs.run_files import LATEST


def answer_shell() -> None:
    """Complete the command line that argcomplete's environment variables hold, and end the process."""
    parser = argparse.ArgumentParser(add_help=False)
    words = parser.add_argument("words", nargs="*")
    words.completer = lambda prefix, parsed_args, **_: completions(  # type: ignore[attr-defined]
        parsed_args.words, prefix
    )
    argcomplete.autocomplete(parser, append_space=False)


def completions(words: Sequence[str], begun: str) -> list[str]:
    """Return what the last word of a command line may become: a command, `key=`, or `key=value`.

    Args:
        words: earlier words, the command first.
        begun: the last word.
    """
    if not words:
        return [name for name in COMMAND_NAMES if name.startswith(begun)]
    command = "train" if words[0] == "demo" else words[0]
    if not (CONF / f"{command}.yaml").is_file():
        return list(FilesCompleter()(begun))
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    keys = dict(_keys(command, typed))
    key, equals, value = begun.partition("=")
    if not equals:
        return sorted(f"{name}=" for name in keys if name.startswith(begun))
    found = [name for name in keys.get(key, ()) if name.startswith(value)]
    found += FilesCompleter()(value) if key in FOLDER_KEYS else []
    return [f"{key}={name}" for name in found]


def _keys(command: str, typed: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield groups with their choices, then keys of the command and of the chosen choices."""
    for key in keys_of(command):
        yield key, [LATEST] if key in FOLDER_KEYS else []
    for group, default in groups_of(command).items():
        files = choices(group)
        yield group, sorted(files)
        if (path := files.get(typed.get(group, str(default)))) is not None:
            spec = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            for key in sorted({*spec, *(config_keys(spec.get(TARGET, "")) or ())} - {TARGET}):
                yield f"{group}.{key}", []
