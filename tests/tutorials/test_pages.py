"""The pages of tutorials are what their runner can follow, and its comparison can fail; running them is a command."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from kexport.version import __version__
from tests.formats import test_own_formats as formats
from tests.lowerings import test_own_lowerings as lowerings
from tests.places import ROOT
from tests.test_readme import parse

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "tutorials").glob("*.md"))}


def _runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_run", ROOT / "tests" / "tutorials" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


RUN = _runner()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_shell_block_is_executed_and_outputs_are_pasted(page: str) -> None:
    found = list(RUN.blocks(page))
    assert sum(block.kind == "run" for block in found) == len(re.findall(r"^```sh$", page, re.MULTILINE)) > 2
    assert all(block.text.strip() for block in found)
    assert re.search(r"<!-- time: [a-z0-9]+ -->\d[\d minuts]+<!-- end -->", page)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_names_its_command(name: str) -> None:
    assert f"`python tests/tutorials/run.py {name}`" in PAGES[name]


def test_outputs_are_alike_but_for_figures() -> None:
    assert RUN.alike("| tflite | PASS | 1.2 |\n", "| tflite   | PASS |   13.7* |")
    assert RUN.alike("error 2.8e-05, -0.4 points", "error 3.1e-06, +0.2 points")
    assert not RUN.alike("| tflite | PASS | 1.2 |", "| tflite | FAIL | 1.2 |")
    assert not RUN.alike("a 1", "a 1 b")


def follow(page: str, folder: Path) -> list[tuple[object, str]]:
    return RUN.follow(page, folder, {"PATH": "/usr/bin:/bin"})


def test_a_page_is_followed(tmp_path: Path) -> None:
    page = (
        "<!-- file: a/b.txt -->\n```text\nhello\n```\n<!-- run: 3 -->\n```sh\ncat a/b.txt\nexit 3\n```\n"
        "<!-- output -->\n```text\nhello\n```\n"
    )
    [(_, output)] = follow(page, tmp_path)
    assert output == "hello\n"


@pytest.mark.parametrize(
    "page",
    [
        "<!-- run -->\n```sh\nexit 3\n```\n",
        "<!-- run: 1 -->\n```sh\ntrue\n```\n",
        "<!-- run -->\n```sh\necho PASS\n```\n<!-- output -->\n```text\nFAIL\n```\n",
    ],
)
def test_a_page_that_is_wrong_fails(page: str, tmp_path: Path) -> None:
    with pytest.raises(RUN.Failed):
        follow(page, tmp_path)


def test_true_outputs_and_times_are_written() -> None:
    page = "<!-- time: x -->?<!-- end -->\n<!-- output -->\n```text\n```\n"
    [block] = RUN.blocks(page)
    expected = "<!-- time: x -->2 min 5 s<!-- end -->\n<!-- output -->\n```text\na\n b\n```\n"
    assert RUN.written(page, [(block, "\na  \n b\n")], 125.2) == expected


def test_what_is_ones_own_is_what_the_tests_of_the_rooms_export() -> None:
    files = {block.word: block.text for block in RUN.blocks(PAGES["own"]) if block.kind == "file"}
    layers = lowerings.LAYERS.replace("import keras\n", "import keras\nimport tensorflow as tf\n", 1)
    shown = {
        "swirl_layers.py": layers.replace("keras.ops.tanh", "tf.tanh"),
        "swirl_lowerings.py": lowerings.LOWERINGS,
        "npz_export/__init__.py": formats.FORMAT,
        "npz_export/runtime.py": formats.RUNTIME,
        "npz_models.py": formats.MODEL,
    }
    for name, text in shown.items():
        assert ast.dump(ast.parse(files[f"own/{name}"])) == ast.dump(ast.parse(text)), name
    assert files["own/npz_export/bounds.toml"].strip() == formats.BOUNDS.strip()


def test_the_job_can_be_pasted() -> None:
    """Its actions by hash, this one by its release, and a command that kexport takes."""
    [job] = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```", PAGES["ci"], re.MULTILINE | re.DOTALL)[1])["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) for name in used[:-1])
    assert used[-1] == f"kexport/kexport@v{__version__}"
    assert set(job["steps"][-1]["with"]) <= set(yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["inputs"])
    [command] = [step["run"] for step in job["steps"] if step.get("run", "").startswith("kexport")]
    assert parse(command).command.name == "export"


def test_the_pass_does_what_it_ensures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    files = {block.word: block.text for block in RUN.blocks(PAGES["own"]) if block.kind == "file"}
    (tmp_path / "relu_once.py").write_text(files["relu_once.py"])
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(files["try_pass.py"], "try_pass.py", "exec"), {})
    assert capsys.readouterr().out == "[('second', ('a', 'b'))]\n"
    monkeypatch.delitem(sys.modules, "relu_once")
