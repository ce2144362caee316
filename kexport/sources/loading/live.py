"""Models of a Python program: used where they are, and left as they were.

No file is made of such a model: its classes, its Lambdas and what these remember need none. Whatever running it and
reading its layers changes is put back: variables, the notes that layers keep of their calls, the compiled prediction,
the numbers that Keras gives to new layers, and the state of random numbers.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_COUNTERS, _SEEDS = "object_name_uids", "global_seed_generator"


def is_model(value: Any) -> bool:
    """Whether ``value`` is a `keras.Model`; Keras is not imported to find out."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)


def name(model: Any) -> str:
    """What its artifacts are called: the model's name, with a letter that no file should have made an underscore."""
    return re.sub(r"[^\w.-]", "_", model.name).lstrip(".") or "model"


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Whatever runs inside, ``model`` and what Keras and numpy remember are afterwards as they were."""
    with _calls(model), _attributes(model), _variables(model), _counters(), random_numbers():
        yield


@contextmanager
def _calls(model: Any) -> Iterator[None]:
    layers = list(model._flatten_layers())  # noqa: SLF001 - enters nested models
    marks = [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers]  # noqa: SLF001
    try:
        yield
    finally:
        for layer, made, read in marks:
            del layer._inbound_nodes[made:], layer._outbound_nodes[read:]  # noqa: SLF001


@contextmanager
def _attributes(model: Any) -> Iterator[None]:
    """Its name, and the compiled prediction."""
    kept = {each: getattr(model, each, None) for each in ("name", "predict_function")}
    try:
        yield
    finally:
        for each, value in kept.items():
            if getattr(model, each, None) is not value:
                setattr(model, each, value)


@contextmanager
def _variables(model: Any) -> Iterator[None]:
    """Every variable: weights, statistics, counters and states of a user's own layers, seeds."""
    seeds = _global(_SEEDS)
    variables = [*model.variables, *([seeds.state] if seeds is not None else [])]
    before = [np.asarray(variable).copy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            if np.asarray(variable).tobytes() != value.tobytes():
                variable.assign(value)


@contextmanager
def _counters() -> Iterator[None]:
    """The next layer of the program gets the name that it would have had."""
    from keras.src.backend.common import global_state

    counters = _global(_COUNTERS)
    kept = None if counters is None else counters.copy()
    try:
        yield
    finally:
        global_state.set_global_attribute(_COUNTERS, kept)


def _global(attribute: str) -> Any:
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute(attribute)


@contextmanager
def random_numbers() -> Iterator[None]:
    """Those that the program draws next are what they would have been."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - what the program uses
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
