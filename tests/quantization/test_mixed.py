"""The search for the fewest float layers, with a measure that is made up: its order, its end, its words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from kexport.operations import Dense
from kexport.quantization.mixed import Mixed, problems, search, told
from kexport.quantization.plan import QuantPlan
from kexport.quantization.ranking import LayerDamage
from kexport.records import AccuracyRecord
from tests.formats.plans import Sketch

LAYERS = tuple(
    LayerDamage(
        place=place,
        name=f"layer{place}",
        kind="Conv2D",
        layers=(),
        node=f"node{place}",
        nodes=(f"node{place}", f"node{place} sum"),
        sqnr_db=float(place),
        parameters=1,
        multiplications=1,
    )
    for place in range(20)
)


def scored(drop: float | None) -> AccuracyRecord:
    drops = {} if drop is None else {"top1_drop_points": drop, "low_points": drop - 1, "high_points": drop + 1}
    return AccuracyRecord(
        images=400, labelled=drop is not None, top1_agreement=0.9, output_sqnr_db=20.0, logits_sqnr_db=20.0,
        logits_images=400, non_finite=0, **drops,
    )  # fmt: skip


class Trials:
    """Plans that know how many layers were kept in float, and the drop that is wanted for them."""

    def __init__(self, drop: Callable[[int], float]) -> None:
        self.drop, self.asked, self.ranked = drop, [], 0
        self.counts: Mapping[int, int] = {}

    def make(self, kept: frozenset[str]) -> QuantPlan:
        assert kept == {name for layer in LAYERS[: len(kept) // 2] for name in layer.nodes}
        self.asked.append(len(kept) // 2)
        sketch = Sketch((2,))
        sketch("dense", Dense(kernel=np.eye(2, dtype=np.float32)), "in0")
        plan = QuantPlan(graph=sketch.graph(), values={}, kernels={}, precisions={})
        self.counts = {**self.counts, id(plan): len(kept) // 2}
        self.kept = [*getattr(self, "kept", []), plan]
        return plan

    def measure(self, plan: QuantPlan) -> AccuracyRecord:
        return scored(self.drop(self.counts[id(plan)]))

    def rank(self) -> tuple[LayerDamage, ...]:
        self.ranked += 1
        return LAYERS

    def search(self, bound: float) -> Mixed:
        return search(bound, make=self.make, measure=self.measure, rank=self.rank)


def test_int8_comes_first_and_nothing_is_ranked_if_it_is_enough() -> None:
    trials = Trials(lambda _: 0.5)
    found = trials.search(0.5)
    assert (trials.asked, trials.ranked, found.search.met, found.search.float_layers) == ([0], 0, True, ())
    assert list(problems(found.search, scored(0.5))) == []
    assert told(found.search) == (
        "top-1 drop of 0.50 points (95 % interval -0.50 to 1.50) is inside --max-drop 0.5 with the int8 plan as it is"
        "; the interval reaches beyond it: more evaluation images would narrow it"
    )


@pytest.mark.parametrize(
    ("needed", "asked"),
    [
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (3, [0, 1, 2, 4, 3]),
        (5, [0, 1, 2, 4, 8, 6, 5]),
        (7, [0, 1, 2, 4, 8, 6, 7]),
        (8, [0, 1, 2, 4, 8, 6, 7]),
        (9, [0, 1, 2, 4, 8, 10, 9]),
        (10, [0, 1, 2, 4, 8, 10, 9]),
    ],
)
def test_counts_are_doubled_then_halved_to_the_fewest(needed: int, asked: list[int]) -> None:
    trials = Trials(lambda count: 2.0 - 0.1 * count if count < needed else 0.25)
    found = trials.search(0.5)
    assert trials.asked == asked
    assert (found.search.met, found.search.layers, trials.ranked) == (True, 20, 1)
    assert found.search.float_layers == tuple(layer.name for layer in LAYERS[:needed])
    assert trials.counts[id(found.plan)] == needed
    assert [trial.float_layers for trial in found.search.trials] == asked
    assert found.search.taken.drop_points == 0.25
    assert found.search.taken.met


def test_the_best_plan_is_kept_where_the_bound_cannot_be_met() -> None:
    drops = {0: 3.0, 1: 2.0, 2: 1.0, 4: 1.5, 8: 1.0, 10: 1.25}
    trials = Trials(drops.__getitem__)
    found = trials.search(0.5)
    assert trials.asked == [0, 1, 2, 4, 8, 10], "up to half of the layers"
    assert (found.search.met, found.search.float_layers) == (False, ("layer0", "layer1"))
    assert trials.counts[id(found.plan)] == 2, "of two as good ones the one with fewer float layers"
    (problem,) = problems(found.search, scored(9.0))
    assert problem == (
        "--max-drop 0.5 was not met: the least top-1 drop is 1.00 points (95 % interval 0.00 to 2.00); "
        "drop in points with float32 layers: 3.00 with 0, 2.00 with 1, 1.00 with 2, 1.50 with 4, 1.00 with 8, "
        "1.25 with 10, of 20, at most half of which are left in float32"
    )
    assert told(found.search) == (
        "top-1 drop of 1.00 points (95 % interval 0.00 to 2.00) exceeds --max-drop 0.5 "
        "with 2 of 20 layers in float32: layer0, layer1"
    )


def test_a_drop_that_is_not_a_number_is_never_inside() -> None:
    trials = Trials(lambda count: math.nan if count else 9.0)
    found = trials.search(100.0)
    assert found.search.met, "9 points are inside 100"
    trials = Trials(lambda count: math.nan if count != 4 else 9.0)
    found = trials.search(1.0)
    assert (found.search.met, len(found.search.float_layers)) == (False, 4), "NaN is behind every number"


def test_a_gain_is_inside_zero() -> None:
    found = Trials(lambda _: -0.25).search(0.0)
    assert found.search.met


def test_each_file_is_held_to_the_bound() -> None:
    found = Trials(lambda _: 0.5).search(0.5).search
    assert list(problems(found, scored(0.75))) == [
        "the top-1 drop of this file is 0.75 points (95 % interval -0.25 to 1.75), the bound is --max-drop 0.5"
    ]
    assert len(list(problems(found, scored(math.nan)))) == 1
    assert list(problems(found, None)) == list(problems(None, scored(9.0))) == []
