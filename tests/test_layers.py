"""The rules that a parser can see: who imports whom, what is never called, how long things are."""

import ast
import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "twotower"
MODULES = sorted(SOURCE.rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py" and path.parent != SOURCE]
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))

TIERS = [
    {"config"},
    {"files"},
    {"data"},
    {"model.features"},
    {"model.towers"},
    {"model.negatives", "evaluation.metrics", "index"},
    {"model.scoring"},
    {"model.losses"},
    {"evaluation"},
    {"bundle", "parallel"},
    {"training"},
    {"experiments"},
    {"jobs"},
    {"serving", "index_lab"},
    {"commands"},
]
"""A package imports from tiers before its own, and from itself; so nothing can import what imports it."""

PLACES = set().union(*TIERS)
ONLY_IN = {
    "hydra": {"commands"},
    "omegaconf": {"commands"},
    "faiss": {"index"},
    "pytorch_lightning": {"training"},
    "mlflow": {"training"},
    "wandb": {"training"},
    "onnxruntime": {"bundle", "model.features"},
    "tokenizers": {"model.features"},
    "sentence_transformers": {"model.features"},
    "PIL": {"model.features"},
    "onnx_ir": {"bundle"},
    "fastapi": {"serving"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "prometheus_client": {"serving"},
    "sqlite3": {"serving"},
}
NEVER_IN = {"torch": {"config", "files", "data", "evaluation.metrics", "index"}}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_SCRIPT_LINES = 400, 80, 40


def of_folders(paths: list[Path]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Ask a test of each folder's files: of each file by itself is thousands of tests."""
    folders: dict[str, list[Path]] = {}
    for path in paths:
        folders.setdefault(str(path.parent.relative_to(ROOT)), []).append(path)
    return pytest.mark.parametrize("paths", folders.values(), ids=folders.keys())


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path: Path) -> list[str]:
    """Every module imported anywhere in a file, in functions too."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the whole name instead of a relative import"
            found.append(node.module or "")
    return found


def package_of(module: str) -> str:
    """The package of `TIERS` that has a module, of which the longest name counts."""
    names = module.removeprefix("twotower.").split(".")
    two = ".".join(names[:2])
    return "jobs" if names[0] == "job" else two if two in PLACES else names[0]


def package_at(path: Path) -> str:
    return package_of(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"))


def tier_of(package: str) -> int:
    return next(position for position, packages in enumerate(TIERS) if package in packages)


def test_every_package_has_its_place() -> None:
    assert {package_at(path) for path in MODULES} - {"__init__", "__main__", "model"} == PLACES


def test_no_modules_import_each_other() -> None:
    """Imports below TYPE_CHECKING and in functions count, too."""
    paths = {".".join(path.relative_to(ROOT / "src").with_suffix("").parts): path for path in MODULES}
    graph = {name: {module for module in imports_of(path) if module in paths} for name, path in paths.items()}

    @functools.cache
    def reached_from(name: str) -> frozenset[str]:
        """The modules that a module imports, and those that these import."""
        found, left = set[str](), [name]
        while left:
            left += (new := graph[left.pop()] - found)
            found |= new
        return frozenset(found)

    circles = {
        frozenset(other for other in reached_from(name) if name in reached_from(other))
        for name in paths
        if name in reached_from(name)
    }
    assert sorted(map(sorted, circles)) == []


@of_folders([path for path in MODULES if path.parent != SOURCE and path.parent.name != "model"])
def test_a_package_imports_from_its_left_only(paths: list[Path]) -> None:
    for path in paths:
        here = package_at(path)
        for module in imports_of(path):
            if not module.startswith("twotower."):
                assert module != "twotower", f"{path}: import from the defining module"
                continue
            there = package_of(module)
            assert there == here or tier_of(there) < tier_of(here), f"{path}: {here} must not import {module}"


@of_folders(MODULES)
def test_libraries_stay_in_their_packages(paths: list[Path]) -> None:
    for path in paths:
        libraries = {module.split(".")[0] for module in imports_of(path)}
        here = package_at(path)
        for library in libraries:
            assert here in ONLY_IN.get(library, {here}), f"{path}: {library} belongs to {ONLY_IN[library]}"
            assert here not in NEVER_IN.get(library, ()), f"{path}: no {library} in {here}"
        assert not libraries & PICKLES, path


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@of_folders([*MODULES, *SCRIPTS])
def test_nothing_is_unpickled(paths: list[Path]) -> None:
    for path, node in ((file, node) for file in paths for node in ast.walk(tree_of(file))):
        if not isinstance(node, ast.Call):
            continue
        name, place = dotted(node.func), f"{path}:{node.lineno}"
        given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        if name == "torch.load" or name.endswith("load_from_checkpoint"):
            assert given.get("weights_only") is True, place
        if name in ("np.load", "numpy.load"):
            assert given.get("allow_pickle") is False, place
        # Checkpoints are torch's: written as Lightning would, and read with `weights_only` alone.
        assert name != "torch.save" or path.name == "checkpoints.py", place
        assert not name.endswith(("read_pickle", "to_pickle")), place
        assert name not in ("eval", "exec"), place


@of_folders(MODULES)
def test_modules_are_small_and_named_after_what_they_hold(paths: list[Path]) -> None:
    for path in paths:
        assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc", "base"), path
        assert path.parent.name not in ("utils", "util", "helpers", "helper", "common", "misc", "base")
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES, path


@of_folders([*MODULES, *SCRIPTS])
def test_functions_are_short(paths: list[Path]) -> None:
    for path, node in ((file, node) for file in paths for node in ast.walk(tree_of(file))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}: {node.name} has {length} lines"


def test_a_method_without_a_docstring_overrides_one_that_has_it() -> None:
    tops = [node for path in MODULES for node in tree_of(path).body if isinstance(node, ast.ClassDef)]
    kinds = {top.name: top for top in tops}
    kinds |= {
        f"{top.name}.{node.name}": node for top in tops for node in top.body if isinstance(node, ast.ClassDef)
    }
    functions = ast.FunctionDef | ast.AsyncFunctionDef

    def is_documented(kind: str, method: str) -> bool:
        """Whether a class, or one that it extends, has a docstring of a method."""
        if kind not in kinds:
            return False
        own = [each for each in kinds[kind].body if isinstance(each, functions) and each.name == method]
        bases = [ast.unparse(base).partition("[")[0] for base in kinds[kind].bases]
        return any(map(ast.get_docstring, own)) or any(is_documented(base, method) for base in bases)

    assert [
        f"{name}.{method.name}"
        for name, kind in kinds.items()
        for method in kind.body
        if isinstance(method, functions) and "_" not in (name[0], method.name[0])
        if not is_documented(name, method.name)
    ] == []


def test_names_of_modules_and_classes_are_distinct() -> None:
    """A module of `entry_points` has the name of its command, as the module that does the work may have."""
    modules, classes = Counter[str](), Counter[str]()
    for path in MODULES:
        if path.stem not in {"__init__", "__main__"} and path.parent.name != "entry_points":
            modules[path.stem] += 1
        classes.update(node.name for node in tree_of(path).body if isinstance(node, ast.ClassDef))
    assert [name for names in (modules, classes) for name, number in names.items() if number > 1] == []


@of_folders(PACKAGES)
def test_packages_say_what_they_are_and_import_nothing(paths: list[Path]) -> None:
    (path,) = paths
    assert ast.get_docstring(tree_of(path))
    assert imports_of(path) == []


@of_folders(sorted({*(ROOT / "scripts").glob("*.py")} - {ROOT / "scripts" / "write_reference.py"}))
def test_commands_are_thin(paths: list[Path]) -> None:
    """The script that writes a page of the guide is no command."""
    for path in paths:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_SCRIPT_LINES, path


def loaded_by(module: str) -> set[str]:
    """The libraries a fresh process has after an import."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_importing_twotower_takes_no_library() -> None:
    loaded = loaded_by("twotower")
    assert not loaded & {"torch", "pytorch_lightning", "numpy", "pandas", "faiss", "hydra"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("twotower.commands.init.write_settings", {"torch", "pytorch_lightning", "faiss"}),
        ("twotower.index.auto", {"torch", "pandas", "pytorch_lightning", "hydra"}),
        ("twotower.data.build_dataset", {"torch", "faiss", "pytorch_lightning", "hydra"}),
        ("twotower.commands.compose", {"torch", "faiss", "pytorch_lightning", "pandas"}),
        ("twotower.experiments.console.rich", {"torch", "matplotlib", "faiss", "pytorch_lightning", "hydra"}),
        ("twotower.experiments.compare.command", {"torch", "pandas", "faiss", "pytorch_lightning", "plotly"}),
        (
            "twotower.serving.retriever",
            {"pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "fastapi", "uvicorn"}
            | {"onnx", "onnxruntime", "sqlite3"},
        ),
        ("twotower.serving.http.server", {"pytorch_lightning", "hydra", "onnx", "onnxscript", "tensorboard"}),
    ],
)
def test_what_an_import_leaves_out(module: str, absent: set[str]) -> None:
    assert not loaded_by(module) & absent
