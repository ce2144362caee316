"""What shows a difference by layer again: inputs, what Keras's layer gave, and a script that needs no kexport."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.evidence.by_layer import ByLayer
from kexport.pipeline.tasks.by_layer import ByLayerRequest
from kexport.sources import embedding, stored
from kexport.sources.layer_samples import places
from kexport.sources.prepared import Reference

INPUTS, EXPECTED, SCRIPT = "inputs.npz", "expected.npz", "reproduce.py"
_TEMPLATE = Path(__file__).parents[1] / "reports" / "templates" / "reproduce_layer.py.txt"
_ONNX = """    import onnxruntime as ort

    with open(path, "rb") as file:  # the tensor as one more output: a message that is appended is merged
        content = file.read() + bytes.fromhex({extra!r})
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([TENSOR], inputs)[0]
"""
_TFLITE = """    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(path, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True)
    runner = interpreter.get_signature_runner()
    for name, each in runner.get_input_details().items():
        scale, zero = each["quantization"]
        if scale:
            ends = np.iinfo(each["dtype"])
            inputs[name] = np.clip(np.rint(inputs[name] / scale) + zero, ends.min, ends.max).astype(each["dtype"])
    runner(**inputs)
    index = next(each["index"] for each in interpreter.get_tensor_details() if each["name"] == TENSOR)
    return interpreter.get_tensor(index)
"""


def write(request: ByLayerRequest, found: ByLayer, folder: Path) -> Path | None:
    """Write all into ``folder``; the script's path, or None where nothing differs.

    Raises StoreError where it cannot be written.
    """
    worst = next((each for each in found.layers if each.leaves and each.given_db >= found.tolerance_db), None)
    if worst is None:
        return None
    files.prepare(folder)
    reference = stored.load(Path(request.reference))
    np.savez(folder / INPUTS, **_inputs(request, reference))  # type: ignore[arg-type]  # no input is allow_pickle
    np.savez(folder / EXPECTED, expected=reference.layers[worst.layer], places=places(worst.shape))
    onnx = request.format == "onnx"
    scale, zero = worst.affine or (0.0, 0)
    text = _TEMPLATE.read_text(encoding="utf-8").format(
        artifact=found.artifact, script=SCRIPT, package="onnxruntime" if onnx else "ai-edge-litert",
        tensor=worst.tensor, layer=worst.layer, order="NHWC" if worst.axes == worst.shape else "NCHW",
        scale=scale, zero=zero, run=_ONNX.format(extra=_extra(worst.tensor)) if onnx else _TFLITE,
    )  # fmt: skip
    files.write(folder / SCRIPT, text)
    return folder / SCRIPT


def _inputs(request: ByLayerRequest, reference: Reference) -> dict[str, npt.NDArray[Any]]:
    given = reference.inputs if request.facts is None else embedding.fed(request.facts, reference.inputs)
    return {name: array[:1] for name, array in given.items()}


def _extra(tensor: str) -> str:
    """A model that has nothing but this output, in hex (`kexport.runtimes.ort_inner`)."""
    from kexport.runtimes.ort_inner import outputs

    return outputs([tensor]).hex()
