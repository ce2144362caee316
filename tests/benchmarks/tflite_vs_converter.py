"""kexport's TFLite writer against ``tf.lite.TFLiteConverter``: time, memory, file size, latency on LiteRT.

    python tests/benchmarks/tflite_vs_converter.py [--models ResNet50,DenseNet121] [--json FILE]

The converter reads a SavedModel (its only right way for a Keras 3 model) with a static batch of 1, as kexport writes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from harness import Comparison, guard


def export_native(model: Any, path: Path) -> None:
    """The whole of kexport's way from a built Keras model to a file."""
    from kexport.formats.tflite.writer import write
    from kexport.lowerings.model import lower_model
    from kexport.passes import optimize

    write(optimize(lower_model(model)), path)


def export_converter(model: Any, path: Path) -> None:
    """SavedModel, then converter."""
    import keras
    import tensorflow as tf

    spec = model.inputs[0]
    shape = (1, *(size or 224 for size in spec.shape[1:]))
    signature = [keras.InputSpec(shape=shape, dtype=spec.dtype, name="image")]
    with tempfile.TemporaryDirectory(prefix="kexport-converter-") as folder:
        model.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


if __name__ == "__main__":
    guard(
        Comparison(
            title="TFLite: export of a built model, then float latency on LiteRT (2 threads, batch 1)",
            script=Path(__file__).resolve(),
            native=export_native,
            peer=export_converter,
            peer_name="SavedModel and TFLiteConverter",
            suffix=".tflite",
            runtime="litert",
            models=(
                "ResNet50",
                "EfficientNetB0",
                "MobileNetV3Small",
                "NASNetMobile",
                "ConvNeXtTiny",
                "DenseNet121",
            ),
            size_counts=True,
        )
    )
