"""Layers that TensorFlow Model Optimization wraps around others for training; Keras 3 has none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kexport.errors import SourceError

_QUANTIZED = "the model as it was before quantize_model: kexport export float.h5 --schemes int8 --calibration photos"
_HINTS = {
    **dict.fromkeys(("QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer", "QuantizeAnnotate"), _QUANTIZED),
    "PruneLowMagnitude": 'tfmot.sparsity.keras.strip_pruning(model).save("model.h5") where the model was trained',
    "ClusterWeights": 'tfmot.clustering.keras.strip_clustering(model).save("model.h5") where the model was trained',
}


def refuse(value: Mapping[str, Any], layer: str, *, told: str) -> None:
    """Raise SourceError, with the layer's name and what to do, if the object is such a layer; trust does not help."""
    kind = value["class_name"].rpartition(">")[2]
    if kind in _HINTS:
        raise SourceError(
            f"{told}: layer {layer!r} is a {kind} of TensorFlow Model Optimization, which Keras 3 cannot build",
            hint=_HINTS[kind],
        )
