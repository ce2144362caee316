"""A package of one's own adds the lowering of its own layer: found through its entry point, in every process.

The package is a small installed distribution: a folder with a module and a ``.dist-info``, on the path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

LAYERS = '''
import keras

@keras.saving.register_keras_serializable(package="swirl")
class Swirl(keras.layers.Layer):
    """``x * factor + tanh(x)`` with one learned factor per channel."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="factor")

    def call(self, x):
        return x * self.factor + keras.ops.tanh(x)


def make():
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 3))
    y = Swirl(name="swirl")(keras.layers.Conv2D(4, 3)(x))
    return keras.Model(x, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(y)), name="swirling")
'''
LOWERINGS = """
import numpy as np

from kexport.lowerings import Builder, Value, lowers, weights
from kexport.operations import Activate, Activation, Add, ScaleShift


@lowers("layer", "swirl_layers.Swirl")
def swirl(build: Builder, layer, value: Value) -> Value:
    factor = weights(layer.factor)
    scaled = build.emit(ScaleShift(scale=factor, offset=np.zeros_like(factor)), value, part="scaled")
    return build.emit(Add(), scaled, build.emit(Activate(function=Activation.TANH), value, part="tanh"))
"""
METADATA = "Metadata-Version: 2.1\nName: swirl-export\nVersion: 1.0\n"
ENTRY_POINTS = "[kexport.lowerings]\nswirl = swirl_lowerings\n"

NOT_LOADED = """
import kexport.lowerings
from kexport.errors import KexportError
try:
    kexport.lowerings.registered(object())
except KexportError as error:
    print(type(error).__name__, error)
"""
"""As the first layer of any model meets it; Keras is not needed for that."""
REFUSED = """
import swirl_layers
from kexport.errors import KexportError
from kexport.lowerings.model import lower_model
try:
    lower_model(swirl_layers.make())
except KexportError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    information = folder / "swirl_export-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "swirl_layers.py").write_text(LAYERS)
    (folder / "swirl_lowerings.py").write_text(LOWERINGS)
    (information / "METADATA").write_text(METADATA)
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def run(package: Path, code: str, *arguments: str) -> list[str]:
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_command_exports_a_layer_of_ones_own_natively(package, tmp_path):
    """Through the real worker processes: each finds the entry point by itself."""
    words = ["export", "swirl_layers:make", "--formats", "onnx,tflite", "-o", str(tmp_path / "out")]
    run(package, "import sys; from kexport.cli import main; sys.exit(main(sys.argv[1:]))", *words)
    for name in ("onnx", "tflite"):
        record = json.loads((tmp_path / "out" / "make" / f"make-float32.{name}.json").read_text())
        assert record["status"] == "PASS"
        assert record["artifact"]["engine"] == "native"


def test_without_its_lowering_a_layer_of_keras_ops_is_traced(package):
    (package / "swirl_export-1.0.dist-info" / "entry_points.txt").write_text("")
    assert run(package, REFUSED) == []


def test_without_its_lowering_a_layer_of_tensorflows_is_refused_by_name(package):
    (package / "swirl_export-1.0.dist-info" / "entry_points.txt").write_text("")
    source = LAYERS.replace("import keras", "import keras, tensorflow as tf", 1)
    (package / "swirl_layers.py").write_text(source.replace("keras.ops.tanh", "tf.tanh"))
    line, *_ = run(package, REFUSED)
    assert line.startswith(
        "UnsupportedError layer 'swirl' is a swirl_layers.Swirl, which the native graph does not know,"
    )
    assert "whose call is not made of keras.ops alone" in line


def test_lowerings_that_do_not_load_are_told_with_their_package(package):
    (package / "swirl_lowerings.py").write_text("import swirl_nowhere\n")
    lines = run(package, NOT_LOADED)
    failure, hint = lines
    told, _, reason = failure.partition(" cannot be loaded: ")
    assert told == "EnvironmentFailure the lowerings of package 'swirl-export' (swirl_lowerings)"
    assert reason == "No module named 'swirl_nowhere'"
    assert hint == "hint: repair swirl-export, or pip uninstall swirl-export"


def test_the_readme_of_the_room_shows_this_very_package():
    readme = (ROOT / "kexport" / "lowerings" / "README.md").read_text(encoding="utf-8")
    assert LOWERINGS.strip() in readme
    assert '[project.entry-points."kexport.lowerings"]\nswirl = "swirl_lowerings"\n' in readme


def test_two_lowerings_of_one_class_are_told(package):
    (package / "swirl_lowerings.py").write_text(LOWERINGS + LOWERINGS)
    lines = run(package, NOT_LOADED)
    assert "cannot be loaded: two lowerings for layer swirl_layers.Swirl" in lines[0]
