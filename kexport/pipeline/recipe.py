"""What a cell says of its layers: the file of ``--recipe`` under the options that are typed, and what was used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kexport.errors import UnsupportedError
from kexport.graph import Graph
from kexport.quantization import recipe, recipe_file
from kexport.quantization.prepare import rewrites
from kexport.quantization.recipe import Wishes
from kexport.records import DropSearch
from kexport.records.recipe import LayerKernels, Recipe
from kexport.specs import Cell

IDLE_HINT = "the same without --recipe, or --skip-unsupported, which leaves such networks out"


def asked(cell: Cell) -> Recipe:
    """The recipe of a cell: its file, and what is typed over that. Raises UsageError."""
    said = Recipe() if cell.recipe is None else recipe_file.read(cell.recipe)
    kernels = said.kernels if cell.kernels is None else LayerKernels(cell.kernels)
    return replace(said, kernels=kernels, integer_head=said.integer_head or cell.integer_head)


def wishes(cell: Cell, graph: Graph) -> Wishes:
    """What it wants of the nodes of the optimized graph.

    Raises UnknownNameError for layers that there are not, UnsupportedError where the recipe means none of them.
    """
    said = asked(cell)
    if why := idle(cell, graph):
        raise UnsupportedError(why, hint=IDLE_HINT)
    if not (said.rules or cell.keep_float):
        return Wishes()
    return recipe.wishes(rewrites.rewrite(graph), said, cell.keep_float, source=cell.model.source)


def used(cell: Cell, search: DropSearch | None) -> Recipe | None:
    """What makes the same plan of the same images: the layers that a search left in float are in it. None if usual."""
    found = recipe.with_kept(asked(cell), (*cell.keep_float, *(search.float_layers if search else ())))
    return found if found.says_something else None


def idle(cell: Cell, graph: Graph) -> str:
    """Why the recipe of a cell does nothing to a network; empty where it does, or where there is none."""
    if cell.recipe is None or not recipe.idle(graph, said := asked(cell)):
        return ""
    meant = ", ".join(rule.layer for rule in said.rules)
    return f"{recipe_file.OPTION} {cell.recipe}: no rule means a layer of {cell.model.source}, expected {meant}"


def require_layers(cells: Iterable[Cell], graph: Graph) -> None:
    """Raise UnknownNameError for a layer that a cell names and the network has not."""
    for cell in cells:
        if cell.keep_float or cell.recipe is not None:
            recipe.require(graph, asked(cell), cell.keep_float, source=cell.model.source)
