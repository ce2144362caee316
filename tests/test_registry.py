"""The registry: presence registers an engine, what cannot be a format is refused, and nobody else knows one by name."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kexport
from kexport.errors import UnknownNameError
from kexport.registry import Engine, Format, Scheme, engines_of
from kexport.specs import Cell, ModelSpec

PACKAGE = Path(kexport.__file__).parent
ENGINE = """
from kexport.registry import Engine, Scheme
ENGINE = Engine(name={name!r}, schemes=(Scheme.FLOAT32,), write=print, from_model={model})
"""
MEASURES_WITH_ONNX = "pipeline/max_drop.py"  # one plan serves every format: its drop is measured on this one


def test_a_file_registers_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own_engines"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, model in (("apart", True), ("native", False)):
        (folder / f"{name}.py").write_text(ENGINE.format(name=name, model=model))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [engine.name for engine in engines_of("own_engines")] == ["native", "apart"]


def test_every_engine_of_kexport_is_found() -> None:
    assert {str(form): form.engine_names for form in Format} == {
        "onnx": ("native", "tf2onnx"),
        "tflite": ("native", "tflite-converter"),
        "savedmodel": ("keras",),
    }


def test_a_format_is_its_name_and_one_value() -> None:
    onnx = Format("onnx")
    assert (onnx, f"{onnx:>5}", str(onnx)) == ("onnx", " onnx", "onnx")
    assert all(each is onnx for each in (Format.ONNX, copy.deepcopy(onnx), pickle.loads(pickle.dumps(onnx))))
    with pytest.raises(UnknownNameError, match="unknown format 'onx': did you mean onnx"):
        Format("onx")


NATIVE = Engine(name="native", schemes=(Scheme.FLOAT32,), write=print)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"name": "onnx"}, "two formats are called onnx"),
        ({"name": "Own"}, "format 'Own': expected a name of small letters"),
        ({"suffix": "own"}, "suffix 'own', expected one like '.own' or '-own'"),
        ({"suffix": "../own"}, "suffix '../own', expected one like"),
        ({"suffix": ".tflite"}, "suffix '.tflite' is that of another format"),
        ({"engines": ()}, "expected at least one, each once"),
        ({"engines": (NATIVE, NATIVE)}, "expected at least one, each once"),
    ],
)
def test_what_cannot_be_a_format(facts: dict[str, object], said: str) -> None:
    whole = {"name": "own", "suffix": ".own", "engines": (NATIVE,), **facts}
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        Format.register(**whole)
    assert "own" not in Format


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"name": "auto"}, "expected a name of its own and a scheme"),
        ({"schemes": ()}, "expected a name of its own and a scheme"),
        ({"schemes": (Scheme.INT8,)}, "writes quantized schemes: expected write_plan"),
    ],
)
def test_what_cannot_be_an_engine(facts: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Engine(**{"name": "own", "schemes": (Scheme.FLOAT32,), "write": print, **facts})


@pytest.mark.parametrize(("batch", "onnx", "tflite"), [(None, None, 1), (4, 4, 4)])
def test_the_rows_of_a_file(batch: int | None, onnx: int | None, tflite: int) -> None:
    model = ModelSpec(application="MobileNet")
    assert Cell(model=model, format=Format.ONNX, batch=batch).file_batch == onnx
    assert Cell(model=model, format=Format.TFLITE, batch=batch).file_batch == tflite


def named_formats(tree: ast.AST) -> Iterator[int]:
    """Lines that name one format: `Format.ONNX`, or `Format("onnx")`."""
    for node in ast.walk(tree):
        by_attribute = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Format" and node.attr.isupper()
        by_call = (
            isinstance(node, ast.Call) and ast.unparse(node.func) == "Format" and isinstance(node.args[0], ast.Constant)
        )
        if by_attribute or by_call:
            yield node.lineno


def test_only_its_folder_knows_a_format() -> None:
    named = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if list(named_formats(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert named == {MEASURES_WITH_ONNX}
    assert list(named_formats(ast.parse("Format.ONNX\nFormat('onnx')\nFormat(name)"))) == [1, 2]


SCHEME_WALK = """
import json, sys
from pathlib import Path
from kexport.evidence import tolerances
from kexport.formats.write import choose
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Clip
from kexport.registry import Format, Scheme
from kexport.specs import Cell, ModelSpec
cell = Cell(model=ModelSpec(application="MobileNet"), format=Format.ONNX, scheme=Scheme("plain"))
node = Node(name="cut", operation=Clip(minimum=0.0, maximum=1.0), inputs=("x",), shape=(None, 3))
graph = Graph(name="small", inputs=(TensorSpec(name="x", shape=(None, 3)),), nodes=(node,), outputs={"y": "cut"})
path = Path(sys.argv[1])
choose(cell, "").engine.write(graph, cell, path, {})
bound, = tolerances.load("onnx", "plain")
print(json.dumps({"bytes": path.stat().st_size, "name": cell.file_name, "bound": bound.limit}))
"""


def test_a_scheme_is_three_files(tmp_path: Path) -> None:
    """The walk: its name, the engine that writes it, its bounds; the command, file names and the proof follow."""
    for folder in ("kexport", "parity"):
        shutil.copytree(PACKAGE.parent / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    engine = tmp_path / "kexport" / "formats" / "onnx" / "engines" / "native.py"
    put(tmp_path / "kexport" / "registry.py", '    FLOAT16 = "float16"\n', '    PLAIN = "plain"\n')
    put(engine, "    schemes=(Scheme.FLOAT32, ", "Scheme.PLAIN, ")
    bound = '[onnx.plain]\nsqnr_db = { at_least = 50.0, why = "as float32" }\n\n'
    put(tmp_path / "parity" / "tolerances.toml", "\n\n", bound)
    told = json.loads(output(["-c", SCHEME_WALK, str(tmp_path / "small.onnx")], tmp_path))
    assert told.pop("bytes") > 0
    assert told == {"name": "MobileNet-plain.onnx", "bound": 50.0}
    assert "plain" in output(["-m", "kexport", "list", "schemes"], tmp_path)


def put(path: Path, after: str, text: str) -> None:
    """Text behind the first place where ``after`` stands."""
    before, found, behind = path.read_text(encoding="utf-8").partition(after)
    assert found, f"{path.name} has no {after!r}"
    path.write_text(f"{before}{after}{text}{behind}", encoding="utf-8")


def output(words: list[str], folder: Path) -> str:
    """What python writes with the package of ``folder``."""
    alone = {"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "120"}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=folder, env=alone, capture_output=True, text=True, timeout=120, check=True
    ).stdout
