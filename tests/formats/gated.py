"""Graphs with hard sigmoids that gate: what both writings of ONNX files are tested on."""

from __future__ import annotations

from kexport.graph import Graph
from kexport.operations import Activation, Multiply
from tests.formats.plans import Sketch
from tests.quantization.networks import activate, conv, dense, squeeze_excite

GATE = activate(Activation.HARD_SIGMOID)


def excited() -> Graph:
    net = Sketch((6, 6, 4))
    net("wide", conv(4, 8), "in0")
    squeeze_excite(net, "wide", 8)
    return net.graph()


def behind_dense() -> Graph:
    net = Sketch((8,))
    net("rows", dense(8, 5), "in0")
    net("gate", GATE, "rows")
    return net.graph()


def read_twice() -> Graph:
    net = Sketch((6, 6, 4))
    net("wide", conv(4, 8), "in0")
    net("gate", GATE, "wide")
    net("product", Multiply(), "wide", "gate")
    return net.graph()
