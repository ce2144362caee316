"""One table of options: command line, Python, targets and the command that makes a cell again use the same words."""

from __future__ import annotations

import inspect
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

import kexport
from kexport import options
from kexport.cli import group
from kexport.cli.options import asked
from kexport.errors import UnknownNameError, UsageError
from kexport.options import PYTHON, TABLE, ExportOptions, read
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.requests import cells
from kexport.sources.names import select
from kexport.specs import Boundary, Format, Scheme
from tests.places import ROOT


def test_command_line_and_python_have_the_same_words() -> None:
    words = {option.word for option in TABLE}
    for name in ("export", "all"):
        typed = {flag for p in group.commands[name].params if isinstance(p, click.Option) for flag in p.opts}
        assert typed - {"-o"} == {f"--{word.replace('_', '-')}" for word in words}
    parameters = inspect.signature(kexport.export).parameters
    assert set(parameters) == words - {"json"} | {"sources", "evaluate", "earlier_words"}, "a function cannot be typed"
    assert all(f"    {option.word}: {option.meaning}." in str(kexport.export.__doc__) for option in PYTHON)


def test_every_option_has_an_example_that_can_be_typed() -> None:
    export = group.commands["export"]
    for option in TABLE:
        assert option.flag in option.example or option.short in option.example.split()
        words = shlex.split(
            option.example.partition(" > ")[0].removeprefix("kexport export ").removeprefix("kexport all ")
        )
        assert export.make_context("export", ["MobileNet", *words]).params[option.name] != option.default


def test_python_takes_what_the_command_line_takes() -> None:
    typed = group.commands["export"].make_context(
        "export", shlex.split("MobileNet --formats onnx --schemes float32,int8 --batch 2 --layer a --layer b --io int8")
    )
    given = read(
        PYTHON, {"formats": "onnx", "schemes": ("float32", "int8"), "batch": 2, "layer": ["a", "b"], "io": "int8"}
    )
    assert ExportOptions(**given).given() == asked({k: v for k, v in typed.params.items() if k != "sources"}).given()
    assert given["schemes"] == (Scheme.FLOAT32, Scheme.INT8)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"scheme": "int8"}, {"schemes": "int8"}),
        ({"include_top": False}, {"no_top": True}),
        ({"include_top": True}, {"no_top": False}),
        ({"evaluation": Path("photos")}, {"eval": "photos"}),
        ({"timeout_seconds": 90.0}, {"timeout": 1.5}),
        ({"directory": "out"}, {"output": "out"}),
        ({"layers": "pool"}, {"layer": ("pool",)}),
        ({"calibration": None, "labels": None, "alpha": None}, {}),
    ],
)
def test_earlier_words_keep_their_meaning(before: dict[str, object], now: dict[str, object]) -> None:
    assert read(PYTHON, before) == read(PYTHON, now)
    inspect.signature(kexport.export).bind("MobileNet", **before)


