"""Kernels of four bits on LiteRT: the time of FULLY_CONNECTED with int4 beside int8, for MobileNetV2: parity/int4.md.

    PYTHONPATH=. python tests/benchmarks/int4.py

XNNPACK takes no CONV_2D with int4 kernels, and takes FULLY_CONNECTED. Every 1x1 convolution and the dense layer of
MobileNetV2 (224 pixels, one image) is one file of one operator: as CONV_2D with int8, as kexport writes it, and as
FULLY_CONNECTED over its rows with int8 and int4 kernels, of int8 and of float values. One thread; the kinds take turns
round by round, so that what disturbs one disturbs all. About two minutes.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import litert_times
import numpy as np
from md_text import table

from kexport import machine
from kexport.formats.tflite import parts as tflite_parts

PLACE = Path(__file__).resolve().parents[2] / "parity"
ROUNDS, THREADS = 15, 1
SCALE = 0.05
INT4_VERSION = 12  # of FULLY_CONNECTED, with a scale per channel


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A 1x1 convolution over ``side`` x ``side`` places, and how often MobileNetV2 has it."""

    side: int
    inputs: int
    outputs: int
    count: int = 1

    @property
    def text(self) -> str:
        """Rows, then channels."""
        return f"{self.side}x{self.side}, {self.inputs} to {self.outputs}"


