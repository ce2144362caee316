"""Gates of a plan that are computed in float, as `kexport.formats.onnx.prepare` has them: a clip, for all readers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kexport.formats.onnx.prepare import LINE, prepare
from kexport.graph import Node
from kexport.quantization.plan import Kernel, Precision, QuantPlan

SIXTH = 6.0


def clipped(plan: QuantPlan) -> QuantPlan:
    """The plan with its float gates as clips; a sixth of int8 kernels is one of their scales."""

    def in_float(source: Node, gate: Node) -> bool:
        return plan.precision(source.name) is not Precision.INT8 and plan.precision(gate.name) is Precision.FLOAT32

    graph = prepare(plan.graph, where=in_float)
    if graph is plan.graph:
        return plan
    kept = {node.name for node in graph}
    moved = {node.name: f"{node.name}{LINE}" for node in plan.graph if node.name not in kept}
    kernels = {
        moved.get(name, name): _sixth(kernel) if name in moved else kernel for name, kernel in plan.kernels.items()
    }
    precisions = {moved.get(name, name): precision for name, precision in plan.precisions.items()}
    return replace(plan, graph=graph, kernels=kernels, precisions=precisions)


def _sixth(kernel: Kernel) -> Kernel:
    return replace(kernel, scales=(kernel.scales.astype(np.float64) / SIXTH).astype(np.float32))
