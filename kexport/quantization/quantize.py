"""Step: a float graph and calibration images become a `QuantPlan`, which every format writes alike."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from kexport.errors import UnsupportedError
from kexport.graph import Graph
from kexport.operations import Conv, Dense
from kexport.quantization import Batches, Compile, sequence, survey
from kexport.quantization.kernels.int8 import nearest, scales_of
from kexport.quantization.kernels.pairs import LARGEST_SUM, sums_of
from kexport.quantization.known import Memory, OfImages, Seen
from kexport.quantization.observe.distinct import distinct
from kexport.quantization.plan import Kernel, Precision, QuantPlan
from kexport.quantization.prepare import rewrites
from kexport.quantization.recipe import Wishes

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
    portable: bool = True,
    integer_head: bool = False,
    wishes: Wishes | None = None,
    folder: Path | None = None,
    memory: Memory | None = None,
) -> QuantPlan:
    """The int8 plan of an optimized graph.

    ``keep_float`` names nodes that must stay float32; ``refused`` names those whose scales a runtime would not take:
    they become float32 too, and the plan is made again. ``fit`` False leaves kernels as they are before rounding, for
    images that are too much alike to judge a fit on. ``portable`` False takes the whole range of int8 for kernels:
    some CPUs compute with them otherwise (`kernels.pairs`). ``integer_head`` quantizes a last dense layer too, and
    ``wishes`` are what a recipe wants. Large values wait for their readers in ``folder``. What the
    ``memory`` has of the same nodes is not decided again (`known`). Images that are copies of others count once. Raises
    UnsupportedError if that does not end.
    """
    graph = rewrites.rewrite(graph)
    images = Seen(distinct(batches), [spec.name for spec in graph.inputs])
    said = wishes or Wishes()
    make = partial(
        _plan,
        graph,
        images,
        compile_,
        fit=fit,
        portable=portable,
        integer_head=integer_head,
        wishes=said,
        folder=folder,
        memory=None if memory is None else OfImages(memory, images),
    )
    kept = {*keep_float, *said.in_float}
    for _ in range(ROUNDS):
        plan = make(keep_float=kept)
        new = set(refused(plan)) - kept if refused else set()
        if not new:
            return plan
        kept |= new
    raise UnsupportedError(f"no scales were found for {', '.join(sorted(new))}", hint="--schemes float16")


def _plan(
    graph: Graph,
    batches: Batches,
    compile_: Compile,
    *,
    keep_float: Collection[str],
    fit: bool,
    portable: bool,
    integer_head: bool,
    wishes: Wishes,
    folder: Path | None,
    memory: Memory | None,
) -> QuantPlan:
    network = survey.survey(
        graph,
        batches,
        compile_,
        keep_float=keep_float,
        integer_head=integer_head,
        extremes=wishes.extremes,
        in_int8=wishes.in_int8,
        memory=memory,
    )
    decided = sequence.decide(
        network,
        batches,
        compile_,
        fit=fit,
        portable=portable,
        otherwise=wishes.other_kernels,
        folder=folder,
        memory=memory,
    )
    return noted(
        QuantPlan(
            graph=_with_biases(network.graph, decided),
            values=network.values,
            kernels=decided.kernels,
            precisions=network.precisions,
        )
    )


def _with_biases(graph: Graph, decided: sequence.Decided) -> Graph:
    nodes = tuple(
        replace(node, operation=replace(node.operation, bias=decided.biases[node.name]))
        if node.name in decided.biases and isinstance(node.operation, (Conv, Dense))
        else node
        for node in graph
    )
    return replace(graph, nodes=nodes)


def noted(plan: QuantPlan) -> QuantPlan:
    """The plan with what its record has to say: layers in float, and kernels that some CPUs compute otherwise."""
    linear = [node.name for node in plan.graph if isinstance(node.operation, (Conv, Dense))]
    floats = [name for name in linear if name not in plan.precisions]
    sums = sums_of(plan)
    wide = [name for name in linear if sums.get(name, 0) > LARGEST_SUM]
    notes = [f"float32 layers: {', '.join(floats)}"] if floats else []
    if wide:
        notes.append(
            f"CPUs without VNNI saturate in ONNX Runtime and may decide otherwise: neighbours in a sum add up to "
            f"{max(sums.values())}, at most {LARGEST_SUM} would fit, in {', '.join(wide)}"
        )
    return replace(plan, notes=tuple(notes))


def weights_only(graph: Graph) -> QuantPlan:
    """The plan of scheme ``dynamic``: int8 kernels, everything else float32. Needs no images."""
    kernels = {}
    for node in graph:
        if isinstance(node.operation, (Conv, Dense)):
            scales = scales_of(node.operation)
            kernels[node.name] = Kernel(numbers=nearest(node.operation, scales), scales=scales)
    return QuantPlan(graph=graph, values={}, kernels=kernels, precisions=dict.fromkeys(kernels, Precision.WEIGHTS))
