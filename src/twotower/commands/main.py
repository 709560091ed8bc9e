"""`twotower VERB ...`: finds the verb's module and lets it run; nothing slow is imported before that."""

import importlib
import importlib.metadata
import sys
from types import ModuleType

from twotower.config.exits import continue_without_readers
from twotower.config.working_folder import import_from_working_folder

VERBS = (
    *("demo", "init", "train", "reindex", "evaluate", "compare"),
    *("export", "serve", "recommend", "embed", "export_live", "nightly", "clean", "completion"),
)
"""Each is a module of `commands/verbs/`, in the order in which `twotower --help` lists them."""
HELP = ("--help", "-h", "help")
DESCRIBING = frozenset({"--help", "-h", "--info", "-i"})
"""Flags that only print: like completion, they import nothing from the working folder."""


def main(verb: str | None = None) -> None:
    """Run a command and leave with its exit status.

    Args:
        verb: which; None: the first word of the command line.
    """
    continue_without_readers()
    words = sys.argv[1:]
    if verb is None:
        verb = words.pop(0) if words else "help"
        if verb in HELP:
            print(overview())
            raise SystemExit(0)
        if verb in ("--version", "-V"):
            print(f"twotower {importlib.metadata.version('twotower')}")
            raise SystemExit(0)
        if verb not in VERBS:
            raise SystemExit(_unknown(verb))
        sys.argv = [f"twotower {verb}", *words]
    if verb != "completion" and DESCRIBING.isdisjoint(words):
        import_from_working_folder()
    _module(verb).run()


def overview() -> str:
    """Return every verb with the first line of what it says of itself."""
    lines = [
        "Two-tower retrieval, from interactions to a service: twotower VERB [group=choice] [key=value]",
        "",
    ]
    for verb in VERBS:
        first = (_module(verb).__doc__ or "").partition("\n")[0]
        lines.append(f"  {verb:<12} {first}")
    lines += [
        "",
        "twotower VERB --help has the choices and keys of one; twotower --version says which this is.",
        "Your own choices lie in conf/ of the working folder, laid out as ours: conf/loss/mine.yaml.",
    ]
    return "\n".join(lines)


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"twotower.commands.verbs.{verb}")


def _unknown(verb: str) -> int:
    from twotower.config.exits import USER_INPUT
    from twotower.config.problems import nearest

    print(f"error: {verb}: unknown command; {nearest(verb.replace('-', '_'), VERBS)}", file=sys.stderr)
    return USER_INPUT
