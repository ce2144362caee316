"""Constants of quantized ONNX, as other readers take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from kexport.formats.onnx.qdq import writer
from kexport.graph import Graph
from kexport.quantization.plan import Precision
from tests.formats.plans import Sketch, plan_of
from tests.quantization.networks import conv, dense, feeds_of


def behind_a_dense_layer() -> Graph:
    net = Sketch((8,))
    net("last", dense(8, 5), "in0")
    return net.graph()


def behind_a_dense_layer_of_rows() -> Graph:
    net = Sketch((3, 8))
    net("last", dense(8, 5), "in0")
    return net.graph()


def behind_a_convolution() -> Graph:
    net = Sketch((6, 6, 4))
    net("last", conv(4, 8, 3), "in0")
    return net.graph()


@pytest.mark.parametrize("network", [behind_a_dense_layer, behind_a_dense_layer_of_rows, behind_a_convolution])
def test_scales_of_int8_kernels_have_the_rank_of_the_kernel(network, tmp_path: Path) -> None:
    graph = network()
    plan = plan_of(graph, feeds_of(graph), {node.name: Precision.WEIGHTS for node in graph})
    writer.write(plan, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    (product,) = [node for node in model.graph.node if node.op_type == "Mul"]
    kernel, scales = (
        constants[name] if name in constants else constants[made[name].input[0]] for name in product.input
    )
    assert kernel.dtype == np.int8
    assert scales.ndim == kernel.ndim
    assert sorted(scales.shape)[:-1] == [1] * (kernel.ndim - 1)
