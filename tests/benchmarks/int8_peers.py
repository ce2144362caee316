"""The int8 quantizers of others: one of them, on one network, in a process of its own.

    PYTHON tests/benchmarks/int8_peers.py METHOD SOURCE CALIBRATION.npy RESULT

Nothing of kexport is imported here, so that PYTHON may be that of another environment. SOURCE is what `Method.source`
says: a SavedModel, a float TFLite or ONNX file. CALIBRATION holds (images, height, width, 3) float32 as the network
takes them. The last line on stdout is JSON: seconds of calibrating, quantizing and writing (imports and reading the
arrays do not count), the process's peak memory, versions; or ``missing``, the package that is not installed.
Every method is called as its own documentation shows it, with its defaults unless the title says otherwise.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SAVED_MODEL, CONVERTER_TFLITE, KERAS_ONNX, KEXPORT_ONNX = "savedmodel", "converter.tflite", "keras.onnx", "kexport.onnx"
Quantize = Callable[[Path, Any, Path], None]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to quantize. ``packages`` are imported before the clock starts; ``source`` is what it reads."""

    title: str
    quantize: Quantize
    packages: tuple[str, ...]
    source: str
    suffix: str


def converter(source: Path, images: Any, result: Path) -> None:
    """Post-training integer quantization of the TensorFlow documentation; float inputs and outputs."""
    import tensorflow as tf

    maker = tf.lite.TFLiteConverter.from_saved_model(str(source))
    maker.optimizations = [tf.lite.Optimize.DEFAULT]
    maker.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
    maker.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    result.write_bytes(maker.convert())


def ai_edge(source: Path, images: Any, result: Path) -> None:
    """The recipe static_wi8_ai8 on the converter's float file."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    signature, details = next(iter(Interpreter(str(source)).get_signature_list().items()))
    name = details["inputs"][0]
    maker = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    seen = maker.calibrate({signature: [{name: image[np.newaxis]} for image in images]})
    maker.quantize(seen).export_model(str(result), overwrite=True)


def static(source: Path, images: Any, result: Path, *, per_channel: bool) -> None:
    """`quantize_static` after `quant_pre_process`, which its documentation asks for."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.feeds: Iterator[dict[str, Any]] = ({name: image[np.newaxis]} for image in images)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(source, prepared)
        quantize_static(prepared, result, Reader(input_name(prepared)), per_channel=per_channel)


def nncf_quantize(source: Path, images: Any, result: Path, *, fast: bool) -> None:
    """`nncf.quantize` with asymmetric activations (preset MIXED) on kexport's float file."""
    import nncf
    import onnx

    name = input_name(source)
    made = nncf.quantize(
        onnx.load(source),
        nncf.Dataset(images, lambda image: {name: image[np.newaxis]}),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        fast_bias_correction=fast,
    )
    onnx.save(made, result)


def input_name(path: Path) -> str:
    """The first input of an ONNX file."""
    import onnx

    name: str = onnx.load(path, load_external_data=False).graph.input[0].name
    return name


METHODS = {
    "tflite-converter": Method(
        title="TFLiteConverter, full int8",
        quantize=converter,
        packages=("tensorflow",),
        source=SAVED_MODEL,
        suffix=".tflite",
    ),
    "ai-edge-quantizer": Method(
        title="ai-edge-quantizer, static w8a8",
        quantize=ai_edge,
        packages=("ai_edge_quantizer", "ai_edge_litert"),
        source=CONVERTER_TFLITE,
        suffix=".tflite",
    ),
    "ort-per-tensor": Method(
        title="ORT quantize_static, default (per tensor)",
        quantize=partial(static, per_channel=False),
        packages=("onnx", "onnxruntime"),
        source=KERAS_ONNX,
        suffix=".onnx",
    ),
    "ort-per-channel": Method(
        title="ORT quantize_static, per channel",
        quantize=partial(static, per_channel=True),
        packages=("onnx", "onnxruntime"),
        source=KERAS_ONNX,
        suffix=".onnx",
    ),
    "nncf-fast": Method(
        title="NNCF, MIXED, fast bias correction",
        quantize=partial(nncf_quantize, fast=True),
        packages=("onnx", "onnxruntime", "nncf"),
        source=KEXPORT_ONNX,
        suffix=".onnx",
    ),
    "nncf-full": Method(
        title="NNCF, MIXED, full bias correction",
        quantize=partial(nncf_quantize, fast=False),
        packages=("onnx", "onnxruntime", "nncf"),
        source=KEXPORT_ONNX,
        suffix=".onnx",
    ),
}
"""Short name -> method. The words after the tool's name are all that is not its default."""


def main(arguments: list[str]) -> int:
    """Quantize once; the last line says what it took."""
    method, source, calibration, result = METHODS[arguments[0]], *map(Path, arguments[1:])
    for name in method.packages:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name or name}))
            return 0
    images = np.load(calibration)
    start = time.perf_counter()
    method.quantize(source, images, result)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), "versions": versions(method)}))
    return 0


def versions(method: Method) -> dict[str, str]:
    """Of the packages that did it."""
    return {name: metadata.version(name.replace("_", "-")) for name in method.packages}


def peak_bytes() -> int:
    """The largest resident size of this process (VmHWM: the parent's peak is not in it)."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
