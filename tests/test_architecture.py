"""The design's import rule, read from the sources: values <- seams <- steps <- pipeline <- cli."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kexport

PACKAGE = Path(kexport.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE.parent).as_posix() for path in MODULES]

# What everything may build on: frozen values, pure data and pure functions, the machine and its files.
VALUES = {
    "__init__",
    "errors",
    "operations",
    "graph",
    "specs",
    "records",
    "catalog",
    "latency",
    "machine",
    "durable",
    "images",
    "keras_walk",
    "graph_file",
    "quantization",
    "ranking",
    "plan_file",
    "prepared",
    "tolerances",
    "photographs",
    "likeness",
    "array_file",
    "image_sets",
    "calibration",
    "class_labels",
    "evaluation",
    "contract",
    "labels",
    "named",
}
SEAMS = {"passes", "quantizers", "lowerings", "formats", "engines", "runtimes", "reports", "weights", "loading"}
PIPELINE = {
    "plan", "pipeline", "orchestra", "measuring", "scoring", "planning", "bounding", "worker", "restored",
    "layer_listing", "layer_ranking", "ranker",
}  # fmt: skip
CLI = {"cli", "api", "__main__"}
LAYERS = ("values", "seams", "steps", "pipeline", "cli")

# Each exception to "steps do not import each other", with its reason.
STEP_IMPORTS: dict[tuple[str, str], str] = {}

# Seen by type checkers only: at run time the name is looked up when first used.
LAZY = {("__init__", "api")}

KERAS = {"keras", "tensorflow"}
HEAVY = KERAS | {
    "ai_edge_litert", "flatbuffers", "h5py", "onnx", "onnxruntime", "PIL", "pydantic", "rich", "tf2onnx",
}  # fmt: skip
KERAS_MODULES = ("source.py", "lower.py", "formats/savedmodel.py", "runtimes/savedmodel.py")
KERAS_PREFIXES = ("lowerings/", "weights/", "loading/", "engines/", "runtimes/keras_", "runtimes/tensorflow_")
MAX_LINES = 400


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part_of(module: str) -> str:
    """`kexport.formats.onnx` -> `formats`; `kexport` itself -> `__init__`."""
    return [*module.split("."), "__init__"][1]


def layer_of(part: str) -> int:
    for index, members in ((0, VALUES), (1, SEAMS), (3, PIPELINE), (4, CLI)):
        if part in members:
            return index
    return 2


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Absolute names of imported modules, with their lines; `from kexport import x` gives `kexport.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            module = node.module or ""
            whole = [f"{module}.{alias.name}" for alias in node.names] if module == "kexport" else [module]
            yield from ((name, node.lineno) for name in whole)


def at_module_level(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Imports that run when the module is imported; not those for type checkers only."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imports(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            blocks = (getattr(node, name, []) for name in ("body", "orelse", "finalbody"))
            pending.extend(child for block in blocks for child in block)
            pending.extend(child for handler in getattr(node, "handlers", []) for child in handler.body)


def broken_imports(source: Path, tree: ast.Module) -> Iterator[str]:
    own = part_of(".".join(source.relative_to(PACKAGE.parent).with_suffix("").parts))
    for module, line in imports(tree):
        if module.split(".")[0] != "kexport":
            continue
        part = part_of(module)
        is_name = not ((PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file())
        if part == own or is_name or (own, part) in LAZY:
            continue
        if layer_of(part) > layer_of(own):
            yield f"line {line}: {LAYERS[layer_of(own)]} ({own}) import {LAYERS[layer_of(part)]} ({part})"
        elif layer_of(part) == layer_of(own) == 2 and (own, part) not in STEP_IMPORTS:
            yield f"line {line}: step {own} imports step {part}"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_import_rule(path: Path) -> None:
    assert list(broken_imports(path, tree_of(path))) == []


def test_import_rule_can_fail() -> None:
    def broken(file: str, code: str) -> list[str]:
        return list(broken_imports(PACKAGE / file, ast.parse(code)))

    assert broken("records.py", "from kexport.reports import md") == ["line 1: values (records) import seams (reports)"]
    assert broken("reports/md.py", "from kexport import store") == ["line 1: seams (reports) import steps (store)"]
    assert broken("store.py", "def f():\n    import kexport.scheduler") == ["line 2: step store imports step scheduler"]
    assert broken("store.py", "from kexport.records import Record\nfrom kexport import __version__") == []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    found = [f"line {line}: {name}" for name, line in at_module_level(tree_of(path)) if name.split(".")[0] in HEAVY]
    assert found == []


def test_module_level_is_recognised() -> None:
    code = (
        "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\ntry:\n    import d\nexcept E:\n    import e\n"
        "class C:\n    import f\n    def g(self):\n        import h\n"
    )
    assert sorted(name for name, _ in at_module_level(ast.parse(code))) == ["a", "c", "d", "e", "f"]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_keras_is_imported_only_where_the_design_says(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    if name in KERAS_MODULES or name.startswith(KERAS_PREFIXES):
        return
    found = [f"line {line}: {module}" for module, line in imports(tree_of(path)) if module.split(".")[0] in KERAS]
    assert found == []


def catches_everything(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    reraised = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    names = {"all" if kind is None else ast.unparse(kind) for kind in kinds}
    return bool(names & {"all", "Exception"}) or ("BaseException" in names and not reraised)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_only_the_cell_boundary_catches_every_exception(path: Path) -> None:
    if path != PACKAGE / "worker.py":
        assert [node.lineno for node in ast.walk(tree_of(path)) if catches_everything(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_every_module_has_a_docstring_and_one_idea(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), "a module says what it is for"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: it holds two ideas"


def test_exceptions_of_the_import_rule_are_used() -> None:
    used = {
        (part_of(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)), part_of(module))
        for path in MODULES
        for module, _ in imports(tree_of(path))
        if module.startswith("kexport")
    }
    assert [pair for pair in STEP_IMPORTS if pair not in used] == []
