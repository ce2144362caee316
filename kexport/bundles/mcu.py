"""C arrays for TFLite Micro: the model, golden inputs and outputs, the operators to register; and what measures memory.

The names of operators are those of ``MicroMutableOpResolver`` (tensorflow/lite/micro/micro_mutable_op_resolver.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.bundles import Bundle, Files, common, micro
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Golden

PER_LINE = 16
SCHEMES = ("float32", "int8")  # TFLite Micro has no hybrid and no float16 kernels
# every operator that TFLite Micro registers by a name which is not the plain one in capitals
_RESOLVER = {
    "AVERAGE_POOL_2D": "AveragePool2D", "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "L2_NORMALIZATION": "L2Normalization", "L2_POOL_2D": "L2Pool2D", "MAX_POOL_2D": "MaxPool2D",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM", "BATCH_MATMUL": "BatchMatMul",
}  # fmt: skip
_NAMES = """
ABS ADD ADD_N ARG_MAX ARG_MIN BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CAST CEIL CONCATENATION COS DEPTH_TO_SPACE
DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER
GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX
MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6
RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX
SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH
TRANSPOSE TRANSPOSE_CONV UNPACK ZEROS_LIKE
"""
_PLAIN = frozenset(_NAMES.split())
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "float32": "float"}


def resolver_name(operator: str) -> str | None:
    """``AddConv2D`` for ``CONV_2D``; None for an operator that TFLite Micro lacks."""
    if operator in _RESOLVER:
        return f"Add{_RESOLVER[operator]}"
    if operator not in _PLAIN:
        return None
    special = {"PADV2": "PadV2", "RELU6": "Relu6"}
    return "Add" + special.get(operator, "".join(part.capitalize() for part in operator.split("_")))


def array(name: str, values: npt.NDArray[Any]) -> str:
    """A definition in C: aligned to 16 bytes, exact."""
    kind = _TYPES[values.dtype.name]
    written = _literals(values.reshape(-1))
    lines = (", ".join(written[start : start + PER_LINE]) for start in range(0, len(written), PER_LINE))
    body = ",\n    ".join(lines)
    return f"_Alignas(16) const {kind} {name}[{values.size}] = {{\n    {body}}};\n"


def model_source(content: bytes) -> str:
    """``model_data.c`` of a file."""
    body = array("kexport_model", np.frombuffer(content, np.uint8))
    return f'#include "model_data.h"\n\n{body}const size_t kexport_model_bytes = {len(content)};\n'


def _literals(values: npt.NDArray[Any]) -> list[str]:
    if values.dtype.kind == "f":
        return [f"{value.hex()}f" for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _files(deployment: Deployment, made: Golden) -> Files:
    source = ['#include "golden_data.h"\n', array("kexport_golden_input", made.inputs[0])]
    header = [_declared("kexport_golden_input", made.inputs[0])]
    for place, values in enumerate(made.outputs.values()):
        source.append(array(f"kexport_golden_output_{place}", values[0]))
        header.append(_declared(f"kexport_golden_output_{place}", values[0]))
    return {
        **common.model(deployment),
        "model_data.h": _header([
            "extern const uint8_t kexport_model[];  // aligned to 16 bytes", "extern const size_t kexport_model_bytes;",
        ]),
        "model_data.c": model_source(deployment.path.read_bytes()).encode(),
        "golden_data.h": _header(header),
        "golden_data.c": "\n".join(source).encode(),
        "operators.h": _operators(deployment, made).encode(),
        "self_test.cc": common.client("self_test.cc"),
        "measure.py": common.client("measure.py"),
    }  # fmt: skip


def _declared(name: str, values: npt.NDArray[Any]) -> str:
    return f"extern const {_TYPES[values.dtype.name]} {name}[{values.size}];"


def _header(lines: list[str]) -> bytes:
    opened = '#ifdef __cplusplus\nextern "C" {\n#endif\n'
    closed = "#ifdef __cplusplus\n}\n#endif\n"
    body = "".join(f"{line}\n" for line in lines)
    return f"#pragma once\n\n#include <stddef.h>\n#include <stdint.h>\n\n{opened}{body}{closed}".encode()


def _names(deployment: Deployment) -> Iterator[tuple[str, str | None]]:
    for operator in sorted(deployment.file.contents.operations):
        yield operator, resolver_name(operator)


def _operators(deployment: Deployment, made: Golden) -> str:
    names = list(_names(deployment))
    spec, output = deployment.image, deployment.outputs[0]
    adds = "".join(f"  resolver.{method}();\n" for _, method in names)
    return (
        '#pragma once\n\n#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"\n\n'
        f"constexpr int kexport_operator_count = {len(names)};\n"
        f"using kexport_input_type = {_TYPES[spec.dtype]};\n"
        f"using kexport_output_type = {_TYPES[output.dtype]};\n"
        f"constexpr double kexport_tolerance = {made.tolerance};  // of the largest golden output\n\n"
        "inline void kexport_register(tflite::MicroMutableOpResolver<kexport_operator_count>& resolver) {\n"
        f"{adds}}}\n"
    )


def _refusal(deployment: Deployment) -> str:
    if deployment.scheme not in SCHEMES:
        return f"{deployment.scheme}: TFLite Micro has kernels for {' and '.join(SCHEMES)}"
    missing = [operator for operator, method in _names(deployment) if method is None]
    if missing:
        return f"TFLite Micro has no {', '.join(missing)}"
    scaled = micro.several_scales(deployment.path.read_bytes())
    why = "whose scale per channel TFLite Micro reads as one scale: its answers would be off without a word"
    return f"DEQUANTIZE of {', '.join(scaled)}, {why}" if scaled else ""


def _readme(deployment: Deployment) -> str:
    spec = deployment.image
    return (
        "Add `model_data.c` and `golden_data.c` to a firmware that has TFLite Micro, register the operators with "
        "`operators.h`, and run `self_test.cc` once: it compares the golden output and prints the arena in use.\n\n"
        "```\n"
        "gcc -std=c11 -c model_data.c golden_data.c     # on a host, or your target's compiler\n"
        "pip install tflite-micro                       # Linux, x86-64\n"
        "python measure.py                              # arena in bytes, and the golden inputs through TFLite Micro\n"
        "```\n\n"
        f"The input is {spec.dtype} {list(spec.shape)}; `contract.json` says what its numbers stand for. Memory that "
        "measure.py tells is that of a 64-bit host: pointers of a 32-bit controller are half as large.\n"
    )


BUNDLE = Bundle(
    name="mcu", summary="C arrays for TFLite Micro", formats=("tflite",), files=_files, readme=_readme, refusal=_refusal
)
