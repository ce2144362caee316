"""What Keras answers for inputs: on the backend that builds the model, rounded otherwise, and on other backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Inputs, and what Keras made of them: arrays by public name, the batch axis first.

    ``logits`` are the outputs with their last softmax or sigmoid left out, where that hides them. ``again`` and
    ``logits_again`` are the first rows once more, rounded otherwise (`kexport.sources.rounding`): nothing where that
    was not asked. ``layers`` are samples of what every layer gave for the first row (`layer_samples`).
    ``elsewhere`` and ``logits_elsewhere`` are outputs and logits of other backends of Keras, as ``jax/predictions``.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    logits: Mapping[str, Array] = field(default_factory=dict)
    again: Mapping[str, Array] = field(default_factory=dict)
    logits_again: Mapping[str, Array] = field(default_factory=dict)
    layers: Mapping[str, Array] = field(default_factory=dict)
    elsewhere: Mapping[str, Array] = field(default_factory=dict)
    logits_elsewhere: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for backend in self.backends:
            _require_alike(backend, self.outputs, _on(backend, self.elsewhere))
            _require_alike(backend, self.logits, _on(backend, self.logits_elsewhere))

    @property
    def backends(self) -> tuple[str, ...]:
        """The other backends that have answered."""
        return tuple(dict.fromkeys(name.partition("/")[0] for name in self.elsewhere))

    def answered_by(self, backend: str) -> Reference:
        """What another backend says of the same inputs; rounding is taken to do there what it does here."""
        outputs, logits = _on(backend, self.elsewhere), _on(backend, self.logits_elsewhere)
        return Reference(
            inputs=self.inputs,
            outputs=outputs,
            logits=logits,
            again=_moved(self.again, self.outputs, outputs),
            logits_again=_moved(self.logits_again, self.logits, logits),
        )

    def with_answers(self, backend: str, found: Reference) -> Reference:
        """This, and what a ``backend`` has ``found`` for the same inputs: its outputs, and the logits that are here."""
        logits = {f"{backend}/{name}": found.logits[name] for name in self.logits}
        outputs = {f"{backend}/{name}": array for name, array in found.outputs.items()}
        return replace(
            self,
            elsewhere={**self.elsewhere, **outputs},
            logits_elsewhere={**self.logits_elsewhere, **logits},
        )


def _require_alike(backend: str, here: Mapping[str, Array], there: Mapping[str, Array]) -> None:
    """ValueError where two backends give other outputs, or other shapes."""
    ours, theirs = ({name: array.shape for name, array in each.items()} for each in (here, there))
    if ours != theirs:
        raise ValueError(f"{backend} gives {theirs}, expected {ours}")


def _on(backend: str, found: Mapping[str, Array]) -> dict[str, Array]:
    start = f"{backend}/"
    return {name.removeprefix(start): array for name, array in found.items() if name.startswith(start)}


def _moved(again: Mapping[str, Array], here: Mapping[str, Array], there: Mapping[str, Array]) -> dict[str, Array]:
    """The rows that were rounded otherwise, moved by what the backends differ in."""
    return {
        name: rows if rows.dtype.kind != "f" else there[name][: len(rows)] + (rows - here[name][: len(rows)])
        for name, rows in again.items()
    }
