"""One patch of Keras's initializers: zeros instead of random numbers, a watch before memory is taken; put back."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.sources.weights.initial import float32_bytes, initial_values


def dense():
    import keras

    layer = keras.layers.Dense(3, bias_initializer="ones")
    layer.build((None, 5))
    return layer


def test_random_values_are_not_drawn_and_chosen_ones_stay():
    with initial_values(zeros=True):
        layer = dense()
    assert not np.any(layer.kernel.numpy())
    assert np.all(layer.bias.numpy() == 1)


def test_variables_that_begin_alike_share_a_value_until_one_is_assigned():
    with initial_values(zeros=True):
        first, second = dense(), dense()
    first.kernel.assign(np.ones((5, 3)))
    first.bias.assign_sub(np.ones(3))
    assert np.all(first.kernel.numpy() == 1)
    assert not np.any(first.bias.numpy())
    assert not np.any(second.kernel.numpy())
    assert np.all(second.bias.numpy() == 1)


def test_a_watch_sees_every_variable_with_its_size_and_changes_nothing():
    seen: list[tuple[tuple[int, ...], int]] = []
    with initial_values(watch=lambda variable: seen.append((tuple(variable.shape), float32_bytes(variable)))):
        layer = dense()
    assert seen == [((5, 3), 60), ((3,), 12)]
    assert np.any(layer.kernel.numpy())


def test_both_uses_nest_and_a_refusal_puts_everything_back():
    from keras.src.backend import Variable

    before = Variable._initialize_with_initializer

    def refuse(variable):
        raise ValueError(f"{variable.shape} is too much")

    with pytest.raises(ValueError, match="too much"), initial_values(zeros=True), initial_values(watch=refuse):
        dense()
    assert Variable._initialize_with_initializer is before
    assert np.any(dense().kernel.numpy())
