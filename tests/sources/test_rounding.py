"""A value that is rounded otherwise: noise of one unit in the last place of its size, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.sources.rounding import ULP, Noise

IMAGES, ROWS, ONE = (2, 16, 16, 8), (2, 1000), (2, 1)


def values(shape: tuple[int, ...], *, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(3).normal(size=shape)).astype(np.float32)


def moved(value: np.ndarray, **options: int) -> np.ndarray:
    return np.asarray(Noise(seed=0, **options).moved(value))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e18])
@pytest.mark.parametrize("shape", [IMAGES, ROWS], ids=["images", "rows"])
def test_noise_is_a_unit_of_the_size(shape: tuple[int, ...], scale: float) -> None:
    value = values(shape, scale=scale)
    noise = (moved(value).astype(np.float64) - value) / (scale * ULP)
    assert 0.5 < noise.std() < 1.5
    assert np.abs(noise.mean()) < 0.1


def test_each_channel_has_noise_of_its_own_size() -> None:
    sizes = (10.0 ** np.arange(-4, 4)).astype(np.float32)
    value = values(IMAGES) * sizes
    noise = moved(value).astype(np.float64) - value
    found = noise.std(axis=(0, 1, 2)) / (sizes * ULP)
    assert ((found > 0.5) & (found < 1.5)).all()


def test_what_is_zero_moves_by_the_size_of_its_channel_and_what_is_small_by_its_own() -> None:
    value = values(IMAGES)
    value[0, 0, 0, :] = 0.0
    value[0, 0, 1, :] = 1e-12
    noise = np.abs(moved(value) - value)
    assert (noise[0, 0, 0] > 0.0).all()
    assert (noise[0, 0, 0] < 10 * ULP).all()
    assert noise[0, 0, 1].max() < 1e-12 * 1e3 * ULP * 10


def test_only_the_last_rows_move_and_the_same_seed_moves_alike() -> None:
    value = values((6, 4, 4, 3))
    once, twice = moved(value, rows=6, last=2), moved(value, rows=6, last=2)
    assert (once[:4] == value[:4]).all()
    assert (once[4:] != value[4:]).any()
    assert (once == twice).all()


@pytest.mark.parametrize("value", [np.arange(6).reshape(2, 3), np.zeros((0, 3), np.float32)], ids=["whole", "none"])
def test_whole_numbers_and_nothing_stay(value: np.ndarray) -> None:
    assert Noise(seed=0).moved(value) is value


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_stays_none(bad: float) -> None:
    value = values(IMAGES)
    value[0, 3, 3, 2] = bad
    assert not np.isfinite(moved(value)[0, 3, 3, 2])


def test_a_mask_stays_with_its_value() -> None:
    import keras

    value = keras.ops.convert_to_tensor(values((2, 5, 4)))
    value._keras_mask = keras.ops.convert_to_tensor(np.ones((2, 5), bool))
    assert Noise(seed=0).moved(value)._keras_mask is value._keras_mask


def test_layers_take_what_was_moved_as_they_take_a_tensor() -> None:
    import keras

    value = keras.ops.convert_to_tensor(values(ONE))
    assert type(Noise(seed=0).moved(value)) is type(value)


@pytest.mark.parametrize(
    ("kind", "units"),
    [("GlobalAveragePooling2D", 32.0), ("AveragePooling2D", 4.0), ("Mean", 4.0), ("MaxPooling2D", 1.0)],
)
def test_a_mean_is_off_by_half_the_root_of_what_it_adds_up(kind: str, units: float) -> None:
    import keras

    image = keras.Input((64, 64, 16))
    given = values((2, 64, 64, 16)) + 3
    layers = {
        "AveragePooling2D": lambda: keras.layers.AveragePooling2D(8)(image),
        "MaxPooling2D": lambda: keras.layers.MaxPooling2D(8)(image),
        "GlobalAveragePooling2D": lambda: keras.layers.GlobalAveragePooling2D()(image),
        "Mean": lambda: keras.ops.mean(image, axis=1),
    }
    model = keras.Model(image, layers[kind]())
    operation = model.operations[-1]
    assert type(operation).__name__ == kind
    plain = np.asarray(operation(given), np.float64)
    noise = np.asarray(Noise(seed=0).after(lambda layer, value: layer(value))(operation, given)) - plain
    size = np.sqrt(np.square(plain).mean())
    assert noise.std() / (size * ULP) == pytest.approx(units, rel=0.3)


@pytest.mark.parametrize(("spread", "units"), [(1e-1, 32.0), (1e-2, 32.0), (1e-3, 409.6), (1e-5, 409.6), (0.0, 409.6)])
def test_numbers_that_hardly_differ_are_all_rounded_the_same_way(spread: float, units: float) -> None:
    import keras

    layer = keras.layers.GlobalAveragePooling2D()
    given = (3 + spread * np.random.default_rng(1).normal(size=(2, 64, 64, 256))).astype(np.float32)
    plain = np.asarray(layer(given), np.float64)
    noise = np.asarray(Noise(seed=0).after(lambda layer, value: layer(value))(layer, given)) - plain
    assert noise.std() / (3 * ULP) == pytest.approx(units, rel=0.2)


@pytest.mark.parametrize("axis", [None, (1, 2, 3), (0, 1, 2), -1], ids=str)
@pytest.mark.parametrize("kind", ["mean", "sum"])
@pytest.mark.parametrize("bad", [0.0, np.inf, np.nan])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_sums_over_any_axes_keep_their_shape(kind: str, axis: object, bad: float) -> None:
    """A network may take the mean over everything, its batch among it: one number is left."""
    import keras

    given = np.abs(values((2, 8, 8, 4)))
    given[0, 0, 0, 0] += bad
    image = keras.Input(batch_shape=given.shape)
    operation = keras.Model(image, getattr(keras.ops, kind)(image, axis=axis)).operations[-1]
    plain = np.asarray(operation(given))
    found = np.asarray(Noise(seed=0).after(lambda layer, value: layer(value))(operation, given))
    assert found.shape == plain.shape
    if bad == 0:
        np.testing.assert_allclose(found, plain, rtol=1e-4)
    else:
        assert not np.isfinite(found[~np.isfinite(plain)]).any()
