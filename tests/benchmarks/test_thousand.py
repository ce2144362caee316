"""The simulation of many workers: what can be said without it in three cases, and what a run gives it."""

from __future__ import annotations

import pytest

from tests.benchmarks.thousand import Costs, Run, costs_of, page, simulate

EVEN = Costs(first=10.0, models=(2.0,), command=0.0)


@pytest.mark.parametrize(
    ("costs", "models", "workers", "seconds"),
    [
        (EVEN, 1, 1, 10.0),
        (EVEN, 11, 1, 10.0 + 10 * 2.0),
        (EVEN, 20, 10, 10.0 + 2.0),
        (EVEN, 5, 100, 10.0),
        (Costs(first=10.0, models=(2.0,), command=1.0), 100, 100, 10.0 + 100 * 1.0),
    ],
    ids=["one", "one-worker", "ten-workers", "more-workers-than-models", "command-is-slowest"],
)
def test_what_is_known_without_it(costs: Costs, models: int, workers: int, seconds: float) -> None:
    assert simulate(costs, models=models, workers=workers) == pytest.approx(seconds)


def test_more_workers_are_never_slower() -> None:
    costs = Costs(first=8.0, models=(1.0, 2.0, 5.0), command=0.01)
    times = [simulate(costs, models=1000, workers=workers) for workers in (1, 10, 100, 1000)]
    assert times == sorted(times, reverse=True)


def test_costs_of_two_runs() -> None:
    small = Run(arrivals=(8.0, 9.0), wall_seconds=10.0, command_seconds=1.0)
    large = Run(arrivals=(8.0, 9.0, 11.0, 12.0), wall_seconds=13.0, command_seconds=1.5)
    found = costs_of(small, large)
    assert found == Costs(first=8.0, models=(1.0, 2.0, 1.0), command=0.25)
    assert "simulated as 50 s, and took 40 s (1.25)" in page(found, (200, 2, 50.0, 40.0))
