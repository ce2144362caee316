"""All passes together: fewer nodes on the blocks that networks are made of, and the order that this needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kexport.lowerings.model import lower_model
from kexport.operations import Activation
from kexport.passes import optimize


def _conv_block(k: Any, x: Any) -> Any:
    padded = k.layers.ZeroPadding2D(1)(x)
    return k.layers.ReLU(6.0)(k.layers.BatchNormalization()(k.layers.Conv2D(4, 3, use_bias=False)(padded)))


def _inception_residual(k: Any, x: Any) -> Any:
    branch = k.layers.Conv2D(3, 1)(x)
    return k.layers.ReLU()(k.layers.Add()([x, branch * 0.2]))


def _hard_gate(k: Any, x: Any) -> Any:
    gate = k.layers.GlobalAveragePooling2D()(x)
    gate = k.layers.Conv2D(3, 1)(k.layers.Reshape((1, 1, 3))(gate))
    return k.layers.Multiply()([x, k.layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)])


def _stem(k: Any, x: Any) -> Any:
    scaled = k.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(k.layers.Rescaling(0.5)(x))
    return k.layers.Conv2D(4, 3)(scaled)


BLOCKS = {
    "pad, convolution, norm, relu6": (_conv_block, ["Conv"]),
    "scaled residual": (_inception_residual, ["Conv", "Add"]),
    "hard gate": (_hard_gate, ["GlobalPool", "Conv", "Activate", "Multiply"]),
    "rescaling and normalisation": (_stem, ["Conv"]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_becomes_as_few_nodes_as_it_can(name, interpret, seeded):
    import keras

    make, kinds = BLOCKS[name]
    x = keras.Input((8, 8, 3))
    before = lower_model(seeded(keras.Model(x, make(keras, x))))
    after = optimize(before)
    assert [type(node.operation).__name__ for node in after] == kinds
    images = {"input": np.random.default_rng(2).normal(size=(2, 8, 8, 3))}
    want, have = interpret(before, images)["output"], interpret(after, images)["output"]
    np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5 * want.std())


def test_optimizing_twice_changes_nothing(seeded):
    import keras

    x = keras.Input((8, 8, 3))
    once = optimize(lower_model(seeded(keras.Model(x, _conv_block(keras, x)))))
    assert optimize(once).nodes == once.nodes


def test_a_fused_node_names_all_layers_that_it_stands_for(seeded):
    import keras

    x = keras.Input((8, 8, 3), name="image")
    model = seeded(keras.Model(x, _conv_block(keras, x)))
    (node,) = optimize(lower_model(model))
    assert list(node.layers) == [layer.name for layer in model.layers[1:]]
    assert node.name == model.layers[-1].name
    assert node.operation.activation is Activation.RELU6
