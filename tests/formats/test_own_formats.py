"""A package of one's own adds a format: its folder and its bounds, and the runtime that reads its files.

The package is a small installed distribution: a folder with a module and a ``.dist-info``, on the path, so that every
process finds it by its entry points.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FORMAT = '''
"""npz: the layers of a classifier, by number."""

from pathlib import Path

import numpy as np

from kexport.errors import UnsupportedError
from kexport.formats import WrittenFile
from kexport.operations import Activate, Dense, GlobalPool
from kexport.records import Signature
from kexport.registry import Engine, Format, Scheme


def write(graph, cell, path, metadata):
    arrays = {}
    for number, node in enumerate(graph):
        operation = node.operation
        if not isinstance(operation, (Activate, Dense, GlobalPool)):
            raise UnsupportedError(f"npz has no {type(operation).__name__}: {node.name}")
        function = getattr(operation, "activation", None) or getattr(operation, "function", None) or ""
        arrays[f"{number}:{type(operation).__name__}:{function}"] = getattr(operation, "kernel", np.zeros(0))
        arrays[f"{number}:bias"] = getattr(operation, "bias", np.zeros(0))
    inputs = tuple(Signature(name=each.name, shape=each.shape, dtype=each.dtype) for each in graph.inputs)
    outputs = tuple(Signature(name=each.name, shape=each.shape, dtype=each.dtype) for each in graph.output_specs)
    for side, specs in (("in", inputs), ("out", outputs)):
        arrays[side] = np.array([specs[0].name, *map(str, specs[0].shape[1:])])
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return WrittenFile(operations={"layer": len(graph.nodes)}, inputs=inputs, outputs=outputs)


FORMAT = Format.register(
    "npz",
    suffix=".npz",
    engines=(Engine(name="native", schemes=(Scheme.FLOAT32,), write=write),),
    bounds=Path(__file__).with_name("bounds.toml"),
)
'''
RUNTIME = '''
"""Reads npz: numpy itself."""

import numpy as np

from kexport.records import Signature
from kexport.runtimes import Session


class NpzSession(Session):
    name = "npz"
    formats = ("npz",)

    def __init__(self, arrays):
        self.arrays = arrays

    @classmethod
    def open(cls, source, *, options):
        with np.load(source) as arrays:
            return cls(dict(arrays))

    @property
    def signature(self):
        return tuple(
            (Signature(name=str(name), shape=(None, *map(int, sizes)), dtype="float32"),)
            for name, *sizes in (self.arrays["in"], self.arrays["out"])
        )

    @property
    def effective(self):
        return f"npz numpy {np.__version__}"

    def execute(self, inputs):
        value = inputs[str(self.arrays["in"][0])]
        for key in sorted((key for key in self.arrays if key.count(":") == 2), key=lambda key: int(key.split(":")[0])):
            number, kind, function = key.split(":")
            if kind == "GlobalPool":
                value = value.mean(axis=(1, 2))
            if kind == "Dense":
                value = value @ self.arrays[key] + self.arrays[f"{number}:bias"]
            if function == "relu":
                value = np.maximum(value, 0)
            if function == "softmax":
                powers = np.exp(value - value.max(axis=-1, keepdims=True))
                value = powers / powers.sum(axis=-1, keepdims=True)
        return {str(self.arrays["out"][0]): value.astype(np.float32)}
'''
BOUNDS = """
[npz.float32]
logits_error_to_signal = { at_most = 1e-3, why = "the same arithmetic in another order" }
top1_agreement = { at_least = 1.0, why = "float32 has no reason to change a decision" }
"""
MODEL = """
import keras


def make():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential([
        keras.Input((6, 6, 3)),
        layers.GlobalAveragePooling2D(),
        layers.Dense(8, activation="relu", bias_initializer="random_normal"),
        layers.Dense(5, activation="softmax"),
    ])
"""
METADATA = "Metadata-Version: 2.1\nName: npz-export\nVersion: 1.0\n"
ENTRY_POINTS = "[kexport.formats]\nnpz = npz_export\n\n[kexport.runtimes]\nnpz = npz_export.runtime:NpzSession\n"
COMMAND = "import sys; from kexport.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    contents = {
        "npz_export/__init__.py": FORMAT,
        "npz_export/runtime.py": RUNTIME,
        "npz_export/bounds.toml": BOUNDS,
        "npz_models.py": MODEL,
        "npz_export-1.0.dist-info/METADATA": METADATA,
        "npz_export-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }
    for name, content in contents.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return site


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_the_command_exports_proves_and_measures_a_format_of_ones_own(package: Path, tmp_path: Path) -> None:
    """Through the real processes: the one with Keras, the cell's, the benchmark's."""
    out = tmp_path / "out"
    done = run(package, "export", "npz_models:make", "--formats", "npz,onnx", "--bench", "-o", str(out))
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "make" / "make-float32.npz.json").read_text())
    assert (record["status"], record["format"], record["artifact"]["engine"]) == ("PASS", "npz", "native")
    assert record["parity"]["runtime"] == "npz"
    assert {check["name"] for check in record["parity"]["checks"]} == {"logits_error_to_signal", "top1_agreement"}
    assert [each["runtime"] for each in record["benchmarks"]] == ["npz"]
    manifest = (out / "manifest.json").read_text()
    assert '"make/make-float32.npz"' in manifest
    assert '"make/make-float32.npz.json"' in manifest


def test_it_is_listed_behind_kexports_own(package: Path) -> None:
    rows = json.loads(run(package, "list", "formats", "--json").stdout)
    assert [row["format"] for row in rows] == ["onnx", "tflite", "savedmodel", "npz"]
    assert rows[-1] == {"format": "npz", "schemes": ["float32"], "engines": ["native"]}


def test_what_it_cannot_be_is_told_before_any_work(package: Path, tmp_path: Path) -> None:
    words = ["export", "npz_models:make", "--formats", "npz", "--schemes", "float16", "-o", str(tmp_path / "out")]
    done = run(package, *words)
    assert done.returncode == 2
    assert "schemes: npz cannot be float16, expected one of float32" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_format_that_does_not_load_is_told_with_its_package(package: Path) -> None:
    (package / "npz_export" / "__init__.py").write_text(FORMAT.replace('".npz"', '".onnx"'))
    done = run(package, "list", "formats")
    assert done.returncode == 3
    failure, hint = done.stderr.splitlines()[-2:]
    told, _, reason = failure.partition(" cannot be loaded: ")
    assert told == "error: the formats of package 'npz-export' (npz_export)"
    assert reason == "format npz: suffix '.onnx' is that of another format"
    assert hint == "hint: repair npz-export, or pip uninstall npz-export"
