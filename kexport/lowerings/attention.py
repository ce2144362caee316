"""Einsum layers and attention: turned, multiplied as matrices, turned back."""

from __future__ import annotations

from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from kexport.errors import UnsupportedError
from kexport.lowerings import Builder, Value, lowers, quantized, require, weights
from kexport.lowerings.activations import LOWEST, activate, is_linear
from kexport.lowerings.primitives import binary, constant_for, reshape, scale_shift, sizes, softmax, transpose
from kexport.operations import BinaryKind, Dense, MatMul, Select, Take, Weights


@lowers("layer", "EinsumDense")
def einsum_dense(build: Builder, layer: Any, value: Value) -> Value:
    """`keras.layers.EinsumDense` where each letter of the kernel is summed over or is a new one of the output."""
    last = "" if is_linear(layer) else "product"
    bias = weights(layer.bias) if layer.bias is not None else None
    product = _einsum(build, layer, value, weights(layer.kernel), part=last if bias is None else "sum")
    if bias is not None:
        product = binary(build, BinaryKind.ADD, product, bias, part=last)
    return activate(build, layer, product)


def _einsum(build: Builder, layer: Any, value: Value, kernel: Weights, part: str) -> Value:
    source, inner, target = _letters(layer, len(value.shape))
    summed = [letter for letter in inner if letter in source and letter not in target]
    new = [letter for letter in inner if letter not in source]
    kept = [letter for letter in target if letter in source]
    simple = set(source) == {*kept, *summed} and set(inner) == {*summed, *new} and kept[:1] == [source[0]]
    require(simple and target[0] == source[0], layer, f"the equation {layer.equation!r}")
    turned = transpose(build, value, [source.index(letter) for letter in [*kept, *summed]], part="turned")
    lengths = {letter: kernel.shape[place] for place, letter in enumerate(inner)}
    rows, columns = prod(lengths[letter] for letter in summed), prod(lengths[letter] for letter in new)
    kept_sizes = sizes(turned)[: len(kept) - 1]
    matrix = kernel.transpose([inner.index(letter) for letter in [*summed, *new]]).reshape(rows, columns)
    flat = reshape(build, turned, (*kept_sizes, rows), part="rows")
    made = [*kept, *new]
    order = [made.index(letter) for letter in target]
    straight, shape = made == list(target), (*kept_sizes, *(lengths[letter] for letter in new))
    folded = shape != (*kept_sizes, columns)
    product = build.emit(
        Dense(kernel=np.ascontiguousarray(matrix)), flat, part=part if straight and not folded else "matrix"
    )
    apart = reshape(build, product, shape, part=part if straight else "apart")
    return transpose(build, apart, order, part=part)


def _letters(layer: Any, rank: int) -> tuple[str, str, str]:
    """The equation's three terms, with letters for its ellipsis."""
    terms, target = layer.equation.replace(" ", "").split("->")
    source, inner = terms.split(",")
    free = [letter for letter in ascii_letters if letter not in layer.equation]
    dots = "".join(free[: rank - len(source.replace("...", ""))])
    return source.replace("...", dots), inner, target.replace("...", dots)


@lowers("layer", "MultiHeadAttention")
def multi_head_attention(
    build: Builder,
    layer: Any,
    query: Value,
    value: Value,
    key: Value | None = None,
    *,
    return_attention_scores: bool = False,
) -> Value | tuple[Value, Value]:
    """`keras.layers.MultiHeadAttention` of sequences ``(N, T, C)``, without a mask (Vaswani et al. 2017).

    The factor ``1 / sqrt(key_dim)`` goes into the weights of the query.
    """
    key = value if key is None else key
    _require_plain(layer, query, key, value)
    factor = 1.0 / float(np.sqrt(layer.key_dim))
    queries = _heads(build, layer, "query", query, (0, 2, 1, 3), factor=factor)
    keys = _heads(build, layer, "key", key, (0, 2, 3, 1))
    values = _heads(build, layer, "value", value, (0, 2, 1, 3))
    scores = softmax(build, build.emit(MatMul(), queries, keys, part="logits"), [-1], part="scores")
    mixed = transpose(build, build.emit(MatMul(), scores, values, part="mixed"), (0, 2, 1, 3), part="turned")
    rows = reshape(build, mixed, (sizes(mixed)[0], prod(sizes(mixed)[1:])), part="rows")
    result = build.emit(_projection(layer._output_dense, inputs=2), rows)  # noqa: SLF001 - no public name exists
    return (result, scores) if return_attention_scores else result


