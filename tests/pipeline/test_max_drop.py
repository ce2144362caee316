"""``--max-drop`` through the whole run: decisions that hang by a hair, a bound that is met and one that is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport.errors import UsageError
from kexport.images import checks
from kexport.images.seeded import seeded_images
from kexport.pipeline import int8, max_drop, reproduce
from kexport.quantization import recipe_file
from kexport.records import Record, Status
from kexport.sources import reference
from kexport.specs import Boundary, Cell, Format, ModelSpec, Scheme, WeightsSpec
from tests.places import LAB

LAYERS = 6
Toy = tuple[Path, Path]


def network(huge: float) -> Any:
    """Four residual convolutions, each with a huge channel of its own that later layers read faintly.

    The sums carry all huge channels on, so that int8 has few numbers left for the others in every layer.
    """
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = layers.Input((24, 24, 3))
    value = layers.Conv2D(8, 3, padding="same", name="stem")(layers.Rescaling(1 / 255)(image))
    for index in range(4):
        value = layers.Add()([layers.Conv2D(8, 3, padding="same", name=f"conv{index}")(value), value])
    value = layers.Dense(64, activation="softmax", name="classes")(layers.GlobalAveragePooling2D()(value))
    made = keras.Model(image, value)
    shut = np.ones(8, np.float32)
    for index in range(4):
        kernel, bias = made.get_layer(f"conv{index}").get_weights()
        kernel = kernel * shut[:, np.newaxis]
        kernel[..., index] *= huge
        made.get_layer(f"conv{index}").set_weights([kernel, bias])
        shut[index] = 1 / huge
    kernel, bias = made.get_layer("classes").get_weights()
    made.get_layer("classes").set_weights([kernel * shut[:, np.newaxis], bias])
    return made


def toy(folder: Path, huge: float) -> Toy:
    """A model file, and photographs each labelled with its decision; its classes are as close as can be."""
    from PIL import Image

    (folder / "photographs").mkdir()
    for index, image in enumerate(seeded_images(240, (24, 24, 3), seed=5).round().astype(np.uint8)):
        Image.fromarray(image).save(folder / "photographs" / f"{index:03}.png")
    made, model = network(huge), folder / "toy.keras"
    made.save(model)
    contract = reference.facts(made, ModelSpec(file=str(model), weights=WeightsSpec(kind="model"))).preprocessing
    assert contract is not None
    paths = sorted((folder / "photographs").iterdir())
    (images,) = checks.image_blocks(paths, contract, len(paths))
    logits = np.log(made.predict(images, verbose=0))
    kernel, bias = made.get_layer("classes").get_weights()
    made.get_layer("classes").set_weights([10 * kernel, 10 * (bias - logits.mean(axis=0))])
    made.save(model)
    decisions = made.predict(images, verbose=0).argmax(axis=1)
    for path, decision in zip(paths, decisions, strict=True):
        path.rename(path.with_name(f"{decision}_{path.name}"))
    return model, folder / "photographs"


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A network that int8 suits."""
    return toy(tmp_path_factory.mktemp("calm"), 1.0)


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A network that int8 does not suit."""
    return toy(tmp_path_factory.mktemp("wild"), 300.0)


def export(made: Toy, directory: Path, bound: float) -> tuple[Record, ...]:
    model, photographs = made
    return kexport.export(
        str(model), formats=("onnx", "tflite"), scheme="int8", calibration=photographs, evaluation=photographs,
        max_drop=bound, directory=directory,
    )  # fmt: skip


def test_a_bound_that_int8_alone_meets(calm: Toy, tmp_path: Path) -> None:
    for record in export(calm, tmp_path, 100.0):
        assert (record.status, record.reason) == (Status.PASS, "")
        assert record.accuracy is not None
        assert record.accuracy.keras_top1 == 1.0
        assert record.quantization is not None
        found = record.quantization.search
        assert found is not None
        assert (found.bound_points, found.met, found.float_layers, found.layers) == (100.0, True, (), 0)
        assert [trial.float_layers for trial in found.trials] == [0]
        assert found.trials[0].low_points <= found.trials[0].drop_points <= found.trials[0].high_points
        assert "is inside --max-drop 100 with the int8 plan as it is" in record.quantization.notes[-1]
        assert "--max-drop 100" in record.reproduce


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"formats": "onnx"}, marks=pytest.mark.long),
        {"formats": "tflite", "io": "uint8"},
        pytest.param({"formats": "onnx", "preprocessing": "caffe"}, marks=pytest.mark.long),
    ],
    ids=["shared plan", "integers out", "reversed channels"],
)
def test_trials_are_fed_with_pixels_where_the_preprocessing_is_inside(
    calm: Toy, tmp_path: Path, asked: dict[str, Any]
) -> None:
    model, photographs = calm
    records = kexport.export(
        str(model), schemes="int8", calibration=photographs, eval=photographs, max_drop=100.0,
        embed_preprocessing=True, output=tmp_path, **asked,
    )  # fmt: skip
    for record in records:
        assert (record.status, record.reason) == (Status.PASS, "")
        assert record.quantization is not None
        assert record.quantization.search is not None
        assert record.accuracy is not None
        assert record.quantization.search.taken.drop_points == pytest.approx(record.accuracy.top1_drop_points, abs=0.5)


def test_a_bound_that_no_plan_meets(wild: Toy, tmp_path: Path) -> None:
    onnx, tflite = export(wild, tmp_path, 0.0)
    assert onnx.quantization is not None
    found = onnx.quantization.search
    assert found is not None
    assert [trial.float_layers for trial in found.trials] == [0, 1, 2, LAYERS // 2], found.trials
    assert all(trial.drop_points > 0 for trial in found.trials), found.trials
    assert not found.met
    assert set(found.float_layers) <= {"stem", "conv0", "conv1", "conv2", "conv3", "classes"}
    assert (onnx.status, tflite.status) == (Status.FAIL, Status.FAIL)
    said = (
        r"--max-drop 0 was not met: the least top-1 drop is \d+\.\d\d points "
        r"\(95 % interval -?\d+\.\d\d to \d+\.\d\d\); "
        r"drop in points with float32 layers: \d+\.\d\d with 0, \d+\.\d\d with 1, \d+\.\d\d with 2, "
        r"\d+\.\d\d with 3, of 6, at most half of which are left in float32"
    )
    assert re.search(said, onnx.reason)
    assert re.search(said, tflite.reason)
    assert (onnx.hint, tflite.hint) == ("--schemes float16", "--schemes float16"), "the same again would fail again"
    assert not list(tmp_path.rglob("*.onnx")), "an artifact that fails is not published"
    assert onnx.quantization.recipe is not None
    assert [rule.layer for rule in onnx.quantization.recipe.rules] == list(found.float_layers)
    (tmp_path / "found.toml").write_text(recipe_file.written(onnx.quantization.recipe))
    (again,) = kexport.export(
        str(wild[0]), formats="onnx", schemes="int8", calibration=wild[1], eval=wild[1], output=tmp_path / "again",
        recipe=tmp_path / "found.toml",
    )  # fmt: skip
    assert again.artifact is not None
    assert onnx.artifact is not None
    assert again.artifact.sha256 == onnx.artifact.sha256, "what the search found is made again without a search"


def test_a_share_of_equal_decisions_is_asked_of_every_scheme(wild: Toy, tmp_path: Path) -> None:
    model, photographs = wild
    float32, int8_ = kexport.export(
        str(model), formats="onnx", schemes=("float32", "int8"), calibration=photographs, eval=photographs,
        min_agreement=0.999, output=tmp_path,
    )  # fmt: skip
    assert (float32.status, float32.reason) == (Status.PASS, "")
    assert float32.accuracy is not None
    assert (float32.accuracy.min_agreement, float32.accuracy.top1_agreement) == (0.999, 1.0)
    assert "--min-agreement 0.999" in float32.reproduce
    assert reproduce.cell_of(float32).min_agreement == 0.999
    assert int8_.status is Status.FAIL
    said = (
        r"the share of 240 images on which this file decides as Keras is 0\.\d{4}, "
        r"the bound is --min-agreement 0\.999"
    )
    assert re.search(said, int8_.reason)
    assert int8_.hint == "--schemes float16"
    assert [path.name for path in tmp_path.rglob("*.onnx")] == ["toy-float32.onnx"]


def test_a_drop_is_asked_of_schemes_without_layers_to_keep(wild: Toy, tmp_path: Path) -> None:
    model, photographs = wild
    records = kexport.export(
        str(model), formats="onnx", schemes=("float32", "float16", "dynamic"), eval=photographs, max_drop=0.0,
        output=tmp_path,
    )  # fmt: skip
    assert records[0].status is Status.PASS
    assert records[2].status is Status.FAIL
    for record in records:
        assert record.accuracy is not None
        assert record.accuracy.top1_drop_points is not None
        assert (record.status is Status.FAIL) is (record.accuracy.top1_drop_points > 0)
        assert reproduce.cell_of(record, built=False).max_drop == 0.0
        assert "--max-drop 0" in record.reproduce
    said = r"the top-1 drop of this file is \d+\.\d\d points \(95 % interval .* to .*\), the bound is --max-drop 0"
    assert re.search(said, records[2].reason)
    assert records[2].hint == "--schemes float16"
    assert not list(tmp_path.rglob("*dynamic.onnx"))


def test_numbers_are_no_decisions_that_could_be_the_same(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(1)(image), name="age")
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    with pytest.raises(UsageError, match=r"--min-agreement 0\.9: the answers on .* are no decisions"):
        kexport.export(model, formats="onnx", eval=(rows, rows[:, :1]), min_agreement=0.9, output=tmp_path)


def test_a_drop_needs_labels(calm: Toy, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in calm[1].glob("*.png"):
        (bare / f"photo{path.name.partition('_')[2]}").write_bytes(path.read_bytes())
    with pytest.raises(UsageError) as caught:
        export((calm[0], bare), tmp_path / "out", 1.0)
    assert caught.value.message == f"--max-drop 1: --eval {bare} has no labels, so that no drop can be measured"
    assert caught.value.hint == (
        "one folder per class, files <class index>_*.jpg, or --eval FILE.csv with path,class index"
    )


@pytest.mark.lab
@pytest.mark.skipif(not (LAB / "images").is_dir(), reason=f"no photographs and weights in {LAB}: set KEXPORT_LAB")
def test_mobilenet_v3_ends_inside_the_bound_or_says_what_was_tried(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Few calibration images, to be quick; the drop is that of all 400 evaluation images."""
    for name, kept in (("eval", range(1, 10)), ("calibration", (0,))):
        (tmp_path / name).mkdir()
        for path in sorted((LAB / "images").glob("*.jpg")):
            if int(path.name[:4]) % 10 in kept:
                (tmp_path / name / path.name).symlink_to(path)
    for path in sorted((tmp_path / "calibration").iterdir())[::2]:
        path.unlink()
    (record,) = kexport.export(
        "MobileNetV3Small", formats="onnx", scheme="int8", max_drop=0.5, directory=tmp_path / "out",
        weights=LAB / "mobilenetv3small_1.0_224.weights.h5",
        calibration=tmp_path / "calibration", evaluation=tmp_path / "eval",
    )  # fmt: skip
    assert record.accuracy is not None
    assert record.quantization is not None
    found = record.quantization.search
    assert found is not None
    for trial in found.trials:
        record_property(f"drop_points_with_{trial.float_layers}_float_layers", trial.drop_points)
    assert (record.accuracy.images, record.accuracy.top1_drop_points) == (400, found.taken.drop_points)
    if found.met:
        assert (record.status, record.reason) == (Status.PASS, "")
        assert found.taken.drop_points <= 0.5
        assert all(not trial.met for trial in found.trials if trial.float_layers < len(found.float_layers))
    else:
        assert record.status is Status.FAIL
        assert "--max-drop 0.5 was not met" in record.reason
        assert max(trial.float_layers for trial in found.trials) == found.layers // 2