SHAPES = tuple(
    Shape(side=side, inputs=inputs, outputs=outputs, count=count)
    for side, inputs, outputs, count in (
        (112, 32, 16, 1), (112, 16, 96, 1), (56, 96, 24, 1), (56, 24, 144, 2), (56, 144, 24, 1), (28, 144, 32, 1),
        (28, 32, 192, 3), (28, 192, 32, 2), (14, 192, 64, 1), (14, 64, 384, 4), (14, 384, 64, 3), (14, 384, 96, 1),
        (14, 96, 576, 3), (14, 576, 96, 2), (7, 576, 160, 1), (7, 160, 960, 3), (7, 960, 160, 2), (7, 960, 320, 1),
        (7, 320, 1280, 1), (1, 1280, 1000, 1),
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An operator, the bits of its kernel, and whether its values are int8."""

    name: str
    bits: int
    integers: bool
    convolution: bool = False


CONV = Kind(name="CONV_2D int8", bits=8, integers=True, convolution=True)
W8A8 = Kind(name="FC int8", bits=8, integers=True)
W4A8 = Kind(name="FC int4", bits=4, integers=True)
W8 = Kind(name="FC int8, float values", bits=8, integers=False)
W4 = Kind(name="FC int4, float values", bits=4, integers=False)
KINDS = (CONV, W8A8, W4A8, W8, W4)


def part(shape: Shape, kind: Kind) -> bytes:
    """The file of one operator."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    builtin = schema.BuiltinOperator.CONV_2D if kind.convolution else schema.BuiltinOperator.FULLY_CONNECTED
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 3 if kind.convolution else INT4_VERSION
    graph.tensors = list(tensors(schema, shape, kind))
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator(schema, kind)]
    bias = np.zeros(shape.outputs, np.int32 if kind.integers else np.float32)
    model.buffers = [
        schema.BufferT(),
        buffer(schema, stored(numbers(shape, kind), kind.bits)),
        buffer(schema, bias.view(np.uint8)),
    ]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    return tflite_parts.packed(model)


def numbers(shape: Shape, kind: Kind) -> np.ndarray:
    """The kernel: of the whole range, seeded."""
    most = 2 ** (kind.bits - 1) - 1
    random = np.random.default_rng([shape.side, shape.inputs, shape.outputs])
    return random.integers(-most, most, size=(shape.outputs, shape.inputs), endpoint=True).astype(np.int8)


def scales(shape: Shape, kind: Kind) -> np.ndarray:
    """One for each channel."""
    return (np.linspace(0.5, 1.5, shape.outputs) * 2.0**-kind.bits).astype(np.float32)


def stored(kernel: np.ndarray, bits: int) -> np.ndarray:
    """Bytes; two numbers of four bits in one, the first below."""
    if bits == 8:
        return kernel.reshape(-1).view(np.uint8)
    pairs = kernel.reshape(-1, 2).astype(np.uint8) & 0xF
    packed: np.ndarray = pairs[:, 0] | (pairs[:, 1] << 4)
    return packed


def buffer(schema: Any, data: np.ndarray) -> Any:
    """Aligned, as a file has it."""
    return tflite_parts._Buffer(schema=schema, data=np.ascontiguousarray(data))


def tensors(schema: Any, shape: Shape, kind: Kind) -> Iterator[Any]:
    """Values, kernel, bias, results."""
    kernel = [shape.outputs, 1, 1, shape.inputs] if kind.convolution else [shape.outputs, shape.inputs]
    value = schema.TensorType.INT8 if kind.integers else schema.TensorType.FLOAT32
    weight = schema.TensorType.INT4 if kind.bits == 4 else schema.TensorType.INT8
    places = [1, shape.side, shape.side]
    yield tensor(schema, "values", [*places, shape.inputs], value, steps=[SCALE] if kind.integers else None)
    yield tensor(schema, "kernel", kernel, weight, steps=scales(shape, kind), buffer=1)
    bias = schema.TensorType.INT32 if kind.integers else schema.TensorType.FLOAT32
    yield tensor(
        schema, "bias", [shape.outputs], bias, steps=SCALE * scales(shape, kind) if kind.integers else None, buffer=2
    )
    result = [SCALE * shape.inputs**0.5] if kind.integers else None
    yield tensor(schema, "results", [*places, shape.outputs], value, steps=result)


def tensor(schema: Any, name: str, shape: list[int], kind: int, *, steps: Any, buffer: int = 0) -> Any:
    """One table, with its scales and zero points of zero."""
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
    if steps is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.asarray(steps, np.float32)
        made.quantization.zeroPoint = np.zeros(len(steps), np.int64)
    return made


def operator(schema: Any, kind: Kind) -> Any:
    """With its options."""
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = 0, [0, 1, 2], [3]
    if kind.convolution:
        made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.Conv2DOptions, schema.Conv2DOptionsT()
        made.builtinOptions.strideH = made.builtinOptions.strideW = 1
        made.builtinOptions.dilationHFactor = made.builtinOptions.dilationWFactor = 1
    else:
        made.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        made.builtinOptions = schema.FullyConnectedOptionsT()
        made.builtinOptions.keepNumDims = True
    return made


def off_by(shape: Shape, kind: Kind) -> float:
    """The largest difference to numpy: steps of integers, and of floats the part of the largest number."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=part(shape, kind), num_threads=THREADS)
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = litert_times.random_input(tuple(given["shape"]), np.dtype(given["dtype"]))
    interpreter.set_tensor(given["index"], values)
    interpreter.invoke()
    answers = interpreter.get_tensor(found["index"]).astype(np.float64)
    sums = values.astype(np.float64) @ numbers(shape, kind).T * scales(shape, kind)
    if kind.integers:
        expected = np.clip(np.rint(sums * SCALE / (SCALE * shape.inputs**0.5)), -128, 127)
        return float(np.abs(answers - expected).max())
    return float(np.abs(answers - sums).max() / np.abs(sums).max())


def measured(shape: Shape) -> dict[str, Any]:
    """The samples of every kind, and whether XNNPACK takes it."""
    wrong = {kind.name: apart for kind in KINDS if (apart := off_by(shape, kind)) > (1 if kind.integers else 0.02)}
    assert not wrong, f"{shape.text}: not what numpy says: {wrong}"
    samples: dict[str, list[float]] = defaultdict(list)
    delegated = {}
    files = {kind.name: part(shape, kind) for kind in KINDS}
    for turn in range(ROUNDS):
        for kind in (*KINDS[turn % len(KINDS) :], *KINDS[: turn % len(KINDS)]):
            found, delegated[kind.name] = litert_times.timed(files[kind.name], threads=THREADS)
            samples[kind.name].append(median(found))
    return {
        "shape": shape.text,
        "count": shape.count,
        "delegated": delegated,
        "rounds": ROUNDS,
        "median_us": {name: round(1e6 * median(each), 2) for name, each in samples.items()},
        "fastest_us": {name: round(1e6 * min(each), 2) for name, each in samples.items()},
        "slowest_us": {name: round(1e6 * max(each), 2) for name, each in samples.items()},
    }


def main() -> int:
    """Measure, write the page."""
    rows = []
    for shape in SHAPES:
        rows.append(measured(shape))
        print(json.dumps(rows[-1]), flush=True)
    from importlib.metadata import version

    facts = machine.describe()
    found = {"machine": facts["processor"], "litert": version("ai-edge-litert"), "threads": THREADS, "rows": rows}
    (PLACE / "int4.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (PLACE / "int4.md").write_text("\n".join(lines(found)) + "\n", encoding="utf-8")
    return 0


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page."""
    rows = found["rows"]
    whole = {kind: sum(row["count"] * row["median_us"][kind.name] for row in rows) for kind in KINDS}
    outside = sorted({kind for row in rows for kind, taken in row["delegated"].items() if not taken})
    yield from (
        "# Kernels of four bits on LiteRT",
        "",
        f"`tests/benchmarks/int4.py`, LiteRT {found['litert']} with XNNPACK on {found['machine']}, {found['threads']}",
        f"thread: microseconds of one operator, median of {rows[0]['rounds']} rounds in turns. FC is FULLY_CONNECTED",
        "over the rows of a 1x1 convolution. " + _told(outside),
        "",
    )
    header = ("shape", "count", *(kind.name for kind in KINDS), "FC int4 / CONV_2D int8", "FC int4 / FC int8")
    body = [_row(row["shape"], row["count"], {kind: row["median_us"][kind.name] for kind in KINDS}) for row in rows]
    yield table(
        header, [*body, _row("all, as often as they are", sum(row["count"] for row in rows), whole)], text_columns=1
    )
    yield from ("", *_verdict(rows, whole))


def _told(outside: list[str]) -> str:
    return f"XNNPACK does not take: {', '.join(outside)}." if outside else "XNNPACK takes all of them."


def _row(text: str, count: int, times: dict[Kind, float]) -> tuple[str, ...]:
    ratios = times[W4A8] / times[CONV], times[W4A8] / times[W8A8]
    return (text, str(count), *(f"{times[kind]:.1f}" for kind in KINDS), *(f"{ratio:.2f}" for ratio in ratios))


def _verdict(rows: list[dict[str, Any]], whole: dict[Kind, float]) -> Iterator[str]:
    integers, floats = whole[W4A8] / whole[CONV], whole[W4] / whole[CONV]
    best = {kind: sum(row["count"] * row["fastest_us"][kind.name] for row in rows) for kind in (CONV, W4A8)}
    slower = min(integers, floats) > 1
    yield "## Verdict"
    yield ""
    yield (
        f"Of all these layers together, int4 kernels take {integers:.2f} times as long as the int8 convolutions that "
        f"kexport writes with int8 values ({best[W4A8] / best[CONV]:.2f} by the fastest round of each), and "
        f"{floats:.2f} times with float values. "
        + ("They are slower, so kexport does not write them: a file of half the size would be paid with time."
           if slower else "They are not slower.")
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
