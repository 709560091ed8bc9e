"""Print what lets a shell complete commands, groups, choices and keys.

  eval "$(twotower completion bash)"    a line for ~/.bashrc
  eval "$(twotower completion zsh)"     a line for ~/.zshrc, after compinit
Also fish and tcsh.
"""

from collections.abc import Sequence
from typing import Any

SHELLS = ("bash", "zsh", "fish", "tcsh")


def answer(words: Sequence[str]) -> int:
    """Print the script for a shell, which argcomplete writes."""
    from argcomplete.shell_integration import shellcode

    from twotower.config.errors import InputError
    from twotower.config.exits import DONE

    if words in (["--help"], ["-h"]):
        print((__doc__ or "").strip())
    elif len(words) == 1 and words[0] in SHELLS:
        print(shellcode(["twotower"], shell=words[0]))
    else:
        raise InputError(f"expected one of {', '.join(SHELLS)}, as in: twotower completion bash")
    return DONE


def answer_shell() -> None:
    """Complete the command line that argcomplete's environment variables hold, and end the process."""
    import argparse

    import argcomplete

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
    """
    import yaml
    from argcomplete.completers import FilesCompleter

    from twotower.commands.command_names import COMMAND_NAMES
    from twotower.commands.conf import CONF, OVERLAYS, choices, groups_of, keys_of
    from twotower.commands.named_runs import NEEDS
    from twotower.config.spec import TARGET, is_ours, locate
    from twotower.experiments.runs.run_files import LATEST

    if not words:
        return [name for name in COMMAND_NAMES if name.startswith(begun)]
    command = "train" if words[0] == "demo" else words[0]
    if not (CONF / f"{command}.yaml").is_file():
        return list(FilesCompleter()(begun))
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    values: dict[str, list[str]] = {key: [LATEST] if key in NEEDS else [] for key in keys_of(command)}
    for group, default in groups_of(command).items():
        values[group] = sorted(choices(group))
        path = choices(group).get(typed.get(group, str(default)))
        if begun.startswith(f"{group}.") and group not in OVERLAYS and path is not None:
            spec = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            component: Any = locate(spec[TARGET]) if is_ours(spec.get(TARGET)) else None
            keys = {*spec, *(component.Config.model_fields if component else ())} - {TARGET}
            values |= {f"{group}.{key}": [] for key in keys}
    key, equals, value = begun.partition("=")
    if not equals:
        return sorted(f"{name}=" for name in values if name.startswith(begun))
    names = [name for name in values.get(key, ()) if name.startswith(value)]
    return [f"{key}={name}" for name in names + (FilesCompleter()(value) if key in NEEDS else [])]
