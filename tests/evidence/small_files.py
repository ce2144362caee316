"""Small artifact files that tell colours apart, written without Keras: their answers are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kexport.formats.onnx import writer as onnx_writer
from kexport.formats.tflite import writer as tflite_writer
from kexport.formats.tflite.quantized import writer as quantized_writer
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Conv, Dense, GlobalPool, PoolKind
from kexport.quantization.plan import Precision
from kexport.records import Basis, Preprocessing, encode
from kexport.sources.scalings import SCALINGS
from tests.formats.plans import Sketch, plan_of

SIDE = 8
COLOURS = ("red", "green", "blue")
SIDES = ("left", "right", "top", "bottom")
ENDS = {"softmax": Activation.SOFTMAX, "sigmoid": Activation.SIGMOID}


def contract(mode: str = "tf") -> Preprocessing:
    scaling = SCALINGS[mode]
    return Preprocessing(
        mode=mode, size=(SIDE, SIDE), channel_order=scaling.channel_order, scale=scaling.scale, mean=scaling.mean,
        std=scaling.std, resize_shorter_side=SIDE, range_basis=Basis.READ, resize_basis=Basis.STATED,
    )  # fmt: skip


def colours(end: str = "softmax", *, classes: int = 3, order: str = "RGB") -> Graph:
    """The mean of each channel, four times, is the number of its colour; ``classes`` 1 shows red alone."""
    sketch = Sketch((SIDE, SIDE, 3))
    sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), "in0")
    kernel = np.eye(3, dtype=np.float32)[:: 1 if order == "RGB" else -1, :classes] * 4
    sketch("dense", Dense(kernel=np.ascontiguousarray(kernel), bias=np.zeros(classes, np.float32)), "pool")
    if end:
        sketch("last", Activate(function=ENDS[end]), "dense")
    return sketch.graph()


def halves() -> Graph:
    """The brighter half of the image: left, right, top or bottom."""
    sketch = Sketch((SIDE, SIDE, 3))
    kernel = np.zeros((SIDE, SIDE, 3, 4), np.float32)
    half = SIDE // 2
    kernel[:, :half, :, 0] = kernel[:, half:, :, 1] = kernel[:half, :, :, 2] = kernel[half:, :, :, 3] = 0.1
    sketch("conv", Conv(kernel=kernel, bias=np.zeros(4, np.float32)), "in0")
    sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), "conv")
    sketch("last", Activate(function=Activation.SOFTMAX), "pool")
    return sketch.graph()


def metadata(mode: str | None = "tf", labels: tuple[str, ...] = COLOURS) -> dict[str, str]:
    found = {} if mode is None else {"kexport.preprocessing": json.dumps(json.loads(encode(contract(mode))))}
    return found | ({"kexport.labels": json.dumps(labels)} if labels else {})


def write(path: Path, graph: Graph, *, io: str = "", entries: dict[str, str] | None = None, batch: int = 1) -> Path:
    """The graph at ``path`` in the format of its ending; ``io`` makes it int8 with such inputs and outputs."""
    told = metadata() if entries is None else entries
    if path.suffix == ".onnx":
        onnx_writer.write(graph, path, metadata=told)
    elif not io:
        tflite_writer.write(graph, path, batch=batch, metadata={name: text.encode() for name, text in told.items()})
    else:
        plain = np.random.default_rng(0).uniform(-1, 1, (16, 1, 1, 3)).astype(np.float32)
        plain[0], plain[1] = -1, 1
        images = np.tile(plain, (1, SIDE, SIDE, 1))
        plan = plan_of(graph, {"in0": images}, {node.name: Precision.FLOAT32 for node in graph if node.name == "last"})
        quantized_writer.write(plan, path, metadata={name: text.encode() for name, text in told.items()}, io=io)
    return path


def photograph(path: Path, colour: tuple[int, int, int] = (200, 60, 30), *, side: str = "", **options: object) -> Path:
    """One colour everywhere, or white on one half and black on the other."""
    from PIL import Image

    pixels = np.empty((20, 20, 3), np.uint8)
    pixels[:] = colour
    if side:
        pixels[:] = 0
        place = {"left": np.s_[:, :10], "right": np.s_[:, 10:], "top": np.s_[:10], "bottom": np.s_[10:]}[side]
        pixels[place] = 255
    Image.fromarray(pixels).save(path, **options)
    return path