@pytest.mark.lab
@pytest.mark.skipif(not (LAB / "images").is_dir(), reason=f"no photographs and weights in {LAB}: set KEXPORT_LAB")
def test_mobilenet_of_bytes_is_judged_as_it_is_written(tmp_path: Path) -> None:
    """The drop that the search found is that of the very file, whose probabilities are in steps of 1/256."""
    for name, digits in (("eval", (2, 6)), ("calibration", (0,))):
        (tmp_path / name).mkdir()
        chosen = [path for path in sorted((LAB / "images").glob("*.jpg")) if int(path.name[:4]) % 10 in digits]
        for path in chosen[::3]:
            (tmp_path / name / path.name).symlink_to(path)
    (record,) = kexport.export(
        "MobileNet", alpha=0.25, formats="tflite", schemes="int8", io="uint8", max_drop=5.0, output=tmp_path / "out",
        weights=LAB / "mobilenet_0.25_224.weights.h5",
        calibration=tmp_path / "calibration", eval=tmp_path / "eval",
    )  # fmt: skip
    assert (record.status, record.reason) == (Status.PASS, "")
    assert record.accuracy is not None
    assert record.quantization is not None
    assert record.quantization.search is not None
    assert record.artifact is not None
    assert [spec.dtype for spec in (*record.artifact.inputs, *record.artifact.outputs)] == ["uint8", "uint8"]
    assert record.accuracy.top1_drop_points == record.quantization.search.taken.drop_points <= 5.0


