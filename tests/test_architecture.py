"""The house, read from the sources: rooms in the order of the data, and what each may import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kexport

PACKAGE = Path(kexport.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# In the order in which data goes; what stands in no room is the floor, which all rooms stand on.
ROOMS = (
    "images", "sources", "operations", "graph", "lowerings", "passes", "quantization", "formats", "runtimes",
    "evidence", "store", "reports", "bundles", "pipeline", "api", "cli",
)  # fmt: skip
MOST_ON_THE_FLOOR = 14

KERAS = {"keras", "tensorflow"}
HEAVY = KERAS | {
    "ai_edge_litert", "distributed", "flatbuffers", "fsspec", "h5py", "jinja2", "onnx", "onnxruntime", "PIL", "plotly",
    "psutil", "pydantic", "rich", "tf2onnx",
}  # fmt: skip
KERAS_PLACES = (
    "sources/build.py", "sources/loading/", "sources/adapt/", "sources/weights/", "lowerings/", "formats/savedmodel/",
    "formats/onnx/engines/tf2onnx.py", "formats/tflite/engines/converter.py", "runtimes/savedmodel.py",
    "runtimes/keras_", "runtimes/tensorflow_",
)  # fmt: skip
MAX_LINES = 300


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


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


def place(module: str) -> int:
    """How far down the way of the data a module stands: 0 is the floor."""
    room = [*module.split("."), ""][1]
    return ROOMS.index(room) + 1 if room in ROOMS else 0


def upward(name: str, code: str) -> list[str]:
    """Imports of a room that comes later than the module's own."""
    found = [module for module, _ in imports(ast.parse(code)) if module.split(".")[0] == "kexport"]
    return [f"{name} imports {module}" for module in found if place(module) > place(name)]


def test_a_room_imports_only_rooms_above_it() -> None:
    inner = [path for path in MODULES if path.parent != PACKAGE or path.stem[0] != "_"]
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in inner}
    assert [line for name, path in names.items() for line in upward(name, path.read_text("utf-8"))] == []


def test_the_import_rule_can_fail() -> None:
    assert upward("kexport.records", "from kexport import reports") == ["kexport.records imports kexport.reports"]
    assert upward("kexport.store.lock", "def f():\n    import kexport.cli.output") != []
    assert upward("kexport.reports.md", "from kexport.store import manifest\nfrom kexport import errors") == []


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders <= {*ROOMS, "options", "records"}, "what all rooms stand on, in more than one file"
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_ON_THE_FLOOR


def test_heavy_packages_are_imported_inside_functions() -> None:
    found = [(path, line, name) for path in MODULES for name, line in at_module_level(tree_of(path))]
    assert [f"{path}:{line}: {name}" for path, line, name in found if name.split(".")[0] in HEAVY] == []


def test_module_level_is_recognised() -> None:
    code = (
        "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\ntry:\n    import d\nexcept E:\n    import e\n"
        "class C:\n    import f\n    def g(self):\n        import h\n"
    )
    assert sorted(name for name, _ in at_module_level(ast.parse(code))) == ["a", "c", "d", "e", "f"]


def test_keras_is_imported_only_where_the_design_says() -> None:
    elsewhere = [path for path in MODULES if not path.relative_to(PACKAGE).as_posix().startswith(KERAS_PLACES)]
    found = [(path, line, module) for path in elsewhere for module, line in imports(tree_of(path))]
    assert [f"{path}:{line}: {module}" for path, line, module in found if module.split(".")[0] in KERAS] == []


def catches_everything(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    reraised = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    names = {"all" if kind is None else ast.unparse(kind) for kind in kinds}
    return bool(names & {"all", "Exception"}) or ("BaseException" in names and not reraised)


def test_only_the_cell_boundary_catches_every_exception() -> None:
    elsewhere = [path for path in MODULES if path != PACKAGE / "pipeline" / "worker.py"]
    handlers = [(path, node) for path in elsewhere for node in ast.walk(tree_of(path)) if catches_everything(node)]
    assert [f"{path}: {ast.unparse(node)}" for path, node in handlers] == []


def test_every_module_has_a_docstring_and_one_idea() -> None:
    assert [path for path in MODULES if not ast.get_docstring(tree_of(path))] == [], "a module says what it is for"
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert [f"{path}: {count}" for path, count in lines.items() if count > MAX_LINES] == [], "it holds two ideas"
