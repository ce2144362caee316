"""Rows at once, the values before the last step, and what rounding does: as one row at a time, and never less true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kexport.sources import final, reference, rows
from kexport.sources.rounding import ULP, Noise

SIZE = (12, 12, 3)


def images(count: int = 4) -> dict[str, Any]:
    return {"input": np.random.default_rng(1).normal(size=(count, *SIZE)).astype(np.float32)}


def body(image: Any) -> Any:
    import keras

    layers = keras.layers
    value = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu", name="stem")(image))
    return layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, name="last")(value))


def classifier(*, shared: bool = False) -> Any:
    """A softmax in a Dense layer, behind which a Reshape moves it; and the same layer once more, not as an output."""
    import keras

    keras.utils.set_random_seed(4)
    layers = keras.layers
    image = keras.Input(SIZE)
    value = body(image)
    classes = layers.Dense(16, activation="softmax", name="classes")
    if shared:
        value = classes(value) * 20.0
    nested = keras.Model(inner := keras.Input((16,)), layers.Reshape((4, 4))(classes(inner)), name="head")
    return keras.Model(image, layers.Reshape((16,))(nested(value)))


def meeting() -> Any:
    """Each row less the mean of the rows beside it: what ``predict`` says depends on the batch."""
    import keras

    keras.utils.set_random_seed(4)
    image = keras.Input(SIZE)
    met = keras.layers.Lambda(lambda value: value - 0.5 * keras.ops.mean(value, axis=0, keepdims=True))
    return keras.Model(image, keras.layers.Dense(5)(met(body(image))))


def expected(model: Any, given: dict[str, Any]) -> Any:
    return np.concatenate([np.asarray(model(given["input"][i : i + 1], training=False)) for i in range(4)])


@pytest.mark.parametrize("shared", [False, True], ids=["once", "called twice"])
def test_rows_at_once_are_what_one_at_a_time_gives(shared: bool) -> None:
    model, given = classifier(shared=shared), images()
    alone, together = rows.alone(model, given), reference.compute(model, given)
    np.testing.assert_array_equal(alone.outputs["output"], expected(model, given))
    np.testing.assert_allclose(together.outputs["output"], alone.outputs["output"], rtol=1e-4)
    assert {"stem", "last"} <= set(together.layers)
    assert list(together.layers) == list(alone.layers)
    assert (alone.again, list(together.again)) == ({}, ["output"])
    for name, sample in alone.layers.items():
        np.testing.assert_allclose(together.layers[name], sample, atol=1e-5, rtol=1e-4)
    for found in (alone, together):
        logits = found.logits["output"]
        shown = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(shown, found.outputs["output"], rtol=1e-4)


def test_what_reaches_the_last_step_goes_through_what_stands_behind_it() -> None:
    found = final.lasts(classifier())["output"]
    assert (found.kind, len(found.place)) == ("softmax", 2)
    assert [type(node.operation).__name__ for node in found.behind] == ["Reshape", "Reshape"]


def test_rows_that_meet_are_run_alone() -> None:
    model, given = meeting(), images()
    met = reference.compute(model, given, apart=True)
    assert np.abs(met.outputs["output"] - expected(model, given)).max() > 1e-3
    kept = reference.compute(model, given)
    np.testing.assert_array_equal(kept.outputs["output"], expected(model, given))


def test_rows_that_do_not_meet_are_rounded_otherwise_beside_the_others() -> None:
    model = classifier()
    found = reference.compute(model, images())
    assert reference.with_rounding(model, found) is found
    moved = np.abs(found.logits_again["output"] - found.logits["output"][:2]).max()
    plain = reference.compute(model, images(), apart=True, rounding=False)
    assert plain.again == plain.logits_again == {}
    np.testing.assert_allclose(plain.outputs["output"], found.outputs["output"], rtol=1e-4)
    apart = reference.with_rounding(model, rows.alone(model, images()))
    other = np.abs(apart.logits_again["output"] - apart.logits["output"][:2]).max()
    assert 0 < moved < 1e-5
    assert 0.2 < moved / other < 5


def test_as_many_rows_at_once_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    model, count = classifier(), 9
    largest = 4 * 8 * 8 * 16
    for room, fits in ((7 * largest, 7), (99 * largest, count), (3 * largest, 3), (2 * largest, 1), (0, 1)):
        monkeypatch.setattr(rows, "AT_ONCE_BYTES", room)
        assert rows.at_once(model, count) == fits
    monkeypatch.setattr(rows, "AT_ONCE_BYTES", 3 * largest)
    given = images()
    np.testing.assert_allclose(reference.compute(model, given).outputs["output"], expected(model, given), rtol=1e-4)
    fixed, opened = keras.Input(batch_shape=(4, *SIZE)), keras.Input((None, None, 3))
    assert rows.at_once(model, 2) == 1
    assert rows.at_once(keras.Model(fixed, model(fixed)), count) == 1
    assert rows.at_once(keras.Model(opened, keras.layers.Conv2D(2, 3)(opened)), count) == 1


def test_a_model_that_makes_another_number_of_rows_is_run_alone() -> None:
    import keras

    image = keras.Input((4, 2))
    model = keras.Model(image, keras.ops.reshape(keras.layers.Dense(3)(image), (-1, 3)))
    assert rows.together(model, {"input": np.ones((3, 4, 2), np.float32)}, rows=3, rounding=True) is None


def test_noise_is_one_unit_in_the_last_place_of_a_channel() -> None:
    scale = np.array([1e-3, 1.0, 1e3], np.float32)
    value = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32) * scale
    value[0, 0, 0] = 0
    moved = np.asarray(Noise(seed=0).moved(value))
    apart = (moved.astype(np.float64) - value).std(axis=(0, 1, 2)) / (ULP * scale)
    np.testing.assert_allclose(apart, 1.0, atol=0.2)
    assert (moved[0, 0, 0] != 0).all()
    assert Noise(seed=0).moved(np.ones(3, np.int32)).dtype == np.int32


@pytest.mark.parametrize("walk", ["alone", "together"])
def test_what_every_layer_gives_is_settled(monkeypatch: pytest.MonkeyPatch, walk: str) -> None:
    """A lazy backend would compute all before it once more for each layer that is looked at."""
    settled: list[Any] = []
    monkeypatch.setattr(rows, "settled", lambda value: settled.append(value) or value)
    model, given = classifier(), images(1)
    if walk == "alone":
        rows.alone(model, given)
    else:
        rows.together(model, given, rows=1, rounding=False)
    layers = [each for each in rows.functional(model).layers if type(each).__name__ in ("Conv2D", "BatchNormalization")]
    assert len(layers) == 3
    assert len(settled) > len(layers)
