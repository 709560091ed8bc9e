"""Which code counts: all that a module imports, and of that only what can change what it does."""

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.files import code as module
from twotower.files.code import code_digests, code_fingerprint

TOP = "code_of_a_test"
FILES = {
    "__init__.py": '"""A package."""\n',
    "loss.py": f"import json\nimport numpy as np\nfrom {TOP}.deep import slope\nfrom . import margin\n",
    "margin.py": "def wide():\n    from .deep.far import far\n    return far\n",
    "unrelated.py": "x = 1\n",
    "deep/__init__.py": "",
    "deep/slope.py": "y = 2  # steep\n",
    "deep/far.py": "z = 3\n",
}
COUNTED = {TOP, *(f"{TOP}.{name}" for name in ("loss", "margin", "deep", "deep.slope", "deep.far")), "numpy"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's own, outside any place for installed ones."""
    for name, text in FILES.items():
        (tmp_path / TOP / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / TOP / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / TOP
    forget()


def forget() -> None:
    """Look at the files as a new process would."""
    importlib.invalidate_caches()
    module._source.cache_clear()
    module._syntax.cache_clear()


def found(*modules: str) -> str:
    forget()
    return code_fingerprint(modules or (f"{TOP}.loss",))


def test_all_that_a_module_imports_counts_and_nothing_is_imported(package: Path) -> None:
    forget()
    assert code_digests([f"{TOP}.loss"]).keys() == COUNTED
    assert code_digests([f"{TOP}.loss"])["numpy"] == importlib.metadata.version("numpy")
    assert not {name for name in sys.modules if name.startswith(TOP)}


@pytest.mark.parametrize("name", ["loss.py", "margin.py", "deep/slope.py", "deep/far.py", "deep/__init__.py"])
def test_a_change_anywhere_in_it_is_seen(package: Path, name: str) -> None:
    before = found()
    path = package / name
    path.write_text(path.read_text() + "changed = True\n")
    changed = found()
    assert changed != before
    path.write_text(FILES[name])
    assert found() == before  # the content counts, not when it was written


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unrelated.py", "x = 2\n"),
        ("new.py", "from code_of_a_test.loss import np\n"),
        ("deep/slope.py", "# not steep\n\ny = (\n    2\n)\n"),
        ("deep/slope.py", '"""Said of it."""\ny = 2\n'),
        ("margin.py", 'def wide():\n    """Tell."""\n    from .deep.far import far\n    return far\n'),
        ("notes.txt", "z"),
    ],
)
def test_comments_and_docstrings_do_not_change_the_fingerprint(package: Path, name: str, text: str) -> None:
    before = found()
    (package / name).write_text(text)
    assert found() == before


@pytest.mark.parametrize("library", ["numpy", "PyYAML"])
def test_a_library_counts_by_its_version_also_where_its_package_has_another_name(
    package: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    (package / "loss.py").write_text("import yaml\nimport numpy.linalg\n")
    before, version = found(), importlib.metadata.version
    assert code_digests([f"{TOP}.loss"])["yaml"] == f"PyYAML {version('PyYAML')}"
    module._version.cache_clear()
    changed = {library: "0.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: changed.get(name) or version(name))
    assert found() != before
    module._version.cache_clear()


def test_excluded_packages_exclude_their_own_imports(package: Path) -> None:
    forget()
    assert code_digests([f"{TOP}.loss"], excluded=[f"{TOP}.margin"]).keys() == COUNTED - {
        f"{TOP}.margin",
        f"{TOP}.deep.far",
    }
    assert code_digests([f"{TOP}.loss"], excluded=[TOP]) == {}


def test_circles_and_broken_files_end(package: Path) -> None:
    (package / "deep" / "far.py").write_text(f"import {TOP}.loss\n")
    assert code_digests([f"{TOP}.loss"]).keys() == COUNTED
    (package / "deep" / "far.py").write_text("print 'of another Python'\n")
    before = found()
    (package / "deep" / "far.py").write_text("print 'of another Python', 2\n")
    assert found() != before
    assert code_digests(["no_such_module.at_all"]) == {}


def test_a_namespace_package_in_another_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outer_space" / "inner").mkdir(parents=True)
    (tmp_path / "outer_space" / "inner" / "part.py").write_text("VALUE = 1\n")
    (tmp_path / "of_space.py").write_text("from outer_space.inner import part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"of_space", "outer_space.inner.part"} <= code_digests(["of_space"]).keys()
