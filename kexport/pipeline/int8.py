"""The quantization plan of a model, made once: whichever cell comes first makes it, the others read it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from kexport import machine
from kexport.evidence.scores import Measure
from kexport.evidence.scoring import open_calibration_for
from kexport.graph import Graph
from kexport.images.calibration import CalibrationSet
from kexport.pipeline import recipe, remembered
from kexport.pipeline.max_drop import Bound, Tell
from kexport.quantization import Compile, Run, mixed, plan_file
from kexport.quantization.kernels.pairs import sums_of
from kexport.quantization.known import Memory
from kexport.quantization.plan import QuantPlan
from kexport.quantization.quantize import quantize, weights_only
from kexport.quantization.scales.limits import scale_limits
from kexport.records import DropSearch, QuantizationRecord, decode_as, encode
from kexport.records.recipe import LayerKernels, Recipe
from kexport.runtimes.ort_graph import GraphSession
from kexport.sources.prepared import Prepared
from kexport.specs import Boundary, Cell, Scheme

FOLDER, FACTS, LOCK = "int8", "quantization.json", "int8.lock"
MOST_ALIKE = 0.1  # of the images: with more near-duplicates, a fit is judged on what it has seen
UNFITTED = "kernels were not fitted: too many images are near-duplicates to judge a fit on"
LARGEST_BATCH, BATCH_NUMBERS = 8, 1 << 19
UNFIT = "calibrated on synthetic images: not fit to deploy"


def plan_of(
    cell: Cell,
    graph: Graph,
    ready: Prepared,
    folder: Path,
    *,
    threads: int,
    tell: Tell = lambda _: None,
    own: Measure | None = None,
    reuse: bool = True,
) -> tuple[QuantPlan, QuantizationRecord]:
    """The plan of a quantized cell and what its record says of it. ``graph`` is optimized; ``tell`` hears of trials.

    Their drop is that of ``own``, if it is given. ``reuse``: what earlier runs have found out is not found out again.

    Raises UsageError and SourceError for images that cannot be right, UnsupportedError where no scales are found.
    """
    if cell.scheme is Scheme.DYNAMIC:
        plan = weights_only(graph)
        return plan, _facts(plan, kind="none", fit_to_deploy=True)
    place = folder / _folder(cell)
    with _locked(folder / LOCK):
        if not plan_file.exists(place):
            _make(cell, graph, ready, place, threads=threads, tell=tell, own=own, reuse=reuse)
    record: QuantizationRecord = decode_as(QuantizationRecord, (place / FACTS).read_bytes())
    return plan_file.load(place), record


def _folder(cell: Cell) -> str:
    """One plan serves every file, but for a bound on the drop of a file with integer inputs or outputs."""
    own = cell.max_drop is not None and cell.io is not Boundary.FLOAT32
    parts = (
        "head" if cell.integer_head else "",
        f"{cell.format}-{cell.io}" if own else "",
        str(cell.kernels or ""),
        _digest(recipe.used(cell, None)) if cell.keep_float or cell.recipe else "",
    )
    return "-".join([FOLDER, *filter(None, parts)])


def _digest(used: Recipe | None) -> str:
    return hashlib.sha256(encode(used).encode()).hexdigest()[:16]


def _locked(path: Path) -> AbstractContextManager[object]:
    from filelock import FileLock

    return FileLock(path)


def _make(
    cell: Cell,
    graph: Graph,
    ready: Prepared,
    place: Path,
    *,
    threads: int,
    tell: Tell,
    own: Measure | None,
    reuse: bool,
) -> None:
    assert cell.calibration is not None
    start = time.perf_counter()
    images = open_calibration_for(ready.facts, cell.calibration, place.parent)
    memory = remembered.memory(threads) if reuse else None
    plan, search = _bounded(
        cell, graph, ready, place.parent, images, threads=threads, tell=tell, own=own, memory=memory
    )
    remembered.trim()
    place.mkdir(exist_ok=True)
    facts = _facts(
        plan,
        calibration=images.text,
        calibration_sha256=images.sha256,
        images=images.count,
        kind=images.kind,
        fit_to_deploy=images.fit_to_deploy,
        seconds=time.perf_counter() - start,
        peak_memory_bytes=machine.peak_memory_bytes(),
        search=search,
        kernels=cell.kernels,
        keep_float=cell.keep_float,
        recipe_file=cell.recipe or "",
        recipe=recipe.used(cell, search),
        integer_head=cell.integer_head,
        notes=(
            *images.notes,
            *plan.notes,
            *(() if _tell_apart(images) else (UNFITTED,)),
            *((mixed.told(search),) if search else ()),
            *(() if images.fit_to_deploy else (UNFIT,)),
        ),
    )
    (place / FACTS).write_text(encode(facts))
    plan_file.save(plan, place)


def _bounded(
    cell: Cell,
    graph: Graph,
    ready: Prepared,
    folder: Path,
    images: CalibrationSet,
    *,
    threads: int,
    tell: Tell,
    own: Measure | None,
    memory: Memory | None,
) -> tuple[QuantPlan, DropSearch | None]:
    """The plan in int8, or with as many float layers as the cell's bound takes."""
    compile_ = compiler(threads)

    fit, said, wanted = _tell_apart(images), recipe.asked(cell), recipe.wishes(cell, graph)

    def make(kept: frozenset[str]) -> QuantPlan:
        stream = partial(images.batches, _batch(images))
        return quantize(
            graph,
            stream,
            compile_,
            keep_float=kept,
            refused=_refused,
            fit=fit,
            integer_head=said.integer_head,
            portable=said.kernels is not LayerKernels.FULL,
            wishes=wanted,
            folder=folder,
            memory=memory,
        )

    if cell.max_drop is None:
        return make(frozenset()), None
    float_ = wanted.in_float
    bound = Bound(cell=cell, facts=ready.facts, folder=folder, threads=threads, tell=tell, own=own, said=float_)
    found = bound.search(graph, images, make=make, compile_=compile_)
    return found.plan, found.search


def compiler(threads: int) -> Compile:
    """Float graphs run by ONNX Runtime."""

    def compile_(graph: Graph) -> Run:
        return GraphSession(graph, threads=threads).run

    return compile_


def _tell_apart(images: CalibrationSet) -> bool:
    return images.near_duplicates <= MOST_ALIKE * images.count


def _batch(images: CalibrationSet) -> int:
    return max(1, min(LARGEST_BATCH, BATCH_NUMBERS // math.prod(images.shape)))


def _refused(plan: QuantPlan) -> Collection[str]:
    return {limit.node for limit in scale_limits(plan)}


def _facts(plan: QuantPlan, **known: object) -> QuantizationRecord:
    nothing = {"calibration": "", "calibration_sha256": "", "images": 0}
    return QuantizationRecord(
        **{**nothing, **known},  # type: ignore[arg-type]
        int8_layers=len(plan.kernels),
        largest_pair_sums=sums_of(plan),
        float_layers=plan.float_layers,
    )
