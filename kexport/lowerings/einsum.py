"""`keras.ops.einsum`, and products of values whose axes do not lie as a matrix product wants them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from kexport.lowerings import Builder, Value, lowers, refuse, require
from kexport.lowerings.joining import as_value
from kexport.lowerings.primitives import Operand, constant_for, reduce, reshape, sizes, transpose
from kexport.operations import Dense, MatMul, ReduceKind, Weights


@lowers("operation", "Einsum")
def einsum(build: Builder, operation: Any, *operands: Operand) -> Value:
    """Pairs from the left, each as one matrix product; the first letter of every value is the batch."""
    terms, target = _terms(operation, operands)
    like = next(each for each in operands if isinstance(each, Value))
    values: list[Operand] = [
        each if isinstance(each, Value) else _plain(each, like, term)
        for each, term in zip(operands, terms, strict=True)
    ]
    batch = terms[operands.index(like)][0]
    require(target[:1] == batch, operation, f"the equation {operation.subscripts!r}, which moves the batch,")
    value, letters = values[0], terms[0]
    for number, (other, term) in enumerate(zip(values[1:], terms[1:], strict=True), start=2):
        last = number == len(values)
        wanted = target if last else _needed(letters, term, "".join(terms[number:]) + target)
        part = "" if last else f"pair{number}"
        value = product(build, operation, (value, letters), (other, term), target=wanted, batch=batch, part=part)
        letters = wanted
    if not isinstance(value, Value):
        raise refuse(operation, "constants alone")
    return value if len(values) > 1 else _alone(build, value, letters, target)


def _plain(constant: Operand, like: Value, term: str) -> Weights:
    array = constant_for(constant, like)
    return array[0] if array.ndim == len(term) + 1 else array


def _needed(left: str, right: str, later: str) -> str:
    return "".join(letter for letter in dict.fromkeys(left + right) if letter in later)


def _alone(build: Builder, value: Value, letters: str, target: str) -> Value:
    """A transposition, after sums over what the target lacks."""
    gone = [place for place, letter in enumerate(letters) if letter not in target]
    if gone:
        value = reduce(build, ReduceKind.SUM, value, gone, keepdims=False, part="sum")
        letters = "".join(letter for letter in letters if letter in target)
    return transpose(build, value, [letters.index(letter) for letter in target])


def _terms(operation: Any, operands: Sequence[Operand]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, an ellipsis spelt out."""
    equation = operation.subscripts.replace(" ", "")
    require("->" in equation, operation, f"the equation {equation!r} without its result")
    left, target = equation.split("->")
    terms = left.split(",")
    free = [letter for letter in ascii_letters if letter not in equation]
    longest = ""
    for number, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        rank = len(operand.shape) if isinstance(operand, Value) else np.ndim(np.asarray(operand))
        dots = "".join(free[: rank - len(term.replace("...", ""))]) if "..." in term else ""
        longest = max(longest, dots, key=len)
        terms[number] = term.replace("...", dots)
    repeated = any(len(set(term)) != len(term) for term in terms)
    require(not repeated, operation, f"the equation {equation!r} with a diagonal")
    return terms, target.replace("...", longest)


Side = tuple[Operand, str]


def product(
    build: Builder, operation: Any, left: Side, right: Side, *, target: str, batch: str, part: str = ""
) -> Value:
    """Two operands as one matrix product, its rows and columns what each of them has alone."""
    if not isinstance(left[0], Value):
        left, right = right, left
    value, letters = left
    if not isinstance(value, Value):
        raise refuse(operation, "a product of constants")
    require(letters[0] == batch, operation, f"the equation {operation.subscripts!r}, where the batch is not first,")
    other, term = right
    if not isinstance(other, Value) and any(letter in letters and letter in target for letter in term):
        array = np.asarray(other, np.float32)
        other = as_value(build, array, value, rank=array.ndim + 1)
        term = batch + term
    if isinstance(other, Value):
        require(term[0] == batch, operation, f"the equation {operation.subscripts!r}, where the batch is not first,")
    value, letters = _summed(build, value, letters, term + target, "left")
    if isinstance(other, Value):
        other, term = _summed(build, other, term, letters + target, "right")
        return _values(build, (value, letters), (other, term), target=target, batch=batch, part=part)
    return _kernel(build, (value, letters), (np.asarray(other, np.float32), term), target, part)


def _summed(build: Builder, value: Value, letters: str, elsewhere: str, part: str) -> tuple[Value, str]:
    gone = [place for place, letter in enumerate(letters) if letter not in elsewhere]
    if not gone:
        return value, letters
    made = reduce(build, ReduceKind.SUM, value, gone, keepdims=False, part=f"{part}/sum")
    return made, "".join(letter for letter in letters if letter in elsewhere)


def _kernel(build: Builder, left: tuple[Value, str], right: tuple[Weights, str], target: str, part: str) -> Value:
    """A value times a constant that shares only what is summed over: a dense layer."""
    (value, letters), (kernel, term) = left, right
    gone = "".join(letter for letter in term if letter not in target and letter not in letters)
    if gone:
        kernel = kernel.sum(axis=tuple(term.index(letter) for letter in gone))
        term = "".join(letter for letter in term if letter not in gone)
    summed = [letter for letter in term if letter in letters]
    kept = [letter for letter in letters if letter not in summed]
    new = [letter for letter in term if letter not in summed]
    lengths = dict(zip(term, kernel.shape, strict=True))
    rows, columns = prod(lengths[each] for each in summed), prod(lengths[each] for each in new)
    turned = transpose(build, value, [letters.index(each) for each in (*kept, *summed)], part="left/turned")
    outer = sizes(turned)[: len(kept) - 1]
    flat = reshape(build, turned, (*outer, rows), part="left/rows")
    matrix = kernel.transpose([term.index(each) for each in (*summed, *new)]).reshape(rows, columns)
    made = build.emit(Dense(kernel=np.ascontiguousarray(matrix)), flat, part="matrix")
    apart = reshape(build, made, (*outer, *(lengths[each] for each in new)), part="apart")
    letters = "".join((*kept, *new))
    return transpose(build, apart, [letters.index(each) for each in target], part=part)


def _values(
    build: Builder, left: tuple[Value, str], right: tuple[Value, str], *, target: str, batch: str, part: str
) -> Value:
    """Two values: axes of both that stay come first, those that are summed over meet."""
    (first, letters), (second, term) = left, right
    both = [each for each in letters if each in term and each in target and each != batch]
    summed = [each for each in letters if each in term and each not in target]
    rows = [each for each in letters if each not in term]
    columns = [each for each in term if each not in letters]
    lengths = dict(zip(letters, first.shape, strict=True)) | dict(zip(term, second.shape, strict=True))

    def size(names: Sequence[str]) -> int:
        return prod(lengths[each] or 0 for each in names)

    def matrix(value: Value, own: str, before: list[str], after: list[str], label: str) -> Value:
        order = [own.index(each) for each in (batch, *both, *before, *after)]
        turned = transpose(build, value, order, part=f"{label}/turned")
        shape = (*(lengths[each] or 0 for each in both), size(before), size(after))
        return reshape(build, turned, shape, part=f"{label}/matrix")

    made = build.emit(
        MatMul(),
        matrix(first, letters, rows, summed, "left"),
        matrix(second, term, summed, columns, "right"),
        part="matrix",
    )
    whole = [*both, *rows, *columns]
    apart = reshape(build, made, [lengths[each] or 0 for each in whole], part="apart")
    order = [0, *(1 + whole.index(each) for each in target[1:])]
    return transpose(build, apart, order, part=part)
