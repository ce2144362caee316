"""What is decided before kernels are rounded: precisions, equalised channels, and the scale of every value."""

from __future__ import annotations

from collections.abc import Collection

from kexport.graph import Graph
from kexport.quantizers import Batches, Compile, assign, equalize, observe, ranges
from kexport.quantizers.sequence import Network


def survey(graph: Graph, batches: Batches, compile_: Compile, *, keep_float: Collection[str] = ()) -> Network:
    """The network of a rewritten graph: equal to it in float32, and ready to be quantized node by node.

    Channels are equalised as if nothing were kept in float: what a float layer makes is rounded as soon as an int8
    layer reads it, and needs it as much.
    """
    everything, precisions = assign.assign(graph), assign.assign(graph, keep_float=keep_float)
    seen = observe.observe(graph, batches, compile_, values=ranges.needed(graph, everything))
    graph, seen = equalize.equalize(graph, everything, seen)
    return Network(graph=graph, precisions=precisions, values=ranges.choose(graph, precisions, seen), observed=seen)
