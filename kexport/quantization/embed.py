"""A plan whose graph takes pixels: the scale of its image input becomes that of the value that pixels are made into."""

from __future__ import annotations

from dataclasses import replace

from kexport.passes.embed import embedded
from kexport.quantization.plan import QuantPlan
from kexport.records import Preprocessing


def embedded_plan(plan: QuantPlan, contract: Preprocessing) -> QuantPlan:
    """The same integers from the network's first layer on; the steps before it are float32."""
    graph, name, value = embedded(plan.graph, contract)
    values = {value if each == name else each: affine for each, affine in plan.values.items()}
    return replace(plan, graph=graph, values=values)
