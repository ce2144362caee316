"""What is decided before kernels are rounded: precisions, equalised channels, and the scale of every value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from kexport.graph import Graph
from kexport.quantization import Batches, Compile
from kexport.quantization.known import Memory
from kexport.quantization.network import Network
from kexport.quantization.observe.sections import observe
from kexport.quantization.observe.statistics import Observed
from kexport.quantization.prepare import assign, equalize, stem
from kexport.quantization.prepare.levels import Levels
from kexport.quantization.scales import ranges
from kexport.quantization.scales.ties import without_ties


def survey(
    graph: Graph,
    batches: Batches,
    compile_: Compile,
    *,
    keep_float: Collection[str] = (),
    integer_head: bool = False,
    extremes: Collection[str] = (),
    in_int8: Collection[str] = (),
    memory: Memory | None = None,
) -> Network:
    """The network of a rewritten graph: equal to it in float32, and ready to be quantized node by node.

    Channels are equalised as if nothing were kept in float: what a float layer makes is rounded as soon as an int8
    layer reads it, and needs it as much. ``integer_head``: a last dense layer is int8 too, its kernel with one scale.
    What the nodes ``extremes`` make has ranges as wide as what was seen; a first layer that usually is float32 is not
    if its convolution is one of ``in_int8``. What the ``memory`` has is not observed again.
    """
    look = partial(observe, batches=batches, compile_=compile_, memory=memory)
    chosen = partial(_survey, look=look, head=integer_head, wide=extremes, in_int8=in_int8)
    first = stem.find(graph)
    if first is None or first.conv in in_int8:
        return chosen(graph, keep_float=keep_float, stored=())
    seen = look(_up_to(graph, first.product), values=(first.image, first.product))
    opened, read = stem.on_levels(graph, first, seen)
    network = chosen(opened, keep_float={*keep_float, *first.in_float}, stored=(first.depthwise,))
    return _exact(network, first, read, extremes)


def _survey(
    graph: Graph,
    *,
    look: Callable[..., dict[str, Observed]],
    keep_float: Collection[str],
    stored: Collection[str],
    head: bool,
    wide: Collection[str],
    in_int8: Collection[str],
) -> Network:
    everything = assign.assign(graph, integer_head=head)
    seen = look(graph, values=ranges.needed(graph, everything))
    graph, seen = equalize.equalize(graph, everything, seen)
    in_float = {*keep_float, *(() if head else stem.smooth(graph, but=in_int8))}
    precisions = assign.assign(graph, keep_float=in_float, stored=stored, integer_head=head)
    values = ranges.choose(graph, precisions, seen, extremes=wide)
    heads = assign.heads(graph, precisions) if head else frozenset()
    return Network(graph=graph, precisions=precisions, values=values, observed=seen, heads=heads)


def _up_to(graph: Graph, value: str) -> Graph:
    """The nodes up to the one that makes ``value``, which becomes the output."""
    last = [node.name for node in graph].index(value) + 1
    return replace(graph, nodes=graph.nodes[:last], outputs={value: value})


def _exact(network: Network, first: stem.Stem, read: Mapping[str, Levels], wide: Collection[str]) -> Network:
    """The network with the stem's numbers on their grids, and its result at a scale that is a power of two."""
    name = first.depthwise
    if name not in network.values:
        return network
    scale = network.values[name].scale
    wanted = stem.power_of_two(scale)
    graph, seen = equalize.rescale(network.graph, name, network.observed, wanted / scale)
    values = ranges.choose(graph, network.precisions, seen, extremes=wide)
    groups = ranges.groups(graph, network.precisions)
    group = next(group for group in groups if name in group)
    values |= {each: replace(values[each], scale=wanted) for each in group}
    free = [each for each in groups if each != group and values[each[0]] not in ranges.FIXED]
    values = without_ties(graph, network.precisions, values, free)
    return replace(network, graph=stem.exact(graph, read), values=values, observed=seen)
