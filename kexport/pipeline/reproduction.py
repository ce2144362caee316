"""What shows a difference by layer again: inputs, what Keras's layer gave, and a script that needs no kexport."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import files
from kexport.evidence.by_layer import ByLayer, LayerError
from kexport.pipeline.ask import ask
from kexport.pipeline.tasks.by_layer import ByLayerRequest
from kexport.pipeline.tasks.one_layer import OneLayer, OneLayerRequest
from kexport.sources import embedding, stored
from kexport.sources.layer_samples import places
from kexport.sources.prepared import Reference

INPUTS, EXPECTED, SCRIPT = "inputs.npz", "expected.npz", "reproduce.py"
_TEMPLATE = Path(__file__).parents[1] / "reports" / "templates" / "reproduce_layer.py.txt"
_ONNX = """def whole(path, inputs):
    with open(path, "rb") as file:  # the tensor as one more output: a message that is appended is merged
        return run(file.read() + bytes.fromhex({extra!r}), inputs)


def alone(path, inputs):
    with open(path, "rb") as file:
        return run(file.read(), inputs)


def run(content, inputs):
    import onnxruntime as ort

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([TENSOR], inputs)[0]
"""
_TFLITE = """def opened(path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(path, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True)


def whole(path, inputs):
    interpreter = opened(path)
    runner = interpreter.get_signature_runner()
    for name, each in runner.get_input_details().items():
        scale, zero = each["quantization"]
        if scale:
            ends = np.iinfo(each["dtype"])
            inputs[name] = np.clip(np.rint(inputs[name] / scale) + zero, ends.min, ends.max).astype(each["dtype"])
    runner(**inputs)
    index = next(each["index"] for each in interpreter.get_tensor_details() if each["name"] == TENSOR)
    return interpreter.get_tensor(index)


def alone(path, inputs):
    interpreter = opened(path)
    interpreter.allocate_tensors()
    for each in interpreter.get_input_details():
        interpreter.set_tensor(each["index"], inputs[each["name"]])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
"""


def write(request: ByLayerRequest, found: ByLayer, folder: Path) -> Path | None:
    """Write all into ``folder``; the script's path, or None where nothing differs.

    Raises StoreError where it cannot be written.
    """
    worst = next(iter(found.roots), None)
    if worst is None:
        return None
    files.prepare(folder)
    reference = stored.load(Path(request.reference))
    np.savez(folder / INPUTS, **_inputs(request, reference))  # type: ignore[arg-type]  # no input is allow_pickle
    np.savez(folder / EXPECTED, expected=reference.layers[worst.layer], places=places(worst.shape))
    part = _layer(request, found, worst, folder)
    onnx = request.format == "onnx"
    scale, zero = worst.affine or (0.0, 0)
    text = _TEMPLATE.read_text(encoding="utf-8").format(
        artifact=found.artifact, script=SCRIPT, file=part.file, package="onnxruntime" if onnx else "ai-edge-litert",
        tensor=worst.tensor, layer=worst.layer, order="NHWC" if worst.axes == worst.shape else "NCHW",
        scale=scale, zero=zero, run=(_ONNX.format(extra=_extra(worst.tensor)) if onnx else _TFLITE).rstrip(),
    )  # fmt: skip
    files.write(folder / SCRIPT, text)
    return folder / SCRIPT


def _layer(request: ByLayerRequest, found: ByLayer, worst: LayerError, folder: Path) -> OneLayer:
    """The layer as a file of its own: from the tensors of the layers before it."""
    border = tuple(each.tensor for each in found.layers if each.tensor != worst.tensor)
    asked = OneLayerRequest(compared=request, tensor=worst.tensor, border=border, folder=str(folder))
    answer: OneLayer = ask("one_layer", asked, what=f"the layer {worst.layer} of {request.artifact}")
    return answer


def _inputs(request: ByLayerRequest, reference: Reference) -> dict[str, npt.NDArray[Any]]:
    given = reference.inputs if request.facts is None else embedding.fed(request.facts, reference.inputs)
    return {name: array[:1] for name, array in given.items()}


def _extra(tensor: str) -> str:
    """A model that has nothing but this output, in hex (`kexport.runtimes.ort_inner`)."""
    from kexport.runtimes.ort_inner import outputs

    return outputs([tensor]).hex()
