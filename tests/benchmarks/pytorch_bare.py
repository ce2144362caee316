"""An application that computes what timm's network does: prepared images in, logits out. One ONNX file is written.

    PYTHONPATH=. python tests/benchmarks/pytorch_bare.py MobileNetV3Small FILE.onnx

Keras's own option leaves the preprocessing out (`include_preprocessing=False`) or, where there is none
(EfficientNetB0), the layers of it are passed by; weights are those of `--weights random:0`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import kexport
from kexport.sources import build, catalog
from kexport.specs import ModelSpec, WeightsSpec

PREPARING = ("Rescaling", "Normalization")
NAME = "bare"


def main(arguments: list[str]) -> int:
    """The command line."""
    name, path = arguments[0], Path(arguments[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        kexport.export(bare(name), name=NAME, formats="onnx", schemes="float32", output=place, jobs=1)
        shutil.move(Path(place) / NAME / f"{NAME}-float32.onnx", path)
    print("{}")
    return 0


def bare(name: str) -> Any:
    """The application without preprocessing and without softmax, with the weights of seed 0."""
    import keras

    whole = build.build(ModelSpec(application=name, weights=WeightsSpec(kind="random", seed=0)))
    application = catalog.application(name)
    made, side = getattr(keras.applications, application.name), application.default_size
    plain = {"weights": None, "classifier_activation": None, "input_shape": (side, side, 3)}
    if name.startswith("MobileNetV3"):
        model = made(**plain, include_preprocessing=False)
        model.set_weights(whole.get_weights())
        return model
    model = made(**plain)
    model.set_weights(whole.get_weights())
    first = next(each for each in model.layers[1:] if type(each).__name__ not in PREPARING)
    return keras.Model(first.input, model.output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
