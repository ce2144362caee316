"""Where a file begins to differ, from values made by hand: groups, branches, layouts, channels with own factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kexport.evidence.by_layer import ByLayer, compare
from kexport.runtimes.inner import Inner, chosen
from kexport.sources.layer_samples import LayerFact, places, sample

RNG = np.random.default_rng(0)
SHAPE = (6, 5, 8)


def fact(name: str, kind: str, *inputs: str, shape: tuple[int, ...] = SHAPE) -> LayerFact:
    return LayerFact(name=name, kind=kind, inputs=inputs, shape=shape)


WALK = (
    fact("conv", "Conv2D", "input"), fact("bn", "BatchNormalization", "conv"), fact("relu", "ReLU", "bn"),
    fact("left", "Conv2D", "relu"), fact("right", "DepthwiseConv2D", "relu"), fact("sum", "Add", "left", "right"),
    fact("flat", "GlobalAveragePooling2D", "sum", shape=(8,)), fact("top", "Dense", "flat", shape=(10,)),
)  # fmt: skip
TRUE = {each.name: RNG.normal(size=(1, *each.shape)).astype(np.float32) for each in WALK}
SAMPLES = {each.name: sample(TRUE[each.name], each.shape) for each in WALK}
IN_FILE = ("relu", "left", "right", "sum", "flat", "top")


def found(changes: dict[str, np.ndarray], *, own: bool = True, quantized: bool = False) -> ByLayer:
    values = {name: TRUE[name] for name in IN_FILE} | changes
    affine = (1.0, 0) if quantized else None
    inner = [Inner(name=name, layer=name, value=value, affine=affine) for name, value in values.items()]
    scheme = "int8" if quantized else "float32"
    return compare(inner, SAMPLES, WALK, artifact="a.onnx", scheme=scheme, own=own)


def noisy(name: str, share: float) -> np.ndarray:
    noise = RNG.normal(size=TRUE[name].shape) * TRUE[name].std()
    return (TRUE[name] + share * noise).astype(np.float32)


def test_equal_files_have_no_first_layer() -> None:
    same = found({})
    assert (same.first, same.unseen, same.tolerance_db) == ((), 0, 60.0)
    assert [each.layer for each in same.layers] == list(IN_FILE)
    assert same.layers[0].group == ("conv", "bn"), "what was folded into the next layer"


def test_the_layer_with_weights_is_named_and_not_who_reads_it() -> None:
    wrong = {name: noisy(name, 0.3) for name in IN_FILE}
    assert found(wrong).first == ("conv",)
    assert [each.leaves for each in found(wrong).layers] == [True] * 6


def test_a_branch_is_named_and_its_neighbour_is_not() -> None:
    wrong = {name: noisy(name, 0.3) for name in ("right", "sum", "flat", "top")}
    assert found(wrong).first == ("right",)


def test_two_damaged_layers_are_both_named() -> None:
    assert found({"left": noisy("left", 0.3), "top": noisy("top", 0.3)}).first == ("left", "top")


def test_nan_is_found_where_it_begins() -> None:
    gone = {name: np.full_like(TRUE[name], np.nan) for name in ("left", "sum", "flat", "top")}
    assert found(gone).first == ("left",)


def test_feature_maps_may_have_channels_first() -> None:
    turned = {name: np.moveaxis(TRUE[name], -1, 1) for name in ("relu", "left", "right", "sum")}
    assert found(turned).first == ()
    assert found({**turned, "left": np.moveaxis(noisy("left", 0.3), -1, 1)}).first == ("left",)


def test_int8_adds_noise_and_may_have_factors_of_its_own() -> None:
    gains = np.geomspace(0.1, 10, 8).astype(np.float32)
    scaled = {"relu": TRUE["relu"] * gains}
    assert found(scaled, quantized=True).first == ()
    assert [each.layer for each in found(scaled, quantized=True).layers if each.rescaled] == ["relu"]
    assert found(scaled, quantized=True, own=False).first == ("conv",), "another maker's file has no such factors"
    rough = found({"left": noisy("left", 0.2), "sum": noisy("sum", 0.25)}, quantized=True)
    assert rough.first == ()
    added = {each.layer: each.added for each in rough.layers}
    assert max(added, key=lambda name: added[name]) == "left"
    assert added["left"] == pytest.approx(0.04, rel=0.2)


def test_zeroed_channels_are_no_factors() -> None:
    lost = TRUE["left"].copy()
    lost[..., :7] = 0
    assert found({"left": lost}, quantized=True).first == ("left",)


def test_every_channel_is_sampled_at_several_places() -> None:
    assert sample(RNG.normal(size=(1, 56, 56, 64)), (56, 56, 64)).shape == (16, 64)
    assert sample(RNG.normal(size=(1, 7, 7, 2048)), (7, 7, 2048)).shape == (4, 2048)
    assert sample(RNG.normal(size=(1, 1000)), (1000,)).shape == (1, 1000)
    assert len(set(places((224, 224, 3)))) == 341
    assert places((2, 2, 512)).tolist() == [0, 1, 2, 3] or len(places((2, 2, 512))) >= 2


@pytest.mark.parametrize(
    ("names", "layers", "expected"),
    [
        (["a", "b:nhwc", "c/kernel"], {"a", "b", "c"}, {"a": "a", "b:nhwc": "b"}),
        (["x", "a_QuantizeLinear_Output"], {"a"}, {"a_QuantizeLinear_Output": "a"}),
        (["a", "a_QuantizeLinear_Output", "a_DequantizeLinear_Output"], {"a"}, {"a_QuantizeLinear_Output": "a"}),
        (["m/a/Conv2D", "m/a/BiasAdd", "m/b/Relu;m/b/x"], {"a", "b"}, {"m/a/BiasAdd": "a", "m/b/Relu;m/b/x": "b"}),
        (["x"], {"a"}, {}),
    ],
)
def test_tensors_are_told_by_name(names: list[str], layers: set[str], expected: dict[str, str]) -> None:
    assert chosen(names, layers) == expected


def test_a_scale_may_have_gone_into_the_kernel_behind_it() -> None:
    """``x s + t`` before a padded convolution is ``x + t / s`` in the file, and the kernel has ``s``."""
    walk = (fact("rescaling", "Rescaling", "input"), fact("conv", "Conv2D", "rescaling"))
    true = {each.name: RNG.normal(size=(1, *SHAPE)).astype(np.float32) for each in walk}
    samples = {name: sample(value, SHAPE) for name, value in true.items()}

    def of(kind: str, value: np.ndarray) -> ByLayer:
        walked = (replace(walk[0], kind=kind), walk[1])
        inner = [Inner(name=n, layer=n, value=v) for n, v in {**true, "rescaling": value}.items()]
        return compare(inner, samples, walked, artifact="a", scheme="float32", own=True)

    scaled = true["rescaling"] * np.float32(127.5)
    assert of("Rescaling", scaled).first == ()
    assert of("Rescaling", scaled).layers[0].rescaled
    assert of("Conv2D", scaled).first == ("rescaling",)
    assert of("Rescaling", true["rescaling"] + np.float32(0.5)).first == ("rescaling",)


def test_one_number_a_channel_takes_the_factors_of_what_it_reads() -> None:
    """Fitting a factor to one number would hide everything; without factors such a value is left out."""
    gains = np.geomspace(0.1, 10, 8).astype(np.float32)
    scaled = {name: TRUE[name] * gains for name in ("sum", "flat")}
    right = found(scaled, quantized=True)
    assert right.first == ()
    assert [each.layer for each in right.layers if each.rescaled] == ["sum", "flat"]
    wrong = found({**scaled, "sum": scaled["sum"], "flat": scaled["flat"][:, ::-1]}, quantized=True)
    assert "flat" not in [each.layer for each in wrong.layers], "its own factors are not known"


@pytest.mark.parametrize("wrong", [False, True])
def test_a_feature_map_made_flat_may_have_its_channels_first(wrong: bool) -> None:
    """A dense layer's kernel takes the order over: VGG16's flatten in an ONNX file."""
    walked = (fact("conv", "Conv2D", "input"), fact("flat", "Flatten", "conv", shape=(6 * 5 * 8,)))
    value = RNG.normal(size=(1, *SHAPE)).astype(np.float32)
    samples = {"conv": sample(value, SHAPE), "flat": sample(value.reshape(1, -1), (240,))}
    turned = np.moveaxis(value, -1, 1).reshape(1, -1) + np.float32(wrong) * RNG.normal(size=(1, 240))
    inner = [Inner(name="conv", layer="conv", value=value), Inner(name="flat", layer="flat", value=turned)]
    judged = compare(inner, samples, walked, artifact="a.onnx", scheme="float32", own=True)
    assert judged.first == (("flat",) if wrong else ())
