"""The values with which Keras begins a layer, before its weights are assigned: watched, or not drawn at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any


@contextmanager
def initial_values(*, zeros: bool = False, watch: Callable[[Any], None] | None = None) -> Iterator[None]:
    """How the variables of layers that are built inside begin.

    ``zeros`` where Keras would draw random numbers: drawing them costs more time than the rest of the construction,
    and leaves one and a half times the weights in TensorFlow's memory pool. ``watch`` is called with every variable
    before anything is allocated for it; what it raises ends the construction.
    """
    from keras import ops
    from keras.src.backend import Variable
    from keras.src.initializers.random_initializers import RandomInitializer

    original = Variable._initialize_with_initializer  # noqa: SLF001 - Keras has no public way to watch or skip it

    def initialize(variable: Any, initializer: Any) -> None:
        if watch is not None:
            watch(variable)
        if zeros and isinstance(initializer, RandomInitializer):
            original(variable, ops.zeros)
        else:
            original(variable, initializer)

    Variable._initialize_with_initializer = initialize  # noqa: SLF001
    try:
        yield
    finally:
        Variable._initialize_with_initializer = original  # noqa: SLF001


def float32_bytes(variable: Any) -> int:
    """What a variable takes in float32."""
    return 4 * prod(int(axis or 1) for axis in variable.shape)
