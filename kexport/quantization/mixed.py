"""Step: the fewest layers left in float32 so that an int8 network loses no more than a bound.

All layers in int8 come first. Where that loses too much, the most sensitive layers stay in float: one, two, four, ...
until the drop is inside the bound, then the counts between the last that failed and the first that did not are
halved. The drop of every count is measured, not predicted; it need not fall with every layer, so that "fewest" means
along this search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kexport.quantization.plan import QuantPlan
from kexport.quantization.ranking import LayerDamage
from kexport.records import AccuracyRecord, DropSearch, DropTrial
from kexport.records.proof import POINTS

Make = Callable[[frozenset[str]], QuantPlan]
Measure = Callable[[QuantPlan], AccuracyRecord]
"""What a plan's own file does to labelled photographs."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The plan that was chosen, and how."""

    plan: QuantPlan
    search: DropSearch


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tried:
    plan: QuantPlan
    trial: DropTrial


def search(bound_points: float, *, make: Make, measure: Measure, rank: Callable[[], Sequence[LayerDamage]]) -> Mixed:
    """The plan with the fewest float layers whose drop is at most ``bound_points``, or the best plan if none is.

    ``make`` plans with nodes kept in float, ``rank`` (called only if int8 alone is not enough) gives the layers, most
    sensitive first. At most half of the layers stay in float. ``passed = drop <= bound``, so that NaN fails.
    """
    scored: list[AccuracyRecord] = []

    def measured(plan: QuantPlan) -> AccuracyRecord:
        scored.append(measure(plan))
        return scored[-1]

    found = _searched(bound_points, make=make, measure=measured, rank=rank)
    figure = scored[0].headline
    if figure is None:
        return found
    return replace(found, search=replace(found.search, metric=figure.name, unit=figure.drop_unit))


def _searched(bound_points: float, *, make: Make, measure: Measure, rank: Callable[[], Sequence[LayerDamage]]) -> Mixed:
    tried: dict[int, _Tried] = {0: _try(0, (), bound_points, make, measure)}
    if tried[0].trial.met:
        return _chosen(tried, (), bound_points, layers=0)
    layers = tuple(rank())
    low, high = 0, 1
    most = len(layers) // 2
    while high <= most:
        tried[high] = _try(high, layers, bound_points, make, measure)
        if tried[high].trial.met:
            break
        low, high = high, min(2 * high, most) if high < most else most + 1
    while high <= most and high - low > 1:
        middle = (low + high) // 2
        tried[middle] = _try(middle, layers, bound_points, make, measure)
        low, high = (low, middle) if tried[middle].trial.met else (middle, high)
    return _chosen(tried, layers, bound_points, layers=len(layers))


def _try(count: int, layers: Sequence[LayerDamage], bound_points: float, make: Make, measure: Measure) -> _Tried:
    plan = make(frozenset(name for layer in layers[:count] for name in layer.nodes))
    return _Tried(plan=plan, trial=trial_of(count, measure(plan), bound_points))


def _chosen(tried: dict[int, _Tried], ranked: Sequence[LayerDamage], bound_points: float, *, layers: int) -> Mixed:
    """The fewest float layers inside the bound; without any, the smallest drop, and of equal ones the fewest."""
    counts = sorted(tried)
    inside = [count for count in counts if tried[count].trial.met]
    best = inside[0] if inside else min(counts, key=lambda count: _order(tried[count].trial.drop_points))
    search_ = DropSearch(
        bound_points=bound_points,
        layers=layers,
        float_layers=tuple(layer.name for layer in ranked[:best]),
        trials=tuple(each.trial for each in tried.values()),
        met=bool(inside),
    )
    return Mixed(plan=tried[best].plan, search=search_)


def _order(drop: float) -> tuple[bool, float]:
    """NaN behind every number."""
    return (math.isnan(drop), drop)


def told(search_: DropSearch) -> str:
    """One line for the record: what the search ended with."""
    taken, count = search_.taken, len(search_.float_layers)
    where = "with the int8 plan as it is"
    if count:
        where = f"with {count} of {search_.layers} layers in float32: {', '.join(search_.float_layers)}"
    wide = taken.met and taken.high_points > search_.bound_points
    more = "; the interval reaches beyond it: more evaluation images would narrow it" if wide else ""
    drop = f"{search_.metric} drop of {_drop(taken, search_.unit)}"
    return f"{drop} {'is inside' if taken.met else 'exceeds'} {_bound(search_)} {where}{more}"


def problems(
    search_: DropSearch | None, scored: AccuracyRecord | None, bound_points: float | None = None
) -> Iterator[str]:
    """What the bound says against an artifact: no plan met it, or this file does not though the plan did.

    Without a search, in schemes that have none, this file alone is held to ``bound_points``.
    """
    bound = search_.bound_points if search_ is not None else bound_points
    if bound is None:
        return
    if search_ is not None and not search_.met:
        tried = ", ".join(
            f"{each.drop_points:.2f} with {each.float_layers}" for each in sorted(search_.trials, key=_count)
        )
        yield (
            f"{_bound(search_)} was not met: the least {search_.metric} drop is {_drop(search_.taken, search_.unit)}; "
            f"drop in {search_.unit} with float32 layers: {tried}, of {search_.layers}, "
            "at most half of which are left in float32"
        )
    elif scored is not None and scored.headline is not None:
        own, figure = trial_of(0, scored, bound), scored.headline
        if not own.met:
            drop = f"the {figure.name} drop of this file is {_drop(own, figure.drop_unit)}"
            yield f"{drop}, the bound is --max-drop {bound:g}"


def trial_of(float_layers: int, scored: AccuracyRecord, bound_points: float) -> DropTrial:
    """The drop of labelled images as one step of the search."""
    figure = scored.headline
    values = (None, None, None) if figure is None else (figure.drop, figure.low, figure.high)
    drop, low, high = (math.nan if value is None else value for value in values)
    return DropTrial(
        float_layers=float_layers, drop_points=drop, low_points=low, high_points=high, met=drop <= bound_points
    )


def _count(trial: DropTrial) -> int:
    return trial.float_layers


def _drop(trial: DropTrial, unit: str) -> str:
    digits = 2 if unit == POINTS else 4
    known = not math.isnan(trial.low_points)
    interval = f" (95 % interval {trial.low_points:.{digits}f} to {trial.high_points:.{digits}f})" if known else ""
    return f"{trial.drop_points:.{digits}f} {unit}{interval}"


def _bound(search_: DropSearch) -> str:
    return f"--max-drop {search_.bound_points:g}"
