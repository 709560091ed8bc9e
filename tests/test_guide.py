"""README and the guide: links lead somewhere, commands are taken, the page of every key is as the code is."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from twotower.commands.command_keys import COMMANDS, settings_class
from twotower.commands.compose import compose
from twotower.commands.conf import CONF, OVERLAYS, groups, shape
from twotower.commands.entry_points import COMMAND_NAMES
from twotower.commands.overrides import is_swept, validate_overrides
from twotower.commands.run_command import split_arguments
from twotower.config.errors import InputError
from twotower.config.reading import read
from twotower.experiments.runs.fingerprint import override_key

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(GUIDE.rglob("*.md"))]
CHINESE = [ROOT / "README.zh-CN.md", *sorted((GUIDE / "zh").glob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?:.* && )?(?:\w+=\S+ )*(?:python scripts/([\w/]+)\.py|twotower (\w+))(.*)")
OF_A_RUN = ("resume", "rerun", "warm_start", "rebuild_bundle")
ABSENT = re.compile("there is no file|^needs ")
"""A mistake that is none of a command: the reader has the file, or installs the extra."""
OWN = {"mine", "shop", "squared_hinge", "first_word", "linear_recurrence", "ivf_int8"}
"""Choices that a reader makes; those of which the guide has the YAML are run in test_end_to_end_guide.py."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """What a link may point to: headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_to_files_and_headings_that_are_there(path: Path) -> None:
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.is_file(), link
        if GUIDE in path.parents:
            assert target.resolve().is_relative_to(GUIDE), f"{link} leads out of the guide"
        assert not anchor or anchor in anchors(target), link


def test_the_guide_lists_every_page_once() -> None:
    def pages(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from pages(each)

    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(listed) == sorted(str(path.relative_to(GUIDE)) for path in GUIDE.rglob("*.md"))


def test_the_page_of_every_key_is_as_the_code_is() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "write_reference.py"))["page"]()
    assert page == (GUIDE / "reference.md").read_text(encoding="utf-8"), "python scripts/write_reference.py"
    assert "`twotower.model.losses.power_softmax.PowerSoftmax` | `temperature=1.0`, " in page
    assert "| `temperature` (power_softmax) | number > 0 | Divides scores, before the power. |" in page
    assert "cannot be used" not in page


def commands() -> dict[tuple[str, ...], bool]:
    """Script and arguments of each command of a console -> whether the text shows that it is refused."""
    found: dict[tuple[str, ...], bool] = {}
    for path in PAGES:
        for block in CONSOLE.findall(path.read_text(encoding="utf-8")):
            text = re.sub(r"\\\n\s*", "", block)
            for line, after in zip(text.splitlines(), [*text.splitlines()[1:], ""], strict=True):
                if match := COMMAND.match(re.sub(r"\s# .*", "", line)):
                    found[match[1] or match[2], *shlex.split(match[3])] = after.startswith("error:")
    return found


def composable(arguments: tuple[str, ...]) -> Iterator[str]:
    """What of a command can be composed: of several values the first, and no choices of the reader's."""
    own = {override_key(text) for text in arguments if text.partition("=")[2] in OWN}
    for text in split_arguments(list(arguments))[0]:
        key, _, value = text.partition("=")
        if text == "..." or override_key(text).partition(".")[0] in own:
            continue
        if not is_swept(text):
            yield text
        elif "(" not in value:
            yield f"{key}={value.partition(',')[0]}"


def refusal_of(script: str, *words: str) -> str:
    """What a command would be told of its keys, choices and values; nothing is read but YAMLs."""
    if script not in COMMAND_NAMES and not (ROOT / "scripts" / f"{script}.py").is_file():
        return "there is no such command"
    mode = next((text.partition("=")[0] for text in words if text.startswith(OF_A_RUN)), "")
    config_name = mode if mode in COMMANDS else script
    if config_name not in COMMANDS or mode in ("resume", "rerun") or "--help" in words:
        return ""
    overrides = list(composable(words))
    known = frozenset().union(*shape(config_name)) | OVERLAYS | {mode}
    if unknown := {override_key(text).partition(".")[0].lstrip("+~") for text in overrides} - known:
        return f"unknown keys: {', '.join(unknown)}"
    if config_name != "train":
        return ""
    problems, sound = validate_overrides(overrides)
    problems += validate_overrides([text for text in words if is_swept(text)], sweep=True)[0]
    try:
        config, found = read(settings_class("train"), compose("train", sound))
    except InputError as error:
        return str(error)
    problems += found
    if not OWN & {
        text.partition("=")[2] for text in words
    }:  # the reader's data, or features, change the rest
        problems += [each for each in config.cross_choice_problems() if not ABSENT.search(each.message)]
    return "; ".join(f"{problem.key}: {problem.message}" for problem in problems)


def test_every_command_is_one_that_the_program_takes() -> None:
    found = commands()
    assert len(found) > 60
    wrong = {}
    for command, is_refused in found.items():
        refusal = refusal_of(*command)
        if bool(refusal) != is_refused:
            wrong[command] = refusal
    assert wrong == {}


@pytest.mark.parametrize("name", ["README.md", "docs/settings.md"])  # the Chinese names what these do
def test_the_five_tweaks_are_taken_one_after_the_other(name: str) -> None:
    rows = re.findall(r"^\| `(.+?)` \|.*\|$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    tweaks = [shlex.split(row) for row in rows if all("=" in word for word in row.split())]
    assert len(tweaks) == 5
    typed = ["experiment=founding_model"]
    for words in tweaks:
        typed += words
        assert refusal_of("train", *typed) == ""


def test_the_readme_is_short_and_shows_a_picture_first() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 150
        assert any(line.startswith("![") for line in lines[:15])


@pytest.mark.parametrize("name", ["settings.md", "zh/settings.md"])
def test_the_table_of_choices_has_them_all(name: str) -> None:
    text = (GUIDE / name).read_text(encoding="utf-8")
    for group in groups() | OVERLAYS:
        for path in (CONF / group).glob("*.yaml"):
            assert f"`{path.stem}`" in text, f"add `{path.stem}` to docs/{name}"


def figures(text: str) -> set[str]:
    return set(re.findall(r"\d[\d.,]*\d", text))


@pytest.mark.parametrize("path", CHINESE, ids=named)
def test_the_chinese_shows_and_names_what_the_english_does(path: Path) -> None:
    original = ROOT / "README.md" if path.parent == ROOT else GUIDE / path.name
    chinese, english = path.read_text(encoding="utf-8"), original.read_text(encoding="utf-8")
    assert FENCED.findall(chinese) == FENCED.findall(english)
    chinese, english = FENCED.sub("", chinese), FENCED.sub("", english)
    for begin in (r"^#+ ", r"^\|", r"^- "):
        assert len(re.findall(begin, chinese, re.MULTILINE)) == len(re.findall(begin, english, re.MULTILINE))
    assert set(re.findall(r"`[^`]+`", english)) <= set(re.findall(r"`[^`]+`", chinese))
    assert figures(english) <= figures(chinese)
