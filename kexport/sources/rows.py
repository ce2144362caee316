"""What Keras gives for rows of inputs: its layers one after the other, several rows at once where memory allows.

A layer that is called has a cost of its own, which is most of the time of a small network; one call for several rows
shares it, and so do the rows that are rounded otherwise (`kexport.sources.rounding`). Files are run row by row: where
rows of a network meet (a mean over the batch), each is run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport.sources import final
from kexport.sources.answered import Reference
from kexport.sources.backend import settled
from kexport.sources.final import Last
from kexport.sources.keras_walk import functional, ordered_calls, output_names, run
from kexport.sources.layer_samples import Taps
from kexport.sources.loading import factory, words
from kexport.sources.loading.served import Served
from kexport.sources.rounding import Noise

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Prepare = Callable[..., None]
AT_ONCE_BYTES = 16 * 2**20
"""Of the largest value that a layer gives, all rows together."""
AGAIN = 2
"""Rows that are computed a second time, rounded otherwise."""
FEWEST = AGAIN + 1
"""Rows at once; fewer are run one by one."""
FURTHER = 3.0
"""Of what rounding does: answers that fewer rows at once move by more are those of rows that meet."""


def at_once(model: Any, count: int) -> int:
    """How many of ``count`` rows fit together; 1 where that is not known, or where the batch is fixed."""
    function = functional(model)
    if function is None or count < FEWEST:
        return 1
    shapes = [tuple(tensor.shape) for tensor in function.inputs] + list(_shapes(function))
    if any(shape[:1] != (None,) or None in shape[1:] for shape in shapes):
        return 1
    numbers = [prod(axis for axis in shape[1:] if axis is not None) for shape in shapes]
    most = AT_ONCE_BYTES // (4 * max(1, *numbers))
    return min(most, count) if most >= FEWEST else 1


def _shapes(function: Any) -> Iterator[tuple[int | None, ...]]:
    """The shape of every value, nested models entered."""
    for node in ordered_calls(function):
        nested = functional(node.operation)
        yield from _shapes(nested) if nested is not None else (tuple(tensor.shape) for tensor in node.outputs)


def alone(model: Any, given: Tensors) -> Reference:
    """Keras's outputs, what reaches their last softmax or sigmoid, and samples of the layers: one row at a time."""
    singles = [[array[row : row + 1] for array in given.values()] for row in range(len(next(iter(given.values()))))]
    if isinstance(model, Served):
        return _reference(model, given, [list(model(*values).values()) for values in singles], ())
    found, taps = final.lasts(model), Taps(model, infer)
    parts = [_run(model, singles[0], found, taps, see=taps.see)]
    parts += [_run(model, values, found, infer) for values in singles[1:]]
    return _reference(model, given, parts, tuple(found), layers=taps.samples)


def together(model: Any, given: Tensors, *, rows: int, rounding: bool) -> Reference | None:
    """As `alone`, ``rows`` at once; ``rounding``: beside the first run `AGAIN` of them once more, rounded otherwise.

    None where the model makes another number of rows of them.
    """
    found, again = final.lasts(model), AGAIN if rounding else 0
    whole = rows + again
    taps, noise = Taps(model, infer, rows=whole), Noise(seed=0, last=again, rows=whole)
    first = [np.concatenate([array[:rows], array[:again]]) for array in given.values()]
    call, moved = (noise.after(taps), noise.moved) if rounding else (taps, None)
    values = _run(model, first, found, call, see=taps.see, moved=moved)
    if any(len(value) != whole for value in values):
        return None
    parts = [[value[:rows] for value in values]]
    parts += [
        _run(model, [array[start : start + rows] for array in given.values()], found, infer)
        for start in range(rows, len(next(iter(given.values()))), rows)
    ]
    other = _reference(model, given, [[value[rows:] for value in values]], tuple(found)) if rounding else None
    return _reference(model, given, parts, tuple(found), layers=taps.samples, again=other)


def in_passing(model: Any, given: Tensors, prepare: Prepare) -> Reference:
    """As `together` for all rows at once, while ``prepare(layer, *args)`` gives every layer its weights just before."""
    count = len(next(iter(given.values())))
    found = final.lasts(model)

    def prepared(call: Any) -> Any:
        def run_it(layer: Any, *args: Any, **kwargs: Any) -> Any:
            prepare(layer, *args)
            return call(layer, *args, **kwargs)

        return run_it

    taps = Taps(model, prepared(infer), rows=count)
    ends = final.Seen(found, infer, see=taps.see)
    instead = {place: prepared(call) for place, call in ends.instead.items()}
    outputs = run(model, list(given.values()), taps, instead=instead)
    values = [np.asarray(value) for value in (*outputs, *(ends.values[name] for name in found))]
    return _reference(model, given, [values], tuple(found), layers=taps.samples)


def rounded(model: Any, given: Tensors) -> Reference:
    """The first `AGAIN` rows at once, every layer rounded otherwise."""
    found, noise, first = final.lasts(model), Noise(seed=0), [array[:AGAIN] for array in given.values()]
    parts = [_run(model, first, found, noise.after(infer), moved=noise.moved)]
    return _reference(model, given, parts, tuple(found))


def apart(model: Any, answered: Reference) -> bool:
    """Whether the first rows answer among fewer as they do among all, but for what rounding does.

    Where a last softmax or sigmoid may hide it, what reaches that is compared.
    """
    found = final.lasts(model)
    parts = [_run(model, [array[:AGAIN] for array in answered.inputs.values()], found, infer)]
    fewer = _reference(model, answered.inputs, parts, tuple(found))
    ours, theirs = ({**each.outputs, **each.logits} for each in (answered, fewer))
    again = {**answered.again, **answered.logits_again}
    return all(_near(ours[name], theirs[name], again[name]) for name in again)


def _near(ours: Array, fewer: Array, again: Array) -> bool:
    """NaN is near nothing."""
    first = ours[: len(again)].astype(np.float64)
    return bool((np.abs(fewer - first) <= FURTHER * np.abs(again - first).max()).all())


def _run(model: Any, values: Sequence[Any], found: Mapping[str, Last], call: Any, **seen: Any) -> list[Array]:
    """The outputs, then what reaches the last steps of ``found``."""
    ends = final.Seen(found, infer, **seen)
    outputs = run(model, values, call, instead=ends.instead)
    return [np.asarray(value) for value in (*outputs, *(ends.values[name] for name in found))]


def _reference(
    model: Any,
    given: Tensors,
    parts: Sequence[Sequence[Any]],
    hidden: Sequence[str],
    *,
    layers: Tensors | None = None,
    again: Reference | None = None,
) -> Reference:
    names = output_names(model)
    values = [np.concatenate([np.asarray(part[place]) for part in parts]) for place in range(len(parts[0]))]
    return Reference(
        inputs=given,
        outputs=dict(zip(names, values[: len(names)], strict=True)),
        logits=dict(zip(hidden, values[len(names) :], strict=True)),
        again=again.outputs if again is not None else {},
        logits_again=again.logits if again is not None else {},
        layers=layers or {},
    )


def infer(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """What a layer gives. Raises SourceError where a layer of the user's own, or a Lambda, raises."""
    try:
        return settled(layer(*args, **kwargs))
    except (*factory.ERRORS, NameError) as error:
        kind = type(layer)
        if kind.__module__.startswith("keras.") and kind.__name__ != "Lambda":
            raise
        raise words.of_layer(error, layer=layer.name, kind=kind.__name__) from error
