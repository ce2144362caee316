"""How pixels become the values that a network takes: Keras's modes by name, and the way back through layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kexport.records import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A pixel p in [0, 255] becomes ``(p * scale - mean) / std`` per channel, in ``channel_order``."""

    mode: str
    channel_order: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def limits(self) -> tuple[float, float]:
        """The range that pixels in [0, 255] have afterwards."""
        ends = [((p * self.scale - m) / s) for m, s in zip(self.mean, self.std, strict=True) for p in (0.0, 255.0)]
        return min(ends), max(ends)

    def fits(self, channels: int) -> bool:
        """Whether it can be said of so many channels: one that treats all channels alike fits any number."""
        return channels == len(self.mean) or (len(set(self.mean)) == 1 and len(set(self.std)) == 1)

    def of_channels(self, channels: int) -> Scaling:
        """The same for another number of channels, whose order is the model's own affair."""
        if channels == len(self.mean):
            return self
        return replace(self, channel_order="as trained", mean=self.mean[:1] * channels, std=self.std[:1] * channels)

    def before(self, scale: Sequence[float], shift: Sequence[float], *, reversed_order: bool) -> Scaling:
        """What to feed a model whose own layers compute ``value * scale + shift`` before this scaling is expected."""
        mean = tuple(m + b * s for m, b, s in zip(self.mean, shift, self.std, strict=True))
        std = tuple(a * s for a, s in zip(scale, self.std, strict=True))
        order = self.channel_order
        if reversed_order:
            mean, std, order = mean[::-1], std[::-1], "RGB" if order == "BGR" else "BGR"
        return replace(self, mode="own", channel_order=order, mean=mean, std=std)


# the means are those of `keras.applications.imagenet_utils`
SCALINGS: Mapping[str, Scaling] = {
    scaling.mode: scaling
    for scaling in (
        Scaling(mode="raw", channel_order="RGB", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        Scaling(mode="unit", channel_order="RGB", scale=1 / 255, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        Scaling(mode="tf", channel_order="RGB", scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0)),
        Scaling(
            mode="torch", channel_order="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        Scaling(mode="caffe", channel_order="BGR", scale=1.0, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0)),
    )
}


def unknown(channels: int) -> Scaling:
    """Nothing is done: the model does not say what it takes."""
    return Scaling(mode=UNKNOWN, channel_order="as trained", scale=1.0, mean=(0.0,) * channels, std=(1.0,) * channels)
