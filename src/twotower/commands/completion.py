"""Completion of commands, groups, choices and keys in shells, by argcomplete."""

import argparse
from collections.abc import Sequence

import argcomplete

from twotower.commands.conf import CONF, choices, groups_of, keys_of
from twotower.commands.entry_points import COMMAND_NAMES


def answer_shell() -> None:
    """Complete the command line that argcomplete's environment variables hold, and end the process."""
    parser = argparse.ArgumentParser(add_help=False)
    words = parser.add_argument("words", nargs="*")
    words.completer = lambda prefix, parsed_args, **_: completions(  # type: ignore[attr-defined]
        parsed_args.words, prefix
    )
    argcomplete.autocomplete(parser, append_space=False)


def completions(words: Sequence[str], begun: str) -> list[str]:
    """Return what the last word of a command line may become: a command, `key=`, or `group=choice`.

    Args:
        words: earlier words, the command first.
    """
    if not words:
        return [name for name in COMMAND_NAMES if name.startswith(begun)]
    command = "train" if words[0] == "demo" else words[0]
    if not (CONF / f"{command}.yaml").is_file():
        return []  # the shell completes files
    group, equals, value = begun.partition("=")
    if equals:
        names = sorted(choices(group)) if group in groups_of(command) else []
        return [f"{group}={name}" for name in names if name.startswith(value)]
    return sorted(f"{name}=" for name in {*groups_of(command), *keys_of(command)} if name.startswith(begun))
