"""Print what lets a shell complete commands, groups, choices and keys.

  eval "$(twotower completion bash)"    a line for ~/.bashrc
  eval "$(twotower completion zsh)"     a line for ~/.zshrc, behind compinit
Completes group=choice, the keys of the choice, key=value where values are few, and folders of runs.
"""

import sys


def run() -> None:
    """Run this command and leave with its exit status."""
    from twotower.config.exits import exit_status

    raise SystemExit(exit_status(lambda: answer(sys.argv[1:]), debug=False))


def answer(words: list[str]) -> int:
    """Print a shell's script, or, behind `for`, what a line that was begun may go on with."""
    from twotower.commands.complete import SHELLS, completions
    from twotower.config.errors import InputError
    from twotower.config.exits import DONE

    if len(words) == 2 and words[0] == "for":  # asked by the scripts themselves
        print("\n".join(completions(words[1])))
    elif words in (["--help"], ["-h"]):
        print((__doc__ or "").strip())
    elif len(words) == 1 and words[0] in SHELLS:
        print(SHELLS[words[0]])
    else:
        raise InputError(f"expected {' or '.join(SHELLS)}, as in: twotower completion bash")
    return DONE
