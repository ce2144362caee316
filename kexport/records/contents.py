"""What a model file says of itself, whoever has written it: read without running it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kexport.records.source import Preprocessing, Signature


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant of a file. ``layer`` is what the first operator that computes with it makes, in the file's words."""

    name: str
    layer: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Signature, operators by count, constants and metadata of a file.

    ``places`` names, for each operator, what the first of them makes: with kexport's files the name of its layer.
    ``metadata`` are the entries that are text, ``others`` the sizes of those that are not. ``ends`` says for each
    output whether a ``softmax`` or a ``sigmoid`` makes it; empty text where something else does. ``values`` counts the
    computed values by type where the file states it. ``stored`` are the scale and the zero point of quantized inputs
    and outputs.
    ``contract`` and ``labels`` are those of a standard that the format has for them; ``notes`` say what is damaged.
    """

    producer: str
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    operations: dict[str, int]
    weights: tuple[Weight, ...]
    places: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    stored: dict[str, tuple[float, int]] = field(default_factory=dict)
    contract: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    opset: int | None = None
    notes: tuple[str, ...] = ()
