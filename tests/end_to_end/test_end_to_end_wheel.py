"""The package as somebody installs it: a wheel, in an empty folder, with a loss and data of one's own."""

import csv
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from forks import free_port, wait_until_ready
from quick import QUICK

from twotower.commands.conf import CONF

ROOT = CONF.parent
SMALL = ["trainer=smoke", *QUICK, "metrics.num_bootstrap=0", "console=quiet", "name=shop"]
SHY = '''"""A loss of one's own."""

from twotower.model.losses.bce import Bce


class Shy(Bce):
    """BCE that is shy."""
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy and unpacked as `pip install --target` does."""
    place = tmp_path_factory.mktemp("wheel")
    (source := place / "source").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    (source / "conf" / "local" / "loss").mkdir(parents=True)
    (source / "conf" / "local" / "loss" / "secret.yaml").write_text("nobody: else\n")
    quiet = ["-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", *quiet, "--no-build-isolation", "-w", str(place), str(source)]
    subprocess.run(build, check=True, timeout=600)
    (wheel,) = place.glob("*.whl")
    subprocess.run(
        [*pip, "install", *quiet, "--target", str(place / "site"), str(wheel)], check=True, timeout=600
    )
    return place / "site"


class Project:
    """An empty folder, and the command in it."""

    def __init__(self, site: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TWOTOWER_")},
            "PYTHONPATH": str(site),
            "PATH": f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["twotower", *words], cwd=self.folder, env=self.environment)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["twotower", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def project(site: Path, tmp_path: Path) -> Project:
    return Project(site, tmp_path)


def other_files(package: Path) -> set[str]:
    """Files of a package that are neither Python nor of `conf/`."""
    files = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    return {str(path) for path in files if path.suffix not in (".py", ".pyc") and path.parts[0] != "conf"}


def write_log(path: Path) -> None:
    """Two tribes of users, each with items of its own, over a year."""
    luck = random.Random(0)
    with path.open("w", newline="") as file:
        lines = csv.writer(file, delimiter=";")
        lines.writerow(["Kunde", "Artikel", "Zeit"])
        for _ in range(4000):
            user, second = luck.randrange(200), 1_600_000_000 + luck.randrange(365 * 86_400)
            lines.writerow([user, 2 * luck.randrange(40) + user % 2, second])


@pytest.mark.slow
def test_a_wheel_in_an_empty_folder(project: Project) -> None:
    here, package = project.folder, Path(project.environment["PYTHONPATH"]) / "twotower"
    assert sorted(path.name for path in (package / "conf").iterdir()) == sorted(
        path.name for path in CONF.iterdir() if path.name != "local"
    )
    assert other_files(package) == other_files(ROOT / "src" / "twotower")
    assert re.fullmatch(r"twotower \d+\.\d+\.\d+\n", project.run("--version"))
    write_log(here / "log.csv")
    next_line = project.run("init", "log.csv", "--name", "shop").rstrip().splitlines()[-1]
    typed = shlex.split(next_line.removeprefix("next: twotower "))
    (here / "mine").mkdir()
    (here / "mine" / "shy.py").write_text(SHY)
    (here / "conf" / "loss").mkdir()
    (here / "conf" / "loss" / "shy.yaml").write_text("# twotower train loss=shy\n_target_: mine.shy.Shy\n")
    assert "shy" in project.run("train", "--help")
    own = ("loss=shy", "negatives=uniform", "objective=next_item", "item_bias=none")
    project.run(*typed, *own, *SMALL)
    (run,) = (path.parent for path in here.glob("outputs/shop/*/result.json"))
    assert "shy" in run.name
    assert "shy" in project.run("compare", "outputs/shop", "tests=false")
    port = free_port()
    with project.start("serve", f"bundle={run}", f"port={port}", "console=quiet") as service:
        wait_until_ready(service, f"http://127.0.0.1:{port}")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/recommend",
            b'{"user_id": 3, "k": 5}',
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.read().count(b"item_id") == 5
        service.send_signal(signal.SIGTERM)
    assert {path.name for path in here.iterdir()} == {"conf", "log.csv", "mine", "outputs"}
