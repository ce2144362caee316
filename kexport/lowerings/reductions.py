"""`keras.ops` that reduce axes: sums, extremes, norms, spreads."""

from __future__ import annotations

from typing import Any

from kexport.lowerings import Builder, Value, lowers, require
from kexport.lowerings.primitives import (
    binary,
    reduce,
    reshape,
    standardised_parts,
    unary,
)
from kexport.lowerings.selection import truth
from kexport.operations import BinaryKind, Function, ReduceKind


def _reduction(kind: ReduceKind) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        require(getattr(operation, "initial", None) is None, operation, "an initial value")
        return reduce(build, kind, value, reduced_axes(operation, value), keepdims=operation.keepdims)

    return lower


def reduced_axes(operation: Any, value: Value) -> list[int]:
    """The axes of a reduction, which must leave the batch."""
    axes = [operation.axis] if isinstance(operation.axis, int) else operation.axis
    inside = axes is not None and all(axis % len(value.shape) for axis in axes)
    require(inside, operation, "a reduction over the batch")
    return list(axes)


for _kind, *_classes in (
    (ReduceKind.MEAN, "Mean"),
    (ReduceKind.SUM, "Sum"),
    (ReduceKind.MAXIMUM, "Max", "Amax"),
    (ReduceKind.MINIMUM, "Min", "Amin"),
    (ReduceKind.PRODUCT, "Prod"),
):
    lowers("operation", *_classes)(_reduction(_kind))


@lowers("operation", "Var", "Std")
def ops_variance(build: Builder, operation: Any, value: Value) -> Value:
    """The mean square of what is left without the mean."""
    axes, root = reduced_axes(operation, value), type(operation).__name__ == "Std"
    square = standardised_parts(build, value, axes)
    mean = reduce(build, ReduceKind.MEAN, square, axes, keepdims=operation.keepdims, part="variance" if root else "")
    return unary(build, Function.SQUARE_ROOT, mean) if root else mean


@lowers("operation", "Logsumexp")
def ops_logsumexp(build: Builder, operation: Any, value: Value) -> Value:
    """``max + log(sum(exp(x - max)))``."""
    axes = reduced_axes(operation, value)
    largest = reduce(build, ReduceKind.MAXIMUM, value, axes, part="maximum")
    powers = unary(build, Function.EXPONENTIAL, binary(build, BinaryKind.SUBTRACT, value, largest, "centred"), "powers")
    total = unary(build, Function.LOGARITHM, reduce(build, ReduceKind.SUM, powers, axes, part="sum"), "logarithm")
    kept = binary(build, BinaryKind.ADD, total, largest, part="" if operation.keepdims else "kept")
    return kept if operation.keepdims else reshape(build, kept, [int(each or 0) for each in build.stated[0][1:]])


def _quantifier(kind: ReduceKind) -> Any:
    def lower(build: Builder, operation: Any, value: Value) -> Value:
        asked = truth(build, value, "truth")
        assert isinstance(asked, Value), "a value was asked for"
        return reduce(build, kind, asked, reduced_axes(operation, value), keepdims=operation.keepdims)

    return lower


lowers("operation", "Any")(_quantifier(ReduceKind.MAXIMUM))


lowers("operation", "All")(_quantifier(ReduceKind.MINIMUM))


@lowers("operation", "CountNonzero")
def ops_count_nonzero(build: Builder, operation: Any, value: Value) -> Value:
    """The sum of the truths."""
    asked = truth(build, value, "truth")
    assert isinstance(asked, Value), "a value was asked for"
    return reduce(build, ReduceKind.SUM, asked, reduced_axes(operation, value), keepdims=False)


@lowers("operation", "Norm")
def ops_norm(build: Builder, operation: Any, value: Value) -> Value:
    """The Euclidean length, the sum of sizes or the largest size along axes."""
    axes, order = reduced_axes(operation, value), operation.ord
    if order in (None, 2, "fro") and (len(axes) == 1 or order != 2):
        square = unary(build, Function.SQUARE, value, part="square")
        total = reduce(build, ReduceKind.SUM, square, axes, keepdims=operation.keepdims, part="sum")
        return unary(build, Function.SQUARE_ROOT, total)
    kinds = {1: ReduceKind.SUM, float("inf"): ReduceKind.MAXIMUM}
    require(order in kinds and len(axes) == 1, operation, f"order {order}")
    size = unary(build, Function.ABSOLUTE, value, part="size")
    return reduce(build, kinds[order], size, axes, keepdims=operation.keepdims)
