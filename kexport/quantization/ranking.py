"""How much quantizing each layer alone hurts a network: the values that `kexport sensitivity` shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerDamage:
    """One layer quantized with what follows it up to the next layer, all else in float32.

    ``name`` is the Keras layer with the weights and ``kind`` its class, ``layers`` all Keras layers that the ``node``
    of the quantized graph stands for, ``nodes`` all that was quantized; ``place`` counts layers from the input, from 0.
    ``sqnr_db`` is the signal-to-quantization-noise ratio of the logits (``x - mean(x)`` before a softmax), infinite
    where nothing changed, NaN where the quantized layer gave NaN; of several outputs the worst. ``multiplications``
    are per image.
    """

    place: int
    name: str
    kind: str
    layers: tuple[str, ...]
    node: str
    nodes: tuple[str, ...]
    sqnr_db: float
    parameters: int
    multiplications: int

    @property
    def noise(self) -> float:
        """Noise power over signal power at the logits; infinite where it is NaN."""
        return math.inf if math.isnan(self.sqnr_db) else 10 ** (-self.sqnr_db / 10)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Every layer that int8 would quantize, in the order of the network, and on how many images it was tried.

    ``calibration`` is what was asked for, ``notes`` warnings about its images. ``source`` has the words that name the
    model on the command line; none where only a program has it.
    """

    model: str
    calibration: str
    images: int
    layers: tuple[LayerDamage, ...]
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()

    @property
    def worst_first(self) -> tuple[LayerDamage, ...]:
        """The layers by damage; equal ones in the order of the network."""
        return worst_first(self.layers)

    def noise_share(self, layer: LayerDamage) -> float:
        """The layer's part of the noise of all layers together, as if they added up; NaN if that is infinite."""
        total = sum(each.noise for each in self.layers)
        return layer.noise / total if 0 < total < math.inf else math.nan if total else 0.0

    def parameter_share(self, layer: LayerDamage) -> float:
        """The layer's part of the weights of all layers."""
        return layer.parameters / max(1, sum(each.parameters for each in self.layers))


def worst_first(layers: Iterable[LayerDamage]) -> tuple[LayerDamage, ...]:
    """The layers by damage; equal ones in the order of the network."""
    return tuple(sorted(layers, key=lambda layer: (-layer.noise, layer.place)))
