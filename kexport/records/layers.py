"""A file against Keras, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerNoise:
    """One tensor: decibels of signal over noise, and the noise that this layer adds as a share of its signal.

    ``begins`` names the layer of Keras, among those that became this tensor, in which the file begins to differ.
    """

    layer: str
    sqnr_db: float
    added: float
    begins: str = ""


@dataclass(frozen=True, kw_only=True)
class LayersRecord:
    """What ``parity --by-layer`` found last, in the order of Keras."""

    tolerance_db: float
    layers: tuple[LayerNoise, ...]
