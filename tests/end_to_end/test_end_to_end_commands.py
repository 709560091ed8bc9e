"""Commands of README and guide, run as typed, in the order of their page, in a folder that was empty.

`docs/index.md` tells the reader which sizes are smaller here. The tests run the first of the long commands of
a page of the guide. To run all, and print each command with its exit status:

    PYTHONPATH=tests python tests/end_to_end/test_end_to_end_commands.py
"""

import ast
import contextlib
import json
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import yaml
from forks import workers_are_forks
from in_process import run_command

from twotower.commands import conf
from twotower.commands import run_sweep as sweep_command
from twotower.config.exits import DONE, USER_INPUT
from twotower.data.sources import online_retail
from twotower.training.objectives import next_basket

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs"
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(
    r"^[^\n`]*`([\w/]+\.(?:csv|py|yaml))`[^\n]*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
IS_LONG = re.compile(r"\b(minutes?|hours?|times as long|trainings)\b")
"""In the comment of a command: too long to be run here at its size."""

NOT_RUN = {
    r"^twotower index_lab run=": "measures eight indexes: minutes",
    r"^(twotower serve|curl|tensorboard|mlflow ui|optuna-dashboard)\b": "a server, or a question to one",
    r"^twotower (nightly|export_live)\b": "reads what a running service wrote",
    r"pip install|^wandb|^git clone": "needs the network",
    r"^eval ": "changes the shell of the reader",
    r"^(scripts/|python (scripts/|-m cProfile)|source )": "belongs to a checkout",
    r"^PYTHONPATH=\S+ TWOTOWER_CONF=\S+ pytest": "belongs to a checkout",
    r"^twotower demo": "trains on the whole log: scripts/demo runs it",
    r"movielens|ml_1m_hstu": "reads data that is downloaded",
    r"\bbenchmark=": "pins its files, and the sample of the shop is smaller",
    r"^torchrun|trainer\.(devices|num_nodes)=": "starts processes, which do not have the sample",
    r"model: models/": "reads a pretrained model of the reader's own",
}
"""Pattern of commands that are not run, with the reason."""

LOGS = {"labels.md": ["clicked"], "context-and-events.md": ["device", "hour", "action"]}
"""Page -> the columns that the reader's own log has beside user, item and time."""


@dataclass(frozen=True)
class Command:
    """A line of a console.

    Attributes:
        text: without its comment.
        is_long: its comment names minutes or hours, or it is a warm start.
        status: what the page shows it to end with.
    """

    text: str
    is_long: bool
    status: int

    @property
    def reason(self) -> str:
        """Return why it is not run; empty if it is."""
        return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, self.text)), "")


def commands(page: Path) -> list[Command]:
    """Return the commands of a page's consoles."""
    found = []
    for block in CONSOLE.findall(page.read_text(encoding="utf-8")):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith("$ "):
                text, _, comment = re.sub(r"\s+# ", "\0", line[2:], count=1).partition("\0")
                status = USER_INPUT if after.startswith("error:") else DONE
                is_long = bool(IS_LONG.search(comment)) or "warm_start=" in text
                found.append(Command(text.strip(), is_long, status))
    return found


