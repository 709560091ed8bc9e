"""The files of the guide, run as they stand there: a shop, a loss, the snippet that reads results."""

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import run_script

import twotower as tt
from twotower.commands import conf

GUIDE = Path(__file__).parents[2] / "docs"
FEW = ("trainer.probe_steps=0", "metrics.importance_repeats=0", "baselines.tune=false")
SMALL = ("data.num_users=100", "data.num_items=200", "data.num_interactions=4000", *FEW)
"""As the tests of the commands of the guide add to data=synthetic."""
NAMED = re.compile(
    r"^[^\n`]*`([\w/]+\.(?:csv|py|yaml))`[^\n]*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def page(name: str) -> str:
    return (GUIDE / name).read_text(encoding="utf-8")


def written(name: str, folder: Path) -> list[str]:
    """Write the files that a page shows, each named in the line before it; return their names."""
    found = NAMED.findall(page(name))
    for path, text in found:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return [path for path, _ in found]


def test_the_shop_of_the_guide_trains_with_the_loss_of_the_guide_and_its_results_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, loss = written("your-data.md", tmp_path), written("extend.md", tmp_path)
    assert shop == ["log.csv", "people.csv", "shop.csv", "conf/data/shop.yaml", "conf/features/shop.yaml"]
    assert {"mine/squared_hinge.py", "conf/loss/squared_hinge.yaml"} <= set(loss)
    assert written("zh/your-data.md", tmp_path) == shop
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(conf, "OTHERS", (tmp_path / "conf",))

    (command,) = re.findall(r"^\$ twotower train (data=shop .*)$", page("your-data.md"), re.MULTILINE)
    words = [*shlex.split(command), *FEW, "trainer.max_epochs=2", "console=quiet"]
    own = [*words, "loss=squared_hinge", "negatives=uniform", "loss.margin=2"]
    done = run_script("train", *own)
    assert done.returncode == 0, done
    refused = run_script("train", *own, "loss.margin=wide")
    assert refused.returncode == 2
    assert "loss.margin: expected a valid number, got 'wide'" in refused.stderr

    (snippet,) = re.findall(r"```python\n(.*?)```", page("runs.md"), re.DOTALL)
    capsys.readouterr()
    exec(compile(snippet, "runs.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("outputs/default/") for line in lines) == 1
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= {"ease", "popularity"}
    assert "None" not in "".join(lines)


def test_the_loss_of_the_guide_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written("extend.md", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind = importlib.import_module("mine.squared_hinge").SquaredHinge
    positive = torch.tensor([0.5], requires_grad=True)
    negatives = torch.tensor([[0.0, -torch.inf, 1.0]], requires_grad=True)
    loss = kind(kind.Config())(positive, negatives, torch.ones(3))
    # (0 - .5 + 1)^2 = .25 and (1 - .5 + 1)^2 = 2.25, of which the mean; slopes are 2 * .5 / 2 and 2 * 1.5 / 2
    assert loss.tolist() == [1.25]
    slopes = torch.autograd.grad(loss.sum(), [negatives, positive])
    assert slopes[0].tolist() == [[0.5, 0.0, 1.5]]
    assert slopes[1].tolist() == [-2.0]


def test_the_notebook_of_the_guide_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conf, "OTHERS", ())
    cells = re.findall(r"```python\n(.*?)```", page("python.md"), re.DOTALL)
    variables: dict[str, Any] = {}
    for cell in cells:
        smaller = cell.replace('"data=synthetic", ', f'"data=synthetic", *{SMALL}, ')
        exec(compile(smaller, "python.md", "exec"), variables)
    printed = capsys.readouterr().out
    assert "did you mean 'embedding_dim'" in printed
    assert "Result(status='ok', valid/recall_at_20=" in printed
    table = variables["table"]
    assert list(table["state"]) == ["ok"] * 3
    assert table["settings.index"].nunique() == 3
    assert tt.open_run(variables["result"].folder) == variables["result"]
    assert variables["result"].training_reused_from is not None
    missing = tmp_path / "outputs" / "nothing"
    for function in (tt.open_run, tt.open_bundle, tt.compare):
        with pytest.raises(tt.InputError, match="nothing"):
            function(missing)
