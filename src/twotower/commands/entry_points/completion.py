"""Print what lets a shell complete commands, groups, choices and keys.

  eval "$(twotower completion bash)"    a line for ~/.bashrc
  eval "$(twotower completion zsh)"     a line for ~/.zshrc, after compinit
Also fish and tcsh.
"""

SHELLS = ("bash", "zsh", "fish", "tcsh")


def answer(words: list[str]) -> int:
    """Print the script for a shell."""
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