def test_words_that_there_are_not() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'formts': did you mean 'formats'"):
        kexport.export("MobileNet", formts="onnx")
    with pytest.raises(TypeError, match=r"^unexpected keyword argument 'zzz'$"):
        kexport.export("MobileNet", zzz=1)
    with pytest.raises(UsageError, match="scheme and schemes are one option"):
        kexport.export("MobileNet", scheme="int8", schemes="int8")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alpha": "wide"}, "--alpha 'wide': expected a number"),
        ({"classes": 2.5}, "--classes 2.5: expected a whole number"),
        ({"input_shape": (224, 224)}, "--input-shape (224, 224): expected height, width, channels"),
        ({"batch": "many"}, "--batch 'many': expected a whole number or dynamic"),
        ({"no_top": "yes"}, "--no-top 'yes': expected True or False"),
        ({"io": "int9"}, "unknown io 'int9': did you mean int8?"),
    ],
    ids=str,
)
def test_values_of_the_wrong_kind(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        kexport.export("MobileNet", **wrong)
    assert (caught.value.message, bool(caught.value.hint)) == (said, True)


@pytest.mark.parametrize(
    "typed",
    [
        {"formats": (Format.ONNX,)},
        {"formats": (Format.TFLITE,), "schemes": (Scheme.INT8,), "calibration": "synthetic:0", "io": Boundary.UINT8},
        {"formats": (Format.ONNX,), "alpha": 0.1234567, "input_shape": (96, 64, 3), "batch": 3, "opset": 17},
        {"formats": (Format.ONNX,), "no_top": True, "pooling": "avg", "engine": "tf2onnx", "weights": "random:3"},
        {
            "formats": (Format.TFLITE,),
            "classes": 7,
            "weights": "random:0",
            "layers": ("a b", "c"),
            "minimalistic": False,
        },
    ],
    ids=str,
)
def test_the_command_of_a_cell_makes_that_cell(typed: dict[str, object]) -> None:
    (cell,) = cells(select(["MobileNet"]), ExportOptions(**typed))  # type: ignore[arg-type]
    words = shlex.split(reproduce(cell, Path("a b")))
    params = group.commands["export"].make_context("export", words[2:]).params
    again = asked({name: value for name, value in params.items() if name != "sources"})
    assert cells(select(params["sources"]), again) == (cell,)
    assert (again.output, again.force) == (Path("a b"), True)


def target(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.toml").write_text(f'description = "{name}"\n{text}\n')
    return str(folder / f"{name}.toml")


def test_a_target_sets_every_option_of_models_and_cells(tmp_path: Path) -> None:
    (tmp_path / "cal").mkdir()
    (tmp_path / "names.txt").write_text("a\nb\n")
    text = (
        'formats = ["tflite"]\nschemes = ["int8"]\nio = "int8"\ncalibration = "cal"\nlabels = "names.txt"\nbatch = 2\n'
        'weights = "random:1"\nclasses = 2\nalpha = 0.5\ninput_shape = [64, 64, 3]\nengine = "native"'
    )
    options = ExportOptions(target=(target(tmp_path, "t", text),))
    (cell,) = cells(select(["MobileNet"]), options)
    assert (cell.format, cell.scheme, cell.io, cell.batch) == (Format.TFLITE, Scheme.INT8, Boundary.INT8, 2)
    assert (cell.calibration, cell.model.labels) == (str(tmp_path / "cal"), str(tmp_path / "names.txt"))
    assert (cell.model.alpha, cell.model.classes, str(cell.model.weights)) == (0.5, 2, "random:1")
    (typed,) = cells(select(["MobileNet"]), ExportOptions(target=options.target, io=Boundary.FLOAT32, alpha=0.25))
    assert (typed.io, typed.model.alpha) == (Boundary.FLOAT32, 0.25), "what is typed wins"


def test_no_target_allows_code_or_changes_the_run(tmp_path: Path) -> None:
    for word in ("trust", "force", "jobs", "output", "target"):
        with pytest.raises(UsageError, match=f"{word}: unknown key, expected one of description, formats"):
            cells(select(["MobileNet"]), ExportOptions(target=target(tmp_path, "t", f'formats = ["onnx"]\n{word} = 1')))


def test_each_target_makes_its_cells(tmp_path: Path) -> None:
    made = cells(select(["MobileNet", "VGG16"]), ExportOptions(target=("android", "portable", "server-cpu", "android")))
    assert [cell.file_name for cell in made] == [
        f"{model}-{end}"
        for model in ("MobileNet", "VGG16")
        for end in ("float32.tflite", "float16.tflite", "float32-batch1.onnx", "float32.onnx")
    ]
    older = target(tmp_path, "older", 'formats = ["onnx"]\nbatch = 1\nopset = 17')
    with pytest.raises(UsageError) as caught:
        cells(select(["MobileNet"]), ExportOptions(target=("portable", older)))
    assert caught.value.message == (
        f"--target portable and --target {older} both make MobileNet-float32-batch1.onnx, and not alike: "
        "opset 18 or 17, engine native or as usual"
    )
    with pytest.raises(UnknownNameError, match="did you mean android"):
        cells(select(["MobileNet"]), ExportOptions(target=("portable", "androit")))


NEW = """    swirl: float | None = option(
        Number(), Goes.MODEL, "Turns of the first layer", "--swirl 0.5", metavar="TURNS",
    )  # fmt: skip
    alpha: float | None"""
WALK = """
import inspect, json, kexport
from kexport.options import PYTHON, ExportOptions, read
from kexport.pipeline.reproduce import reproduce
from kexport.pipeline.requests import cells
from kexport.sources.build import options
from kexport.sources.catalog import application
from kexport.sources.names import select
from kexport.sources.reference import _options
from kexport.targets import parse
from pathlib import Path
asked = ExportOptions(**read(PYTHON, {"swirl": 0.5, "formats": "onnx"}))
cell, = cells(select(["MobileNet"]), asked)
told = _options(cell.model)
print(json.dumps({
    "signature": "swirl" in inspect.signature(kexport.export).parameters,
    "target": dict(parse({"description": "x", "formats": ["onnx"], "swirl": 0.5}).values)["swirl"],
    "command": reproduce(cell, Path("out")).split("--swirl ")[1].split()[0],
    "record": told["swirl"],
    "acts": options(cell.model, application("MobileNet"))["swirl"],
}))
"""


def test_an_option_of_the_model_is_two_files(tmp_path: Path) -> None:
    """The walk: a field in the table, and one line where it acts; everything else follows."""
    shutil.copytree(ROOT / "kexport", tmp_path / "kexport", ignore=shutil.ignore_patterns("__pycache__"))
    table, acts = tmp_path / "kexport" / "options" / "__init__.py", tmp_path / "kexport" / "sources" / "build.py"
    table.write_text(table.read_text().replace("    alpha: float | None", NEW, 1))
    line = "    if spec.alpha is not None:\n        chosen"
    assert line in acts.read_text()
    acts.write_text(acts.read_text().replace(line, f'    chosen["swirl"] = spec.swirl\n{line}', 1))
    told = json.loads(output([sys.executable, "-c", WALK], tmp_path))
    assert told == {"signature": True, "target": 0.5, "command": "0.5", "record": 0.5, "acts": 0.5}
    assert "--swirl" in output([sys.executable, "-m", "kexport", "export", "--help"], tmp_path)


def output(words: list[str], folder: Path) -> str:
    """What a program with the package of ``folder`` writes."""
    alone = {"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "120"}
    return subprocess.run(words, cwd=folder, env=alone, capture_output=True, text=True, timeout=120, check=True).stdout


def test_no_option_is_told_twice() -> None:
    assert len({option.word for option in TABLE}) == len(TABLE) == len({option.name for option in TABLE})
    taken = {option.word for option in TABLE} | {option.name for option in TABLE}
    assert {option.was for option in TABLE} & taken == {"layers", "evaluation"}, "their own fields"
    assert options.of(*options.Goes) == TABLE
