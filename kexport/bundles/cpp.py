"""A CMake project in C++17: LiteRT through its C API, or ONNX Runtime through its own; no image library."""

from __future__ import annotations

import json
from math import prod

import numpy as np

from kexport.bundles import Bundle, Files, common
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import COUNT, Golden
from kexport.records import Signature

SOURCES = {"tflite": "litert.cpp", "onnx": "onnxruntime.cpp"}
_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t"}
_ONNX_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int16": 5}  # ONNXTensorElementDataType
_OUTPUTS = ("float32", "int8", "uint8", "int16", "int32", "int64")


def _files(deployment: Deployment, golden: Golden) -> Files:
    names = ("main.cpp", "preprocess.h", "runtime.h", SOURCES[deployment.format])
    return {
        **common.model(deployment),
        **{name: common.client(f"cpp/{name}") for name in names},
        "CMakeLists.txt": common.client(f"cpp/CMakeLists-{deployment.format}.txt"),
        "contract.h": _contract(deployment, golden).encode(),
    }


def _contract(deployment: Deployment, golden: Golden) -> str:
    contract, spec = deployment.contract, deployment.image
    height, width, channels = spec.shape[1:]
    scale, zero_point = deployment.steps[spec.name]
    outputs = "".join(f"    {_output(each, deployment)},\n" for each in deployment.outputs)
    return (
        "// What contract.json says, for the compiler.\n\n#pragma once\n\n#include <cstddef>\n#include <cstdint>\n\n"
        "namespace contract {\n\n"
        "struct Output {\n  const char* name;\n  const char* type;\n  size_t count, bytes;\n  double scale;\n"
        "  int zero_point;\n};\n\n"
        f'constexpr const char* model_file = "{deployment.model_file}";\n'
        f"using input_type = {_TYPES[spec.dtype]};\n"
        f"constexpr int input_onnx_type = {_ONNX_TYPES[spec.dtype]};\n"
        f"constexpr const char* input_name = {_quoted(spec.name)};\n"
        f"constexpr int64_t input_shape[] = {{1, {height}, {width}, {channels}}};\n"
        f"constexpr double input_scale = {scale!r};\n"
        f"constexpr int input_zero_point = {zero_point};\n"
        f"constexpr int height = {height}, width = {width}, channels = {channels};\n"
        f'constexpr const char* resize = "{contract.resize}";\n'
        f"constexpr int resize_shorter_side = {contract.resize_shorter_side};\n"
        f"constexpr bool bgr = {'true' if contract.channel_order == 'BGR' else 'false'};\n"
        f"constexpr double scale = {contract.scale!r};\n"
        f"constexpr double mean[] = {{{_numbers(contract.mean)}}};\n"
        f"constexpr double std_deviation[] = {{{_numbers(contract.std)}}};\n"
        f"constexpr size_t classes = {deployment.classes or 0};\n"
        f"constexpr size_t output_count = {len(deployment.outputs)};\n"
        f"constexpr Output outputs[] = {{\n{outputs}}};\n"
        f"constexpr size_t golden_count = {COUNT};\n"
        f"constexpr double tolerance = {golden.tolerance!r};  // {golden.why}\n\n"
        "}  // namespace contract\n"
    )


def _output(spec: Signature, deployment: Deployment) -> str:
    count = prod(size or 1 for size in spec.shape[1:])
    size = count * np.dtype(spec.dtype).itemsize
    scale, zero_point = deployment.steps[spec.name]
    return f'{{{_quoted(spec.name)}, "{spec.dtype}", {count}, {size}, {scale!r}, {zero_point}}}'


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(repr(float(value)) for value in values)


def _quoted(name: str) -> str:
    return json.dumps(name)  # a name from elsewhere stays inside its quotes


def _refusal(deployment: Deployment) -> str:
    batch = deployment.image.shape[0]
    if batch not in (None, 1):
        return f"it has a batch of {batch}, the client in C++ gives one image"
    strange = [f"{spec.name} {spec.dtype}" for spec in deployment.outputs if spec.dtype not in _OUTPUTS]
    strange += [f"{deployment.image.name} {deployment.image.dtype}"] * (deployment.image.dtype not in _TYPES)
    return f"the client in C++ has no type for {', '.join(strange)}" if strange else ""


def _readme(deployment: Deployment) -> str:
    root = {
        "tflite": (
            "pip install 'ai-edge-litert>=2.3'      # brings libLiteRt.so; headers are not needed\n"
            "cmake -B build -DLITERT_ROOT=$(python3 -c 'import ai_edge_litert; print(ai_edge_litert.__path__[0])')\n"
        ),
        "onnx": (
            "# unpack a release of https://github.com/microsoft/onnxruntime/releases: library and header\n"
            "cmake -B build -DORT_ROOT=onnxruntime-linux-x64-1.31.1\n"
        ),
    }[deployment.format]
    return (
        f"```\n{root}"
        "cmake --build build\n"
        "build/classify --self-test             # the golden inputs, through preprocessing and model\n"
        "convert photo.jpg -auto-orient photo.ppm && build/classify photo.ppm\n"
        "```\n\n"
        "`preprocess.h` resizes as Pillow does (bilinear with antialiasing), to the nearest step of a pixel."
    )


BUNDLE = Bundle(
    name="cpp", summary="a client in C++", formats=("onnx", "tflite"), files=_files, readme=_readme, refusal=_refusal
)