def guide_pages() -> list[Path]:
    """Return the English pages that have commands, in the order of the guide."""

    def names(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from names(each)

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [GUIDE / name for name in names(nav) if not name.startswith("zh/")]
    return [page for page in pages if any(not each.reason for each in commands(page))]


README, PAGES = ROOT / "README.md", guide_pages()


OF_A_RUN = ("resume=", "rerun=", "rebuild_bundle=", "warm_start=")


def sizes(words: list[str]) -> list[str]:
    """Return the settings that `docs/index.md` says the tests add to a training."""
    if words[1] != "train" or any(word.startswith(("-", *OF_A_RUN)) and word != "-m" for word in words):
        return []
    text = (GUIDE / "index.md").read_text(encoding="utf-8")
    lines = re.findall(r"^tests add(?: to (\S+))?: (.*)$", text, re.MULTILINE)
    found = [size for to, line in lines if (not to or to in words) for size in shlex.split(line)]
    typed = {word.partition("=")[0] for word in words}
    return [size for size in found if size.partition("=")[0] not in typed]


def write_files_of_the_reader(page: Path, folder: Path) -> None:
    """Write the files that a page shows, and small ones in place of those that it only names."""
    rng = np.random.default_rng(0)
    users, items, num = 60, 300, 3000
    log = pd.DataFrame({"user_id": rng.integers(users, size=num), "item_id": rng.integers(items, size=num)})
    log["timestamp"] = np.sort(rng.integers(1_700_000_000, 1_700_000_000 + 300 * 86_400, size=num))
    of_page = {
        "clicked": rng.integers(2, size=num),
        "device": rng.choice(["phone", "desk"], num),
        "hour": rng.integers(24, size=num),
        "action": rng.choice(["buy", "view", "skip", "ping"], num),
    }
    place = np.arange(num) % 4
    begins = log["timestamp"].to_numpy()[np.arange(num) // 4 * 4]
    clicks = log.assign(session_id=np.arange(num) // 4, timestamp=begins + 30 * place).drop(columns="user_id")
    pairs = log[["user_id", "item_id"]].drop_duplicates().sort_values("user_id", kind="stable")
    lists = {user: " ".join(map(str, group)) for user, group in pairs.groupby("user_id")["item_id"]}
    city = rng.choice(["Oslo", "Rome"], users + 1)
    price = rng.uniform(1, 9, items + 1).round(2)
    tables = {
        "log.csv": log.assign(**{name: of_page[name] for name in LOGS.get(page.name, ())}),
        "users.csv": pd.DataFrame({"user_id": np.arange(users + 1), "city": city}),
        "items.csv": pd.DataFrame({"item_id": np.arange(items + 1), "price": price}),
        "clicks.csv": clicks,
    }
    for name, table in tables.items():
        table.to_csv(folder / name, index=False)
    for name in ("log.txt", "ml-1m.txt"):
        pairs.to_csv(folder / name, sep=" ", header=False, index=False)
    (folder / "Beauty.txt").write_text("".join(f"{user} {line}\n" for user, line in lists.items()))
    for name, part in (("train.txt", slice(None, -2)), ("test.txt", slice(-2, None))):
        parts = {user: " ".join(line.split()[part]) for user, line in lists.items()}
        (folder / name).write_text("".join(f"{user} {line}\n" for user, line in parts.items()))
    shown = dict(NAMED.findall(page.read_text(encoding="utf-8")))
    for name, text in shown.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def write_the_log_of_today(folder: Path) -> None:
    """Let `today.csv` be the log with what happened since, by a new user and with a new item among others."""
    path = folder / "today.csv"
    log = pd.read_csv(path if path.exists() else folder / "log.csv")
    later = log.tail(200).assign(timestamp=log["timestamp"].tail(200) + 30 * 86_400)
    new = later.tail(5).assign(user_id=log["user_id"].max() + 1, item_id=log["item_id"].max() + 1)
    pd.concat([log, later, new]).to_csv(path, index=False)


def typed(command: Command, before: list[str], folder: Path) -> list[str]:
    """Return the words of a command, with what stands for something of the reader's put in."""
    text = command.text
    for place, name in re.findall(r"([\w/]+)/(<run>|<time>)", text):
        newest = max((folder / place).glob("*/result.json"), key=lambda path: path.stat().st_mtime)
        text = text.replace(f"{place}/{name}", f"{place}/{newest.parent.name}")
        if "resume=" in text:  # as after a crash
            newest.unlink()
    words = shlex.split(text)
    if "..." in words:  # the words of the command before
        rest = [word for word in words if word != "..."]
        words = [*rest, *(word for word in before if word not in rest)]
    return words


@contextlib.contextmanager
def two_jobs() -> Iterator[None]:
    """Let a sweep end after two jobs."""
    run_jobs = sweep_command.run_jobs

    def run_two(sweep: Any, *rest: Any) -> Any:
        begin, jobs = sweep.next, iter(range(2))
        sweep.next = lambda running: None if next(jobs, None) is None else begin(running)
        return run_jobs(sweep, *rest)

    with mock.patch.object(sweep_command, "run_jobs", run_two):
        yield


def sample_of_the_bundled_log(folder: Path) -> dict[str, Path]:
    """Write what 100 users bought of the 300 items that sell best."""
    tables = {
        name: pd.read_csv(path, dtype=online_retail.TYPES, keep_default_na=False)
        for name, path in online_retail.FILES.items()
    }
    log = tables["interactions"]
    items = log["StockCode"].value_counts().index[:300]
    log = log[log["StockCode"].isin(items)]
    log = log[log["CustomerID"].isin(log["CustomerID"].value_counts().index[:100])]
    tables["interactions"] = log
    tables["users"] = tables["users"][tables["users"]["CustomerID"].isin(log["CustomerID"])]
    tables["items"] = tables["items"][tables["items"]["StockCode"].isin(items)]
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return {name: folder / f"{name}.csv" for name in tables}


@dataclass(frozen=True)
class Ran:
    """A command that was run: its words, its exit status beside the one that the page shows, its seconds."""

    words: list[str]
    status: int
    expected: int
    seconds: float
    said: str


def run_page(
    page: Path, folder: Path, sample: Mapping[str, Path], skip: frozenset[str], max_long: int = 1000
) -> list[Ran]:
    """Run a page's commands in a folder.

    Args:
        page: README, or a page of the guide.
        folder: empty, or as README left it.
        sample: of the bundled log.
        skip: texts of commands that were run on a page before.
        max_long: how many of the long commands to run, the first of the page.
    """
    write_files_of_the_reader(page, folder)
    ran: list[Ran] = []
    before: list[str] = []
    modules = set(sys.modules)
    with (
        contextlib.chdir(folder),
        mock.patch.object(conf, "OTHERS", (folder / "conf",)),
        mock.patch.object(sys, "path", [*sys.path]),
        mock.patch.object(online_retail, "FILES", sample),
        mock.patch.object(next_basket, "MIN_REQUESTS", 1_000),
    ):
        for command in commands(page):
            if command.reason or command.text in skip:
                continue
            max_long -= command.is_long
            if command.is_long and max_long < 0:
                continue
            if "warm_start=" in command.text:
                write_the_log_of_today(folder)
            words = typed(command, before, folder)
            before = words
            began = time.process_time()
            more = sizes(words)
            with two_jobs() if command.is_long else contextlib.nullcontext():
                done = run_command(*words[1:], *more)
            seconds = time.process_time() - began
            said = (done.stdout + done.stderr)[-2000:]
            ran.append(Ran([*words, *more], done.returncode, command.status, seconds, said))
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] == "mine":  # another page has another package of this name
            del sys.modules[name]
    return ran


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sample_of_the_bundled_log(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def readme(sample: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ran]]:
    """README's commands in an empty folder, and that folder."""
    folder = tmp_path_factory.mktemp("readme")
    return folder, run_page(README, folder, sample, frozenset())


def wrong(ran: list[Ran]) -> list[tuple[list[str], int, str]]:
    return [(each.words, each.status, each.said) for each in ran if each.status != each.expected]


def test_the_commands_of_the_readme_run_as_typed(readme: tuple[Path, list[Ran]]) -> None:
    assert len(readme[1]) >= 14
    assert wrong(readme[1]) == []


def test_the_examples_of_the_page_on_serving_are_of_one_run(
    readme: tuple[Path, list[Ran]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The block of Python runs, and its scores on the page are those of the requests."""
    pages = [
        page.read_text(encoding="utf-8") for page in (GUIDE / "serve.md", README, ROOT / "README.zh-CN.md")
    ]
    (block,) = re.findall(r"```python\n(from pathlib.*?)```", pages[0], re.DOTALL)
    (output,) = re.findall(r"```text\n(\[\(.*?)```", pages[0], re.DOTALL)
    (item_id, score, label), _ = ast.literal_eval(output.splitlines()[0])
    for text in pages:
        answers = re.findall(r'"user_id": 17850, "k": 1\}\'\n(\{.*\})$', text, re.MULTILINE)
        assert answers
        for found in (json.loads(answer)["items"] for answer in answers):
            assert [(each["item_id"], round(each["score"], 2), each["label"]) for each in found] == [
                (item_id, score, label)
            ]
    folder = readme[0]
    tables = [
        pd.read_parquet(max(folder.glob("outputs/default/*/bundle")) / f"{name}.parquet")
        for name in ("users", "items")
    ]
    user, first, other = tables[0]["user_id"].iloc[1], *tables[1]["item_id"].iloc[1:3]
    for before, after in (
        ("outputs/demo", "outputs/default"),
        ("17850", str(user)),
        ("22423", first),
        ("23439", other),
    ):
        block = block.replace(before, after)
    with contextlib.chdir(folder):
        exec(block, {})
    printed = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    shown = [ast.literal_eval(line) for line in output.splitlines()]
    assert [len(each) for each in printed] == [len(each) for each in shown]
    assert printed[-1][0][0] == shown[-1][0][0] == "NEW-1"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_as_typed(
    page: Path, readme: tuple[Path, list[Ran]], sample: dict[str, Path], tmp_path: Path
) -> None:
    copy_runs(readme[0], tmp_path)
    ran = run_page(page, tmp_path, sample, seen_before(page), max_long=1)
    assert wrong(ran) == []


def copy_runs(readme: Path, folder: Path) -> None:
    """Let a page of the guide begin with the runs that README has made."""
    shutil.copytree(readme / "outputs", folder / "outputs")


def seen_before(page: Path) -> frozenset[str]:
    """Return the commands of the pages before a page."""
    pages = [README, *PAGES[: PAGES.index(page)]]
    return frozenset(command.text for each in pages for command in commands(each))


def test_no_reason_for_leaving_commands_out_is_idle() -> None:
    texts = [command.text for page in [README, *GUIDE.glob("*.md")] for command in commands(page)]
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, text) for text in texts)] == []
    assert sum(not Command(text, False, DONE).reason for text in texts) > 60


def main() -> None:
    """Print every command of README and guide with its exit status, or why it is not run."""
    with workers_are_forks(), tempfile.TemporaryDirectory() as place:
        sampled, readme = Path(place, "sample"), Path(place, "readme")
        sampled.mkdir()
        sample = sample_of_the_bundled_log(sampled)
        for page in [README, *PAGES]:
            folder = Path(place, page.stem.lower())
            folder.mkdir()
            if page != README:
                copy_runs(readme, folder)
            print(f"\n{page.relative_to(ROOT)}", flush=True)
            for each in run_page(page, folder, sample, frozenset() if page == README else seen_before(page)):
                mark = "" if each.status == each.expected else f"  EXPECTED {each.expected}: {each.said}"
                print(f"{each.status:3d} {each.seconds:6.1f} s  {shlex.join(each.words)}{mark}", flush=True)
            for command in commands(page):
                if command.reason:
                    print(f"  -           {command.text}    ({command.reason})")


if __name__ == "__main__":
    main()
