"""Weight files: what loads, and every way in which a file is refused before Keras reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kexport.errors import SourceError
from kexport.sources.weights import file as weights_file
from kexport.specs import ModelSpec, WeightsSpec

OPTIONS = "hint: the options must be those of the saved model: --alpha, --classes, --no-top, --minimalistic"


def build(*, units: int = 4, blocks: int = 2) -> Any:
    """A nested model with Normalization, two equal layers, BatchNormalization and a Dropout with its own state."""
    import keras
    from keras import layers

    image = keras.Input((8, 8, 3))
    value = layers.Normalization()(image)
    for number in range(blocks):
        value = layers.Conv2D(4, 3, padding="same", name=f"conv_{number}")(value)
    value = keras.Sequential([layers.BatchNormalization(), layers.Conv2D(5, 1)], name="nested")(value)
    value = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(value))
    return keras.Model(image, layers.Dense(units, name="scores")(value))


def filled(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype(variable.dtype))
    return model


def spec(path: Path) -> ModelSpec:
    return ModelSpec(application="MobileNet", weights=WeightsSpec(kind="file", path=str(path)))


def save_keras3(path: Path, model: Any) -> Path:
    model.save_weights(path)
    return path


def save_legacy(path: Path, model: Any) -> Path:
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return save_keras3(tmp_path / "good.weights.h5", filled(build()))


def refused(path: Path, model: Any | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        weights_file.load(model or build(), spec(path))
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("save", [save_keras3, save_legacy])
def test_weights_come_back(tmp_path: Path, save: Callable[[Path, Any], Path]) -> None:
    source, target = filled(build()), build()
    path = save(tmp_path / "x.weights.h5", source)
    weights_file.check_exists(spec(path))
    weights_file.load(target, spec(path))
    for ours, theirs in zip(target.weights, source.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_normalization_computes_with_the_loaded_statistics(good: Path) -> None:
    target = build()
    weights_file.load(target, spec(good))
    layer = target.layers[1]
    np.testing.assert_allclose(np.asarray(layer.mean).ravel(), np.asarray(layer.adapt_mean).ravel())
    assert np.abs(np.asarray(layer.mean)).min() > 0.4


def test_the_result_is_what_keras_loads(good: Path) -> None:
    ours, keras_own = build(), build()
    weights_file.load(ours, spec(good))
    keras_own.load_weights(good)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(ours(images)), np.asarray(keras_own(images)))


def test_a_home_directory_is_understood(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(good.parent))
    weights_file.check_exists(spec(Path("~/good.weights.h5")))


def test_another_width(good: Path) -> None:
    assert refused(good, build(units=7)) == (
        "weights FILE are not of this MobileNet: layer 'scores', kernel: the model has shape (5, 7), "
        f"the file has (5, 4) (dense)\n{OPTIONS}"
    )


def test_a_missing_layer(good: Path) -> None:
    assert refused(good, build(blocks=3)) == (
        "weights FILE are not of this MobileNet: layer 'conv_2': the model has 2 variables (3, 3, 4, 4), (4,), "
        f"the file has none (conv2d_2)\n{OPTIONS}"
    )


def test_a_layer_left_over(good: Path) -> None:
    assert refused(good, build(blocks=1)) == (
        "weights FILE are not of this MobileNet: the file has layer 'conv2d_1' with (3, 3, 4, 4), (4,), "
        f"the model has no such layer\n{OPTIONS}"
    )


@pytest.mark.parametrize(("blocks", "told"), [(1, "conv_1"), (3, "conv_2")])
def test_legacy_weights_of_another_model(tmp_path: Path, blocks: int, told: str) -> None:
    path = save_legacy(tmp_path / "x.h5", filled(build()))
    assert "are not of this MobileNet" in refused(path, build(blocks=blocks))
    if blocks == 3:
        assert told in refused(path, build(blocks=blocks))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(good: Path, value: float) -> None:
    with h5py.File(good, "r+") as file:
        file["layers/conv2d_1/vars/1"][2] = value
    assert refused(good).startswith("weights FILE: layer 'conv_1', bias: 1 of 4 values are NaN or infinite\nhint: ")


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "missing.h5"
    with pytest.raises(SourceError, match=r"missing.h5 does not exist; expected a .weights.h5 or .h5 file") as caught:
        weights_file.check_exists(spec(path))
    assert caught.value.hint == "--weights FILE"
    with pytest.raises(SourceError, match="is a folder"):
        weights_file.check_exists(spec(tmp_path))


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_truncated_file(good: Path, part: float) -> None:
    content = good.read_bytes()
    good.write_bytes(content[: int(len(content) * part)])
    assert refused(good).startswith("FILE is damaged: ")
    assert "truncated file" in refused(good)


def test_no_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    path.write_bytes(b"<html>not found</html>")
    assert refused(path) == (
        "weights FILE: not an HDF5 file (22 bytes, begins with b'<html>no')\n"
        'hint: save with model.save_weights("x.weights.h5")'
    )


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    path.touch()
    assert "not an HDF5 file (0 bytes, begins with b'')" in refused(path)


def test_a_whole_model(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    build().save(path)
    told = "FILE is a whole model; --weights wants a weights file"
    assert refused(path).startswith(told)
    legacy = tmp_path / "model.h5"
    with h5py.File(legacy, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_group("model_weights")
    assert refused(legacy).startswith(told)


def test_other_hdf5_data(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros(3)
    assert "an HDF5 file, but not one of Keras weights (it holds images)" in refused(path)


def external_link(file: h5py.File) -> None:
    file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/other.h5", "/secret")


def soft_link(file: h5py.File) -> None:
    file["layers/conv2d/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/1")


def external_data(file: h5py.File) -> None:
    file["layers/conv2d/vars"].create_dataset("0", (3, 3, 3, 4), "f4", external=[("/etc/hostname", 0, 432)])


def virtual_data(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(3, 3, 3, 4), dtype="f4")
    layout[...] = h5py.VirtualSource("other.h5", "x", shape=(3, 3, 3, 4))
    file["layers/conv2d/vars"].create_virtual_dataset("0", layout)


def cycle(file: h5py.File) -> None:
    file["layers/conv2d/vars/0"] = file["layers"]


def endless(file: h5py.File) -> None:
    file["layers/conv2d/vars"].create_dataset("0", (10**6, 10**6), "f4", chunks=(100, 100))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (external_link, "/layers/conv2d/vars/0 is a ExternalLink"),
        (soft_link, "/layers/conv2d/vars/0 is a SoftLink"),
        (external_data, "/layers/conv2d/vars/0 is data in another file"),
        (virtual_data, "/layers/conv2d/vars/0 is data in another file"),
        (cycle, "a second link to an object"),
        (endless, "/ is 4000.0 GB of data declared"),
    ],
)
def test_what_reads_outside_the_file_or_without_end(good: Path, change: Callable[[h5py.File], None], told: str) -> None:
    with h5py.File(good, "r+") as file:
        del file["layers/conv2d/vars/0"]
        change(file)
    assert f"{told}, which a weights file does not hold" in refused(good)


def test_optimizer_state_is_ignored(good: Path) -> None:
    with h5py.File(good, "r+") as file:
        file["optimizer/vars/0"] = np.float32(1.0)
        bias = np.asarray(file["layers/conv2d/vars/1"])
    model = build()
    model.get_layer("conv_0").bias.assign(bias + 1)
    weights_file.load(model, spec(good))
    np.testing.assert_array_equal(model.get_layer("conv_0").bias.numpy(), bias)


def test_text_where_numbers_belong(good: Path) -> None:
    with h5py.File(good, "r+") as file:
        del file["layers/conv2d/vars/1"]
        file["layers/conv2d/vars"].create_dataset("1", data=np.array([b"a"] * 4))
    assert "/layers/conv2d/vars/1 is data of type |S1, which a weights file does not hold" in refused(good)
