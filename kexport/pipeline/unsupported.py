"""What is known not to be supported before its work begins: pairs of format and scheme, cells of a lowered model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kexport.errors import MissingDependencyError, SkippedError, UnsupportedError
from kexport.formats import write
from kexport.graph import Graph
from kexport.options import ExportOptions
from kexport.passes import optimize
from kexport.pipeline import recipe
from kexport.pipeline.tasks import Failure
from kexport.quantization import recipe_file
from kexport.sources import backend
from kexport.sources.prepared import Prepared
from kexport.specs import CALIBRATED, Cell, Engine, Format, Scheme

_HINT = "kexport list schemes"


def of_pair(form: Format, scheme: Scheme, engine: str | None) -> str:
    """Why no file of the format can be in the scheme, by this engine; empty if it can."""
    if scheme not in form.schemes:
        return f"{form} cannot be {scheme}, expected one of {', '.join(form.schemes)}"
    wanted = engine or Engine.AUTO
    if wanted != Engine.AUTO and wanted not in form.engine_names:
        return f"{wanted} cannot write {form}, expected one of {', '.join((Engine.AUTO, *form.engine_names))}"
    return form.refusal(wanted, scheme) or lacking(form, scheme, wanted)


def lacking(form: Format, scheme: Scheme, engine: str) -> str:
    """Why this installation cannot write the format in that scheme, where an engine would; empty if it can."""
    able = form.writers(scheme) if engine == Engine.AUTO else (form.engine(engine),)
    reasons = [each.lacks() for each in able]
    return "" if not all(reasons) else reasons[0]


def require_engines(pairs: Iterable[tuple[Format, Scheme]], engine: str | None) -> None:
    """Raise MissingDependencyError for a file that no engine of this installation writes."""
    for form, scheme in pairs:
        if why := lacking(form, scheme, engine or Engine.AUTO):
            raise MissingDependencyError(f"{form} {scheme} cannot be made: {why}", hint=backend.cure())


def left_out(options: ExportOptions) -> Iterator[str]:
    """A line for every pair of a format and a scheme of the request that cannot be."""
    for form in options.formats or ():
        for scheme in options.schemes or ():
            if why := of_pair(form, scheme, options.engine):
                yield f"skipped {form} {scheme}: {why}"


def without(options: ExportOptions) -> ExportOptions:
    """The request without formats and schemes that nothing can be made in; as it is where nothing would be left."""
    formats, schemes = options.formats or (), options.schemes or ()
    able = [(form, scheme) for form in formats for scheme in schemes if not of_pair(form, scheme, options.engine)]
    if not able:
        return options
    return replace(
        options,
        formats=tuple(form for form in formats if form in {form for form, _ in able}),
        schemes=tuple(scheme for scheme in schemes if scheme in {scheme for _, scheme in able}),
    )


def of_graph(graph: Graph, cells: Iterable[Cell]) -> dict[str, str]:
    """Why a lowered graph cannot be in the calibrated schemes that are asked for, by format, scheme and recipe.

    Of cells that leave layers of their own choice in float32 only whether there are such: those may be what cannot be.
    """
    idle = {_with_recipe(cell): recipe.idle(cell, graph) for cell in cells if cell.scheme in CALIBRATED}
    asked = {
        (cell.format, cell.scheme)
        for cell in cells
        if cell.scheme in CALIBRATED and not cell.keep_float and cell.recipe is None
    }
    if not any(scheme is Scheme.INT16X8 for _, scheme in asked):
        return idle
    optimized = optimize(graph)
    return idle | {f"{form} {scheme}": form.engines[0].refuses_in(optimized, scheme) for form, scheme in asked}


def known(cell: Cell, ready: Prepared) -> Failure | None:
    """The end of a cell that nothing can make of the model that lies prepared, before its process begins."""
    try:
        write.choose(cell, ready.refusal_of(cell.format))
    except UnsupportedError as error:
        return Failure(kind=SkippedError.__name__, message=error.message, hint=error.hint)
    if why := ready.refusals.get(_with_recipe(cell)):
        return Failure(kind=SkippedError.__name__, message=why, hint=recipe.IDLE_HINT)
    why = ready.refusals.get(f"{cell.format} {cell.scheme}")
    return Failure(kind=SkippedError.__name__, message=why, hint=_HINT) if why else None


def _with_recipe(cell: Cell) -> str:
    """Other cells of the format and scheme may have another recipe, or none: another target's."""
    return f"{cell.format} {cell.scheme} {recipe_file.OPTION} {cell.recipe}"
