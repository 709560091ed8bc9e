"""Runs and bundles that name classes of others: their code runs where it was typed or is trusted, only."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from in_process import run_script
from quick import QUICK
from tiny_runs import train_in

from twotower.bundle.manifest import render
from twotower.commands import conf
from twotower.commands.conf import CONF
from twotower.config.errors import InputError
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.live_service import LiveService
from twotower.serving.retriever import Retriever

SCRIPTS = CONF.parent / "scripts"
PACKAGE = "outsider_of_a_test"
SOURCE = """
from pathlib import Path

from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.towers.mlp import Mlp

with (Path(__file__).parent / "imported").open("a") as mark:
    mark.write("once\\n")


class OtherLoss(SampledSoftmax):
    pass


class OtherTower(Mlp):
    pass
"""
TINY = (
    *("data=synthetic", "data.num_users=200", "data.num_items=120", "data.num_interactions=3000"),
    *("trainer.max_epochs=1", "trainer.refit=false", "metrics.num_bootstrap=0", "objective=next_item"),
    *("embedding_dim=16", "index=flat_ip", "console=quiet", *QUICK),
    *(f"loss._target_={PACKAGE}.OtherLoss", f"user_tower._target_={PACKAGE}.OtherTower"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("outsiders")
    (folder / f"{PACKAGE}.py").write_text(SOURCE, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop(PACKAGE, None)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A finished run whose loss and user tower were typed: nothing else had to be said."""
    folder = place / "outputs" / "default" / "run"
    train_in(folder, *TINY, f"output_root={place / 'outputs'}")
    assert "trusted_packages" not in (folder / "config.yaml").read_text()
    return folder


@pytest.fixture
def mark(place: Path, run: Path) -> Path:
    """What appears once the package is imported again."""
    sys.modules.pop(PACKAGE, None)
    (place / "imported").unlink(missing_ok=True)
    return place / "imported"


COMMANDS = (
    *(("train", "resume={run}"), ("train", "rerun={run}"), ("evaluate", "run={run}")),
    *(("reindex", "run={run}"), ("export", "run={run}"), ("serve", "bundle={run}")),
)


@pytest.mark.parametrize(("script", "what"), COMMANDS)
def test_no_door_imports_what_a_file_names(run: Path, mark: Path, script: str, what: str) -> None:
    left = run_script(script, what.format(run=run))
    assert left.returncode == 2
    assert left.stderr.startswith(f"error: {run}/")
    assert "config.yaml: names " in left.stderr
    assert f"'{PACKAGE}.OtherTower'" in left.stderr
    assert f"trusted_packages=[{PACKAGE}]" in left.stderr
    assert "Traceback" not in left.stderr
    assert not mark.exists()
    assert sorted(path.name for path in run.parent.iterdir()) == ["run"]


def test_a_python_program_names_whom_it_trusts_and_the_loss_is_not_asked_for(run: Path, mark: Path) -> None:
    with pytest.raises(InputError, match=rf"config\.yaml: names '{PACKAGE}\.OtherTower' as"):
        Retriever.open(run / "bundle")
    assert not mark.exists()
    retriever = Retriever.open(run / "bundle", trusted_packages=[f"{PACKAGE}.OtherTower"])
    assert len(retriever.recommend(retriever.user_ids[0], k=5)) == 5


@pytest.mark.parametrize("name", ["local/trust", "local/default", "metrics/standard"])
@pytest.mark.parametrize(
    ("script", "what"), [*COMMANDS[:3], ("evaluate", "--cfg job metrics=standard run={run}")]
)
def test_no_file_of_the_folder_grants_trust(
    run: Path,
    mark: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    what: str,
    name: str,
) -> None:
    path = tmp_path / "conf" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    header = "" if name == "local/trust" else "# @package _global_\n"
    path.write_text(f"{header}trusted_packages: [{PACKAGE}]\n")
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))
    left = run_script(script, *what.format(run=run).split())
    assert left.returncode == 2
    assert "Traceback" not in left.stderr
    assert not mark.exists()
    if name != "metrics/standard":
        assert "grants trust" in left.stderr or "trusted_packages" in left.stderr


def test_the_environment_variable_grants_trust(
    run: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOTOWER_TRUSTED_PACKAGES", f"another, {PACKAGE}")
    assert "this run has ended" in run_script("train", f"resume={run}").stderr


def test_whom_a_user_trusts_is_believed(run: Path, mark: Path) -> None:
    trusted = f"trusted_packages=[{PACKAGE}]"
    assert "this run has ended" in run_script("train", f"resume={run}", trusted).stderr
    assert run_script("reindex", f"run={run}", trusted, "console=quiet").returncode == 0
    assert mark.exists()
    made = next(path for path in run.parent.iterdir() if path != run)
    assert json.loads((made / "result.json").read_text())["status"] == "ok"
    assert "trusted_packages" not in made.name + (made / "config.yaml").read_text()


def test_reload_of_a_bundle_that_names_others_is_422_and_says_how(place: Path, run: Path, mark: Path) -> None:
    for name, target in (("ends", "unittest.__main__.X"), ("ours", "twotower.config.spec.importlib.X")):
        folder = place / "bundles" / name
        folder.mkdir(parents=True)
        for path in (run / "bundle").iterdir():
            (folder / path.name).hardlink_to(path)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["index"]["spec"]["_target_"] = target
        (folder / "manifest.json").unlink()
        (folder / "manifest.json").write_text(render(manifest))
    trusted = (f"{PACKAGE}.OtherTower",)
    with closing(LiveService(place / "bundles", run / "bundle", None, trusted_packages=trusted)) as live:

        async def reload(name: str) -> httpx.Response:
            transport = httpx.ASGITransport(create_app(live, ServiceConfig(bundle="run", console="quiet")))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.post("/reload", json={"bundle": name})

        for name, why in (("ends", "trusted_packages=[unittest]"), ("ours", "there is no class")):
            answer = asyncio.run(reload(name))
            assert answer.status_code == 422
            assert why in answer.json()["error"]["message"]
            assert "manifest.json" in answer.json()["error"]["message"]
            assert str(place) not in answer.text
        assert live.retriever.num_items == 120
