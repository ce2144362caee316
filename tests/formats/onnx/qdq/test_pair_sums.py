"""Written files, read back: no two products that a CPU adds up in int16 exceed it; and what does is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport.formats.onnx.qdq import writer
from kexport.graph import Graph
from kexport.operations import Activation, Conv, Dense, GlobalPool, PoolKind, Reshape
from kexport.quantization.quantize import quantize
from tests.benchmarks.pair_sums import FITS, written_sums
from tests.formats.plans import Sketch
from tests.quantization.networks import batches_of, compile_, conv, dense, feeds_of, mobile, same


def photograph(stride: int, channels: int) -> Graph:
    """A first layer whose pixels are read in cells, odd channels behind it, and a grouped convolution."""
    net = Sketch((16, 16, channels))
    net("stem", conv(channels, 10, 3, padding=same(), strides=(stride, stride), activation=Activation.RELU), "in0")
    net("deep", conv(1, 10, 3, groups=10, padding=same(), activation=Activation.RELU), "stem")
    net("odd", conv(10, 9, 3, padding=same(), activation=Activation.RELU), "deep")
    net("wide", conv(9, 12, 3, activation=Activation.RELU), "odd")
    net("grouped", conv(3, 8, 3, groups=4, activation=Activation.RELU), "wide")
    net("pool", GlobalPool(kind=PoolKind.AVERAGE, keepdims=False), "grouped")
    net("logits", dense(8, 10), "pool")
    return net.graph()


def flattened() -> Graph:
    """Dense layers behind a flattened image, whose rows the file may permute."""
    net = Sketch((6, 6, 3))
    net("conv", conv(3, 5, 3, activation=Activation.RELU), "in0")
    net("flat", Reshape(shape=(80,)), "conv")
    net("first", dense(80, 33, activation=Activation.RELU), "flat")
    net("logits", dense(33, 10), "first")
    return net.graph()


def extreme(graph: Graph) -> Graph:
    """Every tap that might be a neighbour is one of the largest: the full range would not fit anywhere."""
    for node in graph:
        if isinstance(node.operation, (Conv, Dense)):
            node.operation.kernel[...] = 0.05 * node.operation.kernel
            node.operation.kernel[..., :2, :] += np.float32(0.3)
    return graph


GRAPHS = {
    "mobile": lambda: mobile(excite=True),
    "hard_swish": lambda: mobile(Activation.HARD_SWISH, excite=True),
    "stride_1": lambda: photograph(1, 3),
    "stride_2": lambda: photograph(2, 3),
    "grey": lambda: photograph(2, 1),
    "flattened": flattened,
}


def written(graph: Graph, path: Path, *, portable: bool) -> dict[str, int]:
    plan = quantize(graph, batches_of(feeds_of(graph)), compile_, portable=portable)
    writer.write(plan, path)
    return written_sums(path)


@pytest.mark.parametrize("name", GRAPHS)
def test_no_written_pair_exceeds_int16(name, tmp_path):
    sums = written(extreme(GRAPHS[name]()), tmp_path / "portable.onnx", portable=True)
    assert len(sums) >= 2
    assert {node: largest for node, largest in sums.items() if largest > FITS} == {}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_full_range_is_found_to_exceed_it(name, tmp_path):
    assert max(written(extreme(GRAPHS[name]()), tmp_path / "full.onnx", portable=False).values()) > FITS


def test_a_planted_pair_is_found(tmp_path):
    """Two weights of one kernel in a file that held, exchanged for the largest."""
    import onnx
    from onnx import numpy_helper

    path = tmp_path / "planted.onnx"
    assert max(written(GRAPHS["stride_2"](), path, portable=True).values()) <= FITS
    model = onnx.load(path)
    made = {name: node for node in model.graph.node for name in node.output}
    (name,) = {made[node.input[1]].input[0] for node in model.graph.node if node.name == "wide"}
    (kernel,) = (each for each in model.graph.initializer if each.name == name)
    numbers = numpy_helper.to_array(kernel).copy()  # (outputs, channels, rows, columns)
    numbers[7, 2:4, 1, 1] = (-65, -64)
    kernel.CopyFrom(numpy_helper.from_array(numbers, kernel.name))
    onnx.save(model, path)
    found = {node: largest for node, largest in written_sums(path).items() if largest > FITS}
    assert found == {"wide": 129}
