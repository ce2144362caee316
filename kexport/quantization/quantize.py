"""Step: a float graph and calibration images become a `QuantPlan`, which every format writes alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from kexport.errors import UnsupportedError
from kexport.graph import Graph
from kexport.operations import Conv, Dense
from kexport.quantization import Batches, Compile, sequence, survey
from kexport.quantization.kernels.int8 import nearest, scales_of
from kexport.quantization.observe.distinct import distinct
from kexport.quantization.plan import Kernel, Precision, QuantPlan
from kexport.quantization.prepare import rewrites

ROUNDS = 4
Refused = Callable[[QuantPlan], Collection[str]]


def quantize(
    graph: Graph,
    batches: Batches,
    compile_: Compile,
    *,
    keep_float: Collection[str] = (),
    refused: Refused | None = None,
    fit: bool = True,
) -> QuantPlan:
    """The int8 plan of an optimized graph.

    ``keep_float`` names nodes that must stay float32; ``refused`` names those whose scales a runtime would not take:
    they become float32 too, and the plan is made again. ``fit`` False leaves kernels as they are before rounding, for
    images that are too much alike to judge a fit on. Images that are copies of others count once. Raises
    UnsupportedError if that does not end.
    """
    graph, batches = rewrites.rewrite(graph), distinct(batches)
    kept = set(keep_float)
    for _ in range(ROUNDS):
        plan = _plan(graph, batches, compile_, keep_float=kept, fit=fit)
        new = set(refused(plan)) - kept if refused else set()
        if not new:
            return plan
        kept |= new
    raise UnsupportedError(f"no scales were found for {', '.join(sorted(new))}", hint="--schemes float16")


def _plan(graph: Graph, batches: Batches, compile_: Compile, *, keep_float: Collection[str], fit: bool) -> QuantPlan:
    network = survey.survey(graph, batches, compile_, keep_float=keep_float)
    decided = sequence.decide(network, batches, compile_, fit=fit)
    return QuantPlan(
        graph=_with_biases(network.graph, decided),
        values=network.values,
        kernels=decided.kernels,
        precisions=network.precisions,
        notes=_notes(network.graph, network.precisions),
    )


def _with_biases(graph: Graph, decided: sequence.Decided) -> Graph:
    nodes = tuple(
        replace(node, operation=replace(node.operation, bias=decided.biases[node.name]))
        if node.name in decided.biases and isinstance(node.operation, (Conv, Dense))
        else node
        for node in graph
    )
    return replace(graph, nodes=nodes)


def _notes(graph: Graph, precisions: Mapping[str, Precision]) -> tuple[str, ...]:
    linear = [node for node in graph if isinstance(node.operation, (Conv, Dense))]
    floats = [node.name for node in linear if node.name not in precisions]
    return (f"float32 layers: {', '.join(floats)}",) if floats else ()


def weights_only(graph: Graph) -> QuantPlan:
    """The plan of scheme ``dynamic``: int8 kernels, everything else float32. Needs no images."""
    kernels = {}
    for node in graph:
        if isinstance(node.operation, (Conv, Dense)):
            scales = scales_of(node.operation)
            kernels[node.name] = Kernel(numbers=nearest(node.operation, scales), scales=scales)
    return QuantPlan(graph=graph, values={}, kernels=kernels, precisions=dict.fromkeys(kernels, Precision.WEIGHTS))
