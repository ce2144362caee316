"""The values with which Keras begins a layer, before its weights are assigned: watched, or not made at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any

from kexport.sources import backend

IMMUTABLE = (backend.TENSORFLOW, "jax")
"""Backends whose variables share a value until one of them is assigned another: none writes into it."""


@contextmanager
def initial_values(*, zeros: bool = False, watch: Callable[[Any], None] | None = None) -> Iterator[None]:
    """How the variables of layers that are built inside begin.

    ``zeros`` where Keras would draw random numbers: drawing them costs more time than the rest of the construction,
    and leaves one and a half times the weights in TensorFlow's memory pool. Variables of a shape that begin alike then
    share one value, where the backend never writes into it. ``watch`` is called with every variable before anything is
    allocated for it; what it raises ends the construction.
    """
    from keras.src.backend import Variable

    original = Variable._initialize_with_initializer  # noqa: SLF001 - Keras has no public way to watch or skip it
    fills, shared = _fills(), cache(lambda fill, shape, dtype: fill(shape, dtype=dtype))
    make: Callable[..., Any] = shared if backend.chosen() in IMMUTABLE else shared.__wrapped__

    def initialize(variable: Any, initializer: Any) -> None:
        if watch is not None:
            watch(variable)
        fill = next((fill for kind, fill in fills if isinstance(initializer, kind)), None) if zeros else None
        if fill is None:
            original(variable, initializer)
        else:
            original(variable, lambda shape, dtype: make(fill, tuple(shape), dtype))

    Variable._initialize_with_initializer = initialize  # noqa: SLF001
    try:
        yield
    finally:
        Variable._initialize_with_initializer = original  # noqa: SLF001


def _fills() -> tuple[tuple[type, Callable[..., Any]], ...]:
    """What the variables of an initializer are filled with, where nothing is drawn."""
    from keras import ops
    from keras.src.initializers.constant_initializers import Ones, Zeros
    from keras.src.initializers.random_initializers import RandomInitializer

    return (RandomInitializer, ops.zeros), (Zeros, ops.zeros), (Ones, ops.ones)


def float32_bytes(variable: Any) -> int:
    """What a variable takes in float32."""
    return 4 * prod(int(axis or 1) for axis in variable.shape)
