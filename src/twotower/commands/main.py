"""`twotower COMMAND ...`: imports the module of the command and runs it; imports nothing slow before that."""

import importlib
import importlib.metadata
import os
import signal
import sys
from types import ModuleType

from twotower.commands.entry_points import COMMAND_NAMES
from twotower.config.exits import (
    USER_INPUT,
    exit_on_signals,
    exit_status,
    exit_without_gc,
    open_closed_streams,
)
from twotower.config.working_folder import import_from_working_folder
from twotower.parallel.launched import launched_rank

HELP = ("--help", "-h", "help")
DESCRIBING = frozenset({"--help", "-h", "--info", "-i"})
"""Flags that only print: like completion, they import nothing from the working folder."""


def main(name: str | None = None) -> None:
    """Run a command and leave with its exit status.

    Args:
        name: of the command; None: the first word of the command line.
    """
    open_closed_streams()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        from twotower.commands.completion import answer_shell

        answer_shell()
    exit_without_gc()
    words = sys.argv[1:]
    if name is None:
        name = words.pop(0) if words else "help"
        if name in HELP:
            print(overview())
            raise SystemExit(0)
        if name in ("--version", "-V"):
            print(f"twotower {importlib.metadata.version('twotower')}")
            raise SystemExit(0)
        if name not in COMMAND_NAMES:
            from twotower.config.problems import nearest

            suggestion = nearest(name.replace("-", "_"), COMMAND_NAMES)
            print(f"error: {name}: unknown command; {suggestion}", file=sys.stderr)
            raise SystemExit(USER_INPUT)
        sys.argv = [f"twotower {name}", *words]
    if name == "serve":  # at once: the first process of a container gets no signal that it has no handler for
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    else:
        exit_on_signals()
    is_work = DESCRIBING.isdisjoint(words)
    if is_work:
        import_from_working_folder()
    if name == "train" and is_work and launched_rank():  # rank 0 reads the command line
        from twotower.jobs.follow import follow_launcher

        raise SystemExit(exit_status(follow_launcher, debug=False))
    module = _module(name)
    if hasattr(module, "answer"):
        debug = not {"debug=true", "--debug"}.isdisjoint(words)
        raise SystemExit(exit_status(lambda: module.answer(words), debug))
    from twotower.commands.run_command import run_command

    if name == "demo":
        sys.argv.insert(1, "name=demo")
    run_command(name, module.task, module.__doc__ or "")


def overview() -> str:
    """Return every command with the first line of its help."""
    lines = [
        "Two-tower retrieval, from interactions to a service: twotower COMMAND [group=choice] [key=value]",
        "",
    ]
    for name in COMMAND_NAMES:
        first = (_module(name).__doc__ or "").partition("\n")[0]
        lines.append(f"  {name:<12} {first}")
    lines += [
        "",
        "twotower COMMAND --help lists its choices and keys; twotower --version prints the version.",
        "Your own choices are in conf/ of the working folder, such as conf/loss/mine.yaml.",
    ]
    return "\n".join(lines)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"twotower.commands.entry_points.{name}")
