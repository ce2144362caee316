"""Layers of TensorFlow Model Optimization are named, with what makes a model that can be exported."""

from __future__ import annotations

from typing import Any

import pytest

from kexport.errors import SourceError
from kexport.sources.loading import config


def wrapped(kind: str, inner: str = "Conv2D") -> dict[str, Any]:
    """A configuration as Keras 2 writes it."""
    layer = {"class_name": inner, "config": {"name": "conv", "filters": 4}}
    wrapper = {"class_name": kind, "config": {"name": "quant_conv", "layer": layer}}
    return {"class_name": "Functional", "config": {"name": "aware", "layers": [wrapper]}}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("kind", "help_"),
    [
        ("QuantizeWrapperV2", "kexport export float.h5 --schemes int8"),
        ("TensorFlowModelOptimization>QuantizeLayer", "before quantize_model"),
        ("PruneLowMagnitude", "strip_pruning"),
        ("ClusterWeights", "strip_clustering"),
    ],
)
def test_a_wrapper_is_named(kind: str, help_: str, trust: bool) -> None:
    with pytest.raises(SourceError) as caught:
        config.check(wrapped(kind), told="model a.h5", trust=trust)
    leaf = kind.rpartition(">")[2]
    expected = (
        f"model a.h5: layer 'quant_conv' is a {leaf} of TensorFlow Model Optimization, which Keras 3 cannot build"
    )
    assert caught.value.message == expected
    assert help_ in caught.value.hint


def test_wrappers_of_keras_are_none_of_them() -> None:
    assert config.check(wrapped("TimeDistributed"), told="model a.h5", trust=False) == {}
