"""Graph rewrites: one module per pass, in the order of `PASSES`; each returns an equal graph.

A module has ``run(graph) -> Graph`` and ``PASS``, which says what it requires and ensures (`contract`). A pass that
cannot prove its condition leaves the node alone. Most passes only look at a node and the node that
feeds it: they are a function for `rewriting.fold_into_producer`.
"""

from __future__ import annotations

from collections.abc import Iterable

from kexport.graph import Graph
from kexport.passes import (
    drop_identities,
    drop_unread,
    fuse_activation,
    global_pool_shape,
    hard_sigmoid,
    merge_scales,
    pad_into_window,
    scale_after_linear,
    scale_before_linear,
)
from kexport.passes.contract import Pass, applied, check_order

PASSES: tuple[Pass, ...] = (
    hard_sigmoid.PASS,
    merge_scales.PASS,
    drop_identities.PASS,
    scale_after_linear.PASS,
    fuse_activation.PASS,
    pad_into_window.PASS,
    scale_before_linear.PASS,
    global_pool_shape.PASS,
    drop_unread.PASS,
)
"""In the order in which they run."""

check_order(PASSES)


def optimize(graph: Graph, passes: Iterable[Pass] = PASSES) -> Graph:
    """An equal graph with fewer and cheaper nodes; the outputs' names and shapes stay.

    Raises GraphError if a pass does not keep what it promises.
    """
    for each in passes:
        graph = applied(each, graph)
    return graph
