"""What a command line that was begun may go on with, and the scripts by which shells ask for it."""

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from twotower.commands.command_keys import COMMANDS
from twotower.commands.conf import CONF, choices
from twotower.commands.help import groups_of, keys_of
from twotower.commands.latest import KEYS as FOLDER_KEYS
from twotower.commands.main import COMMAND_NAMES
from twotower.commands.overrides import OPTIONAL
from twotower.commands.parent_run import REBUILD_BUNDLE
from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.config.spec import TARGET, is_ours, locate
from twotower.runs.run_files import LATEST

BASH = r"""_twotower() {
  local line="${COMP_LINE:0:COMP_POINT}" found shown
  shown="${line##*[[:space:]]}"
  [[ "$shown" == *[=:]* && "$COMP_WORDBREAKS" == *=* ]] || shown=""
  shown="${shown%"${shown##*[=:]}"}"
  COMPREPLY=()
  while IFS= read -r found; do
    [[ -n "$found" ]] && COMPREPLY+=("${found#"$shown"}")  # bash completes what stands behind the last = or :
  done < <(twotower completion for "$line" 2>/dev/null)
}
complete -o nospace -o default -F _twotower twotower"""
ZSH = r"""_twotower() {
  local -a found
  found=("${(@f)$(twotower completion for "$LBUFFER" 2>/dev/null)}")
  compadd -Q -S '' -- ${found:#}
}
compdef _twotower twotower"""
SHELLS = {"bash": BASH, "zsh": ZSH}

MODES_OF_TRAIN = ("resume", "rerun", WARM_START, REBUILD_BUNDLE)
"""Modes of `train` that a folder follows."""
ELSEWHERE = {"demo": "train"}
"""Command -> the one whose settings it takes."""


def completions(line: str) -> list[str]:
    """Return the words that may stand where the last one of a line was begun.

    Args:
        line: up to the cursor, `twotower` first.
    """
    *before, begun = line.split(" ")
    words = [word for word in before if word]
    if len(words) < 2:
        return [f"{name} " for name in COMMAND_NAMES if name.startswith(begun)]
    command = ELSEWHERE.get(words[1], words[1])
    if command == "completion":
        return [shell for shell in SHELLS if shell.startswith(begun)]
    if command == "train":
        command = next(
            (key for key in (WARM_START, REBUILD_BUNDLE) for word in words if word.startswith(f"{key}=")),
            command,
        )
    key, equals, value = begun.partition("=")
    if command not in COMMANDS:
        return list(_paths("", begun))
    if not equals:
        return sorted(name for name in _names(command, words, key) if name.startswith(key))
    earlier, comma, last = value.rpartition(",")
    found = _values(command, words, key, last)
    return [f"{key}={earlier}{comma}{each}" for each in found if each.startswith(last)]


def _names(command: str, words: list[str], begun: str) -> Iterator[str]:
    """Yield groups and keys, and in a group that was begun with a dot what is in it."""
    config = _read(CONF / f"{command}.yaml")
    path, dot, _ = begun.rpartition(".")
    if dot:
        yield from (f"{path}.{name}" for name in _members(command, words, path.split(".")))
        return
    for group, _default in groups_of(config):
        yield from (f"{group}=", f"{group}.") if begun else (f"{group}=",)
    yield from (f"{key}=" for key in keys_of(CONF, config))
    yield from (f"{name}=" for name in MODES_OF_TRAIN if command == "train")


def _members(command: str, words: list[str], path: list[str]) -> Iterator[str]:
    node = _node(command, words, path)
    for name in sorted({*node, *_fields(node)} - {TARGET}):
        yield f"{name}." if isinstance(node.get(name), dict) else f"{name}="


def _node(command: str, words: list[str], path: list[str]) -> Mapping[str, Any]:
    """Return what a choice's YAML has below a path, the choice being the one typed or else the default."""
    group, *rest = path
    chosen = dict(groups_of(_read(CONF / f"{command}.yaml"))).get(group)
    typed = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
    file = choices(group).get(typed[-1] if typed else str(chosen))
    node: Any = _read(file) if file else {}
    for name in rest:
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _fields(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return key -> type of what a class lets a YAML set, torch and the like being no more than names.

    Only of our classes: completion runs no code of the working folder.
    """
    from twotower.commands.beforehand import SLOW
    from twotower.config.placeholders import PlaceholderError, loaded, use_placeholders

    if not is_ours(node.get(TARGET)):
        return {}
    use_placeholders([name for name in SLOW if not loaded({name})])
    try:
        kind: Any = locate(node[TARGET])
        return {name: field.annotation for name, field in kind.Config.model_fields.items()}
    except (InputError, PlaceholderError, AttributeError):
        return {}


def _values(command: str, words: list[str], key: str, begun: str) -> Iterable[str]:
    """Return what may stand behind `key=`: choices, words, or paths of files where any text may."""
    if found := choices(key):
        return sorted([*found, *(["null"] if key in OPTIONAL else [])])
    if key in FOLDER_KEYS:
        return [*([LATEST] if LATEST.startswith(begun) else []), *_paths("", begun)]
    path, _, name = key.rpartition(".")
    fields = _fields(_node(command, words, path.split("."))) if path else {}
    plain = {plain: field.annotation for plain, field in COMMANDS[command].keys.model_fields.items()}
    kinds = set(_kinds(fields.get(name) if path else plain.get(name)))
    words_of_it = [str(kind) for kind in kinds if isinstance(kind, str)]
    words_of_it += ["true", "false"] if bool in kinds else []
    words_of_it += ["null"] if type(None) in kinds else []
    return [*sorted(words_of_it), *(_paths("", begun) if str in kinds and name != "name" else [])]


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types, and the words of a Literal, that an annotation allows."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        yield from typing.get_args(annotation)
    elif origin is typing.Annotated:
        yield from _kinds(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for each in typing.get_args(annotation):
            yield from _kinds(each)
    else:
        yield annotation


def _paths(prefix: str, begun: str) -> Iterator[str]:
    folder, slash, _ = begun.rpartition("/")
    place = Path(f"{folder}{slash}" or ".").expanduser()
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if not path.name.startswith("."):
            yield f"{prefix}{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return found
