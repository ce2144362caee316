"""What is known of the cells that are not right: the consumer's own fault, and the smallest graph that shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.consumers.cells import Cell


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``why`` holds for the cells of a consumer whose words ``told`` finds, of these formats and schemes."""

    consumer: str
    told: str
    why: str
    formats: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def explains(self, cell: Cell) -> bool:
        """Whether the cell is one of its."""
        chosen = ((self.formats, cell.format), (self.schemes, cell.scheme), (self.networks, cell.network))
        return (
            cell.consumer.startswith(self.consumer)
            and all(not wanted or found in wanted for wanted, found in chosen)
            and re.search(self.told, f"{cell.state}: {cell.told}") is not None
        )


COUNTED_PADDING = (
    "AVERAGE_POOL_2D with padding counts the padding: 3 x 3 of ones gives 4/9 in a corner where 1 is right"
)

FAULTS: tuple[Fault, ...] = (
    Fault(
        consumer="onnx.reference", told="DequantizeLinear.* version 18", schemes=("int8",),
        why="it has DequantizeLinear from opset 19 on alone, the files say 18",
    ),
    Fault(
        consumer="OpenCV", told=r"convolution_layer\.cpp.*blobs\.empty", formats=("tflite",), schemes=("dynamic",),
        why="its TFLite reader knows no CONV_2D of float values with int8 kernels: one of them alone is refused",
    ),
    Fault(
        consumer="OpenCV", told="ReduceInt8", formats=("tflite",),
        why="it has no MEAN of int8 values: layer of type ReduceInt8",
    ),
    Fault(
        consumer="OpenCV",
        told="Unsupported operator type SLICE",
        formats=("tflite",),
        why="it has no operator SLICE",
    ),
    Fault(
        consumer="MediaPipe",
        told="requires specifying NormalizationOptions",
        why="its classifier takes one mean and deviation for RGB: other preprocessing only with "
        "`--embed-preprocessing`",
    ),
    Fault(
        consumer="OpenCV", told="Unsupported operator type FLOOR", formats=("tflite",),
        why="it has no operator FLOOR",
    ),
    Fault(
        consumer="OpenCV", told='Unknown operation type "mul"', formats=("tflite",),
        why="it has no MUL of int8 values: squeeze-and-excite",
    ),
    Fault(
        consumer="OpenCV", told="Parse tensor with type INT64", formats=("tflite",), schemes=("int16x8",),
        why="it reads no INT64 constants, which the biases of int16 values are",
    ),
    Fault(
        consumer="OpenCV 4", told="Unsupported data type: INT16", formats=("onnx",),
        why="it reads no INT16 constants: biases that fit are stored so, behind a Cast",
    ),
    Fault(
        consumer="OpenCV", told="Lookup table for RELU", formats=("tflite",),
        why="its int8 convolutions take no fused RELU",
    ),
    Fault(
        consumer="OpenCV 4", told="findCommonShape", formats=("tflite",),
        why="ADD of an image and a constant of shape 224x3: it turns the image to channels first, the constant not",
    ),
    Fault(
        consumer="OpenCV 4", told=r"Node \[Mul@ai", formats=("onnx",), schemes=("dynamic",),
        why="Mul of two constants behind Casts, the kernel of a Gemm: that one node is refused",
    ),
    Fault(
        consumer="OpenCV", told="PLACEHOLDER_FOR_GREATER_OP_CODES", formats=("tflite",),
        why="its TFLite reader knows operators by their old code of one byte, which ends at 127: GELU is 150",
    ),
    Fault(
        consumer="OpenCV", told="GemmInt8", formats=("tflite",),
        why="it has no FULLY_CONNECTED of int8 values: layer of type GemmInt8",
    ),
    Fault(
        consumer="OpenCV 5", told="wrong", formats=("tflite",), schemes=("float32", "float16"),
        networks=("InceptionV3",), why=COUNTED_PADDING,
    ),
    Fault(
        consumer="OpenCV 4", told="wrong", formats=("tflite",), schemes=("float32", "float16"),
        networks=("InceptionV3",),
        why=f"{COUNTED_PADDING}; and FULLY_CONNECTED of MEAN as in the others",
    ),
    Fault(
        consumer="OpenCV 4", told="wrong", formats=("tflite",), schemes=("float32", "float16"),
        why="FULLY_CONNECTED of MEAN of CONV_2D, 1x7x7x16 to 10: off by 1.8 of 6.7; right where MEAN reads the image, "
        "or keeps its axes",
    ),
    Fault(
        consumer="tract", told="Gemm ToTypedTranslator", schemes=("float16",),
        why="Gemm of float16 numbers is translated to float32, and then refused for it",
    ),
    Fault(
        consumer="tract", told="wrong: sqnr_db", schemes=("float16",),
        why="no node is wrong: it adds up in float16, which costs more than the bound allows",
    ),
    Fault(
        consumer="tflite-runtime", told="'FULLY_CONNECTED' version '12'", schemes=("dynamic",),
        why="it is of 2023 and has FULLY_CONNECTED of float values with int8 kernels and a scale per channel, "
        "version 12, not yet",
    ),
    Fault(
        consumer="tflite-runtime", told="wrong", schemes=("int16x8",), networks=("ConvNeXtTiny",),
        why="FULLY_CONNECTED of int16 values with a scale per channel takes a result of 1x56x56x96 for one of 1x56: "
        "the other numbers are zeros",
    ),
    Fault(
        consumer="TFLite Micro", told="op code GELU", why="it has no operator GELU",
    ),
    Fault(
        consumer="TFLite Micro", told="refused", schemes=("dynamic",),
        why="it has no kernels for float values with int8 weights",
    ),
    Fault(
        consumer="TFLite Micro", told="DEQUANTIZE", schemes=("float16",), why="its DEQUANTIZE takes no float16",
    ),
    Fault(
        consumer="TFLite Micro", told="wrong", schemes=("int8",), networks=("DenseNet121",),
        why="20.82 dB, the bound is 21: its int8 convolutions round otherwise than LiteRT's, by single steps from the "
        "first on, 23.4 dB apart behind the last with `--integer-head`; and DEQUANTIZE of the classifier's kernel "
        "takes the first scale for all",
    ),
    Fault(
        consumer="TFLite Micro", told="wrong", schemes=("int8", "int16x8"),
        why="DEQUANTIZE of a kernel with a scale per channel takes the first for all; `--integer-head` has none",
    ),
)  # fmt: skip


def why(cell: Cell) -> str:
    """The fault of a cell that is not right; what the consumer said, where nothing more is known."""
    known = next((fault.why for fault in FAULTS if fault.explains(cell)), "")
    said = " ".join(cell.told.split())[:300].replace("|", "\\|")
    return known or (f"it says: {said}" if cell.state in ("refused", "crashed") else said)