@pytest.mark.parametrize(
    ("form", "io", "measured"),
    [
        ("tflite", "uint8", ("tflite", "uint8")),
        ("tflite", "int8", ("tflite", "int8")),
        ("tflite", "float32", ("onnx", "float32")),
    ],
)
def test_the_file_with_integer_inputs_is_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, io: str, measured: tuple[str, str]
) -> None:
    """Its steps of 1/256 decide too, so that it has a search and a plan of its own."""
    seen: list[Cell] = []
    monkeypatch.setattr(max_drop.write, "write_quantized", lambda plan, cell, path, metadata: seen.append(cell))
    monkeypatch.setattr(max_drop.scoring, "score", lambda path, cell, *_, **__: seen.append(cell) or "scored")
    model = ModelSpec(file="net.keras", weights=WeightsSpec(kind="model"))
    cell = Cell(
        model=model, format=Format(form), scheme=Scheme.INT8, calibration="c", evaluation="e", max_drop=1.0,
        io=Boundary(io),
    )  # fmt: skip
    bound = max_drop.Bound(cell=cell, facts=None, folder=tmp_path, threads=1, tell=lambda _: None)  # type: ignore[arg-type]
    assert bound.measure(None) == "scored"  # type: ignore[arg-type]
    assert {(str(each.format), str(each.io)) for each in seen} == {measured}
    assert int8._folder(cell) == ("int8" if io == "float32" else f"int8-{form}-{io}")