@lowers("operation", "DotProductAttention")
def dot_product_attention(
    build: Builder,
    operation: Any,
    query: Value,
    key: Value,
    value: Value,
    *,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
) -> Value:
    """`keras.ops.dot_product_attention` of ``(N, T, heads, size)``; fewer heads of keys are repeated."""
    require(operation.attn_logits_soft_cap is None, operation, "a soft cap")
    length, heads, size = sizes(query)
    steps, few, _ = sizes(key)
    if few != heads:
        places = tuple(int(place) for place in np.repeat(np.arange(few), heads // few))
        key, value = (build.emit(Take(axis=2, places=places), each, part="repeated") for each in (key, value))
    factor = 1.0 / float(np.sqrt(size)) if scale is None else float(scale)
    scaled = scale_shift(build, query, factor, 0.0, part="scaled")
    rows = transpose(build, scaled, (0, 2, 1, 3), part="query")
    columns = transpose(build, key, (0, 2, 3, 1), part="key")
    logits = build.emit(MatMul(), rows, columns, part="logits")
    if bias is not None:
        logits = binary(build, BinaryKind.ADD, logits, bias, part="biased")
    if mask is not None:
        logits = _masked(build, logits, mask)
    if operation.is_causal:
        triangle = np.tril(np.ones((length, steps), bool), k=steps - length)
        logits = _masked(build, logits, triangle)
    scores = softmax(build, logits, [-1], part="scores")
    mixed = build.emit(MatMul(), scores, transpose(build, value, (0, 2, 1, 3), part="value"), part="mixed")
    return transpose(build, mixed, (0, 2, 1, 3))


def _masked(build: Builder, logits: Value, mask: Any) -> Value:
    """A very small number where the mask is 0."""
    if isinstance(mask, Value):
        return build.emit(Select(otherwise=np.full(1, LOWEST, np.float32)), mask, logits, part="masked")
    hidden = np.where(constant_for(mask, logits) != 0, np.float32(0), np.float32(LOWEST))
    return binary(build, BinaryKind.ADD, logits, hidden, part="masked")


def _require_plain(layer: Any, *values: Value) -> None:
    require(all(len(value.shape) == 3 for value in values), layer, f"attention over {values[0].shape}")
    projections = (layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense)  # noqa: SLF001
    require(not any(map(quantized, projections)), layer, "attention that Keras has quantized")
    for option in ("_use_gate", "_sliding_window"):
        require(not getattr(layer, option, None), layer, option.strip("_"))


def _heads(
    build: Builder, layer: Any, name: str, value: Value, order: tuple[int, ...], *, factor: float = 1.0
) -> Value:
    """``(N, T, C)`` projected to ``(N, T, heads, size)`` and turned."""
    dense = getattr(layer, f"_{name}_dense")
    projection = _projection(dense, inputs=1, factor=factor)
    heads = weights(dense.kernel).shape[1:]
    product = build.emit(projection, value, part=name)
    apart = reshape(build, product, (sizes(value)[0], *heads), part=f"{name}/heads")
    return transpose(build, apart, order, part=f"{name}/turned")


def _projection(dense: Any, *, inputs: int, factor: float = 1.0) -> Dense:
    """The einsum layer as a matrix; its first ``inputs`` axes are summed over."""
    kernel = weights(dense.kernel)
    if kernel.ndim != 3:
        raise UnsupportedError(f"layer {dense.name!r}: a kernel of shape {kernel.shape}, expected three axes")
    matrix = kernel.reshape(prod(kernel.shape[:inputs]), -1)
    bias = None if dense.bias is None else weights(dense.bias).reshape(-1)
    scaled = (np.ascontiguousarray(matrix * np.float32(factor)), None if bias is None else bias * np.float32(factor))
    return Dense(kernel=scaled[0], bias=scaled[1])
