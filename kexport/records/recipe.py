"""How layers are quantized, as data: what ``--recipe`` reads, and what the record of an artifact holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_STRICT = {"extra": "forbid"}


class LayerPrecision(StrEnum):
    """How a layer computes."""

    INT8 = "int8"  # where it has such a form
    FLOAT = "float"  # float32, with what follows it up to the next layer


class LayerRange(StrEnum):
    """Which reals the 256 numbers of what a layer makes stand for."""

    FITTED = "fitted"  # those that make the least error
    EXTREMES = "extremes"  # all that was seen


class LayerKernels(StrEnum):
    """How large the int8 kernel of a layer may become; see `kexport.specs.Kernels`."""

    PORTABLE = "portable"  # no two products exceed int16: every CPU computes alike
    FULL = "full"  # the whole range: for CPUs with VNNI


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What holds for the layers that ``layer``, a name or a glob, means; what is None it says nothing of.

    Where ``optional``, a network may have no such layer, as long as another rule of the recipe means one.
    """

    __pydantic_config__ = _STRICT

    layer: str
    precision: LayerPrecision | None = None
    range: LayerRange | None = None
    kernels: LayerKernels | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.layer:
            raise ValueError("expected the name of a layer or a glob, got an empty text")
        if (self.precision or self.range or self.kernels) is None:
            raise ValueError(f"the rule of {self.layer} says nothing: expected precision, range or kernels")
        if self.precision is LayerPrecision.FLOAT and (self.range or self.kernels):
            raise ValueError(f"the rule of {self.layer}: a float layer has neither range nor kernels of int8")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Rules in order: what a later one says of a layer stands over what an earlier one says.

    ``kernels`` holds for the layers of which no rule says it, ``integer_head`` is that of ``--integer-head``.
    """

    __pydantic_config__ = _STRICT

    description: str = ""
    kernels: LayerKernels | None = None
    integer_head: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether it differs from what is usual."""
        return bool(self.rules or self.kernels or self.integer_head)
