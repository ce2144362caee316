"""The flow as data: a tuple of named steps, each from a state to the next, and the clock that times them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

State = TypeVar("State")


def _always(_state: Any) -> bool:
    return True


@dataclass(frozen=True)
class Step(Generic[State]):
    """One step of a flow: its name in progress lines and records, what it does, and for which states."""

    name: str
    run: Callable[[State], State]
    when: Callable[[State], bool] = _always


def _to_who_asked(step: str) -> None:
    """A worker process tells its steps on stdout."""
    print(json.dumps({"step": step}), flush=True)


@dataclass(kw_only=True)
class Clock:
    """Tells each step when it begins, and keeps how long it took; ``current`` is the one that began last."""

    seconds: dict[str, float] = field(default_factory=dict)
    hears: Callable[[str], None] = _to_who_asked
    current: str = ""

    def tell(self, name: str) -> None:
        """Say where a step is."""
        self.hears(name)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step."""
        self.current = name
        self.tell(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def follow(steps: tuple[Step[State], ...], state: State, clock: Clock) -> State:
    """The state after every step that it needs, in order."""
    for step in steps:
        if step.when(state):
            with clock.step(step.name):
                state = step.run(state)
    return state


def names(steps: tuple[Step[Any], ...]) -> tuple[str, ...]:
    """What a reader sees of a flow."""
    return tuple(step.name for step in steps)
