"""The catalog against itself and against the installed Keras."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

from kexport.errors import UnknownNameError
from kexport.sources import catalog
from kexport.sources.catalog import APPLICATIONS, FAMILIES, Application, application, preprocessing, select

CHECKED_OPTIONS = {"alpha", "minimalistic", "include_preprocessing"}
BY_FAMILY = [next(row for row in APPLICATIONS if row.family == family) for family in FAMILIES]


def names(*sources: str) -> list[str]:
    return [row.name for row in select(sources)]


def test_forty_rows_with_different_names() -> None:
    assert len(APPLICATIONS) == 40
    assert len({row.name for row in APPLICATIONS}) == 40


def test_published_numbers_are_plausible() -> None:
    for row in APPLICATIONS:
        assert row.top1_percent is not None
        assert 60 < row.top1_percent < 90, row.name
        if row.top5_percent is not None:
            assert row.top1_percent < row.top5_percent < 100, row.name
        if row.size_megabytes is not None:
            # four bytes a weight; the table has 29 MB for EfficientNetB0, whose weights are 21 MB
            assert 0.7 < row.parameters * 4 / 1e6 / row.size_megabytes < 1.1, row.name


def test_mobilenet_v3_is_not_in_the_published_table() -> None:
    small = application("MobileNetV3Small")
    assert (small.top1_percent, small.top5_percent, small.size_megabytes) == (68.1, None, None)


def test_exact_name_wins_over_the_family() -> None:
    assert names("MobileNet") == ["MobileNet"]
    assert names("MobileNetV2") == ["MobileNetV2"]


@pytest.mark.parametrize("spelling", ["mobilenet_v3", "MobileNetV3", "mobilenet-v3", "MOBILENETV3"])
def test_family_in_any_spelling(spelling: str) -> None:
    assert names(spelling) == ["MobileNetV3Small", "MobileNetV3Large"]


def test_family_does_not_take_its_cousins() -> None:
    assert names("EfficientNet") == [f"EfficientNetB{index}" for index in range(8)]
    assert names("resnet") == ["ResNet50", "ResNet101", "ResNet152"]


def test_globs() -> None:
    assert names("ResNet*V2") == ["ResNet50V2", "ResNet101V2", "ResNet152V2"]
    assert len(names("*")) == 40


def test_order_is_the_request_and_nothing_comes_twice() -> None:
    assert names("VGG19", "Xception", "vgg", "VGG*") == ["VGG19", "Xception", "VGG16"]


def test_wrong_case_is_offered_not_applied() -> None:
    with pytest.raises(UnknownNameError) as error:
        select(["Resnet50"])
    assert str(error.value) == "unknown model 'Resnet50': did you mean ResNet50?\nhint: kexport list models"
    assert error.value.exit_code == 2
    with pytest.raises(UnknownNameError, match="did you mean ResNet50"):
        application("resnet50")


def test_glob_without_a_match_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'Foo\*'"):
        select(["VGG16", "Foo*"])


def test_preprocessing_keeps_the_centre_of_an_image_of_256() -> None:
    contract = preprocessing(application("ResNet50"))
    assert (contract.size, contract.resize_shorter_side) == ((224, 224), 256)
    assert preprocessing(application("ResNet50"), (160, 192)).resize_shorter_side == round(192 / 0.875)


@pytest.fixture(scope="module")
def applications_module():  # type: ignore[no-untyped-def]
    return pytest.importorskip("keras", reason="keras is not installed (pip install 'kexport[cpu]')").applications


def test_same_constructors_as_keras(applications_module) -> None:  # type: ignore[no-untyped-def]
    constructors = {name for name in dir(applications_module) if name[0].isupper()}
    assert constructors == {row.name for row in APPLICATIONS}


@pytest.mark.parametrize("row", APPLICATIONS, ids=lambda row: row.name)
def test_constructor_takes_these_options(applications_module, row: Application) -> None:  # type: ignore[no-untyped-def]
    parameters = inspect.signature(getattr(applications_module, row.name)).parameters
    assert set(row.options) == set(parameters) & CHECKED_OPTIONS


@pytest.mark.parametrize("row", BY_FAMILY, ids=lambda row: row.family)
def test_preprocessing_is_what_keras_computes(row: Application) -> None:
    pytest.importorskip("keras", reason="keras is not installed (pip install 'kexport[cpu]')")
    contract = preprocessing(row, (8, 6))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3)).astype(np.float32)
    ordered = pixels[..., ::-1] if contract.channel_order == "BGR" else pixels
    ours = (ordered * contract.scale - np.float32(contract.mean)) / np.float32(contract.std)
    theirs = importlib.import_module(f"keras.applications.{row.module}").preprocess_input(pixels.copy())
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-5)


def test_every_member_of_vgg_has_its_own_module() -> None:
    assert [row.module for row in select(["vgg"])] == ["vgg16", "vgg19"]


@pytest.mark.parametrize("name", ["MobileNetV3Small", "MobileNet", "EfficientNetB0"])
def test_parameters_and_size_of_small_networks(applications_module, name: str) -> None:  # type: ignore[no-untyped-def]
    row = application(name)
    model = getattr(applications_module, name)(weights=None)
    assert model.count_params() == row.parameters
    assert model.input_shape[1] in (None, row.default_size)


@pytest.mark.parametrize("row", BY_FAMILY, ids=lambda row: row.family)
def test_keras_refuses_less_than_the_smallest_size(applications_module, row: Application) -> None:  # type: ignore[no-untyped-def]
    below = (row.smallest_size - 1, row.smallest_size - 1, 3)
    with pytest.raises(ValueError, match=f"at least {row.smallest_size}x"):
        getattr(applications_module, row.name)(weights=None, input_shape=below)


def test_catalog_module_says_where_its_numbers_come_from() -> None:
    assert "keras.io/api/applications" in (catalog.__doc__ or "")
