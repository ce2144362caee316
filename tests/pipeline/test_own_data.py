"""Data of a program, and networks that are no classifiers: measured by the figure that fits, gates hold it.

Cells with a function of the program's own are made in its process, so that these tests start no other.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kexport
from kexport import machine
from kexport.errors import UsageError
from kexport.records import Record, Score, Status
from kexport.reports.tradeoff import tradeoff_table

SIDE, COUNT = 16, 24
RNG = np.random.default_rng(5)


def smooth(count: int = COUNT) -> Any:
    """Images as photographs are: neighbours alike."""
    small = RNG.uniform(0, 255, (count, 4, 4, 3))
    return np.clip(np.kron(small, np.ones((1, 4, 4, 1))) + RNG.normal(0, 6, (count, SIDE, SIDE, 3)), 0, 255)


IMAGES = smooth().astype(np.uint8)
GIVEN = IMAGES, np.zeros(COUNT)
NOISE = RNG.integers(0, 256, IMAGES.shape).astype(np.uint8)


def body() -> tuple[Any, Any]:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    value = layers.Rescaling(1 / 127.5, offset=-1)(image)
    return image, layers.Conv2D(12, 3, padding="same", activation="relu")(value)


def model_of(kind: str) -> Any:
    import keras
    from keras import layers

    image, value = body()
    pooled = layers.GlobalAveragePooling2D()(value)
    ends = {
        "classes": lambda: layers.Dense(4, activation="softmax", kernel_initializer=wide())(pooled),
        "binary": lambda: layers.Dense(1, activation="sigmoid", kernel_initializer=wide())(pooled),
        "age": lambda: layers.Dense(1, kernel_initializer=wide())(pooled),
        "mask": lambda: layers.Conv2D(3, 1, activation="softmax", kernel_initializer=wide())(value),
        "features": lambda: layers.Dense(8)(pooled),
    }
    return keras.Model(image, ends[kind](), name=kind)


def wide() -> Any:
    import keras

    return keras.initializers.RandomNormal(stddev=3.0, seed=2)


def said(model: Any) -> Any:
    return model.predict_on_batch(IMAGES.astype(np.float32))


def right(kind: str, model: Any) -> Any:
    """Labels that Keras is mostly right about."""
    outputs = said(model)
    made = {
        "classes": lambda: outputs.argmax(axis=1),
        "binary": lambda: (outputs[:, 0] > 0.5).astype(int),
        "age": lambda: outputs[:, 0] + 1,
        "mask": lambda: outputs.argmax(axis=-1),
    }
    return made[kind]()


def here(model: Any, folder: Path, **options: Any) -> Record:
    """One cell in this process: a figure of one's own asks for that."""
    options = {"formats": "onnx", "evaluate": ("negative distance", distance), **options}
    (record,) = kexport.export(model, output=folder, **options)
    return record


def distance(outputs: Any, labels: Any) -> float:
    return -float(
        np.abs(outputs.reshape(len(outputs), -1)[:, 0] - np.asarray(labels).reshape(len(labels), -1)[:, 0]).mean()
    )


def figure(record: Record) -> Score:
    assert record.accuracy is not None
    assert record.accuracy.headline is not None
    return record.accuracy.headline


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """Each kind of network through the processes of a run, with arrays as a program has them."""
    found = {}
    for kind in ("classes", "binary", "age", "mask", "features"):
        model, folder = model_of(kind), tmp_path_factory.mktemp(kind)
        data = IMAGES if kind == "features" else (IMAGES, right(kind, model))
        (found[kind],) = kexport.export(model, formats="onnx", eval=data, output=folder, jobs=1)
    return found


def test_the_figure_is_that_of_the_output_and_the_labels(several: dict[str, Record]) -> None:
    assert {kind: (record.status, record.reason) for kind, record in several.items()} == dict.fromkeys(
        several, (Status.PASS, "")
    )
    names = {kind: (figure(record).name, figure(record).unit) for kind, record in several.items()}
    assert names == {
        "classes": ("top-1", "%"), "binary": ("top-1", "%"), "age": ("MAE", ""), "mask": ("mIoU", "%"),
        "features": ("cosine", ""),
    }  # fmt: skip
    assert {kind: figure(record).keras for kind, record in several.items()} == {
        "classes": 100.0, "binary": 100.0, "age": pytest.approx(1.0, rel=1e-4), "mask": 100.0, "features": None,
    }  # fmt: skip
    assert all(figure(record).drop == pytest.approx(0, abs=0.5) for record in several.values())


def test_the_record_and_the_report_say_what_it_was(several: dict[str, Record]) -> None:
    scored = several["mask"].accuracy
    assert scored is not None
    assert scored.evaluation.startswith("arrays:")
    assert (scored.images, scored.labelled, len(scored.scores)) == (COUNT, True, 2)
    table = tradeoff_table(tuple(several.values()))
    place = table.header.index("figure")
    assert table.header[place + 1] == "drop"
    shown = {row[0]: row[place] for row in table.rows}
    assert shown["classes"] == "top-1 100.00 %"
    assert shown["mask"].startswith("mIoU 9") or shown["mask"] == "mIoU 100.00 %"
    assert shown["age"].startswith("MAE 1")
    again = several["mask"].reproduce
    assert again == "kexport.export(model, formats='onnx', schemes='float32', eval=eval, force=True)"


def test_int8_on_a_dataset_and_a_bound_on_masks(tmp_path: Path) -> None:
    """Calibrated on batches, held to a drop of mIoU: the search measures the figure of masks."""
    model = model_of("mask")
    batches = [(IMAGES[start : start + 8], np.zeros(8)) for start in range(0, COUNT, 8)]
    data = (IMAGES, right("mask", model))
    (record,) = kexport.export(
        model, formats="tflite", schemes="int8", calibration=batches, eval=data, max_drop=40, output=tmp_path
    )
    assert (record.status, record.reason) == (Status.PASS, "")
    assert record.quantization is not None
    assert record.quantization.search is not None
    assert (record.quantization.search.metric, record.quantization.search.unit) == ("mIoU", "points")
    assert record.quantization.calibration.startswith("arrays:")
    assert record.quantization.images == COUNT
    assert any("mIoU drop of" in note for note in record.quantization.notes)


def test_a_figure_of_ones_own_decides(tmp_path: Path) -> None:
    model = model_of("age")
    seen: list[tuple[int, ...]] = []

    def nearness(outputs: Any, labels: Any) -> float:
        seen.append(outputs.shape)
        return distance(outputs, labels)

    (record,) = kexport.export(
        model, formats="onnx", eval=(IMAGES, right("age", model)), evaluate=nearness, output=tmp_path
    )
    assert (record.status, figure(record).name) == (Status.PASS, "nearness")
    assert figure(record).keras == pytest.approx(-1, rel=1e-4)
    assert seen == [(COUNT, 1)] * 2, "once for Keras and once for the file"
    assert "evaluate=evaluate" in record.reproduce
    given = {"model": model, "eval": (IMAGES, right("age", model)), "evaluate": nearness, "kexport": kexport}
    with contextlib.chdir(tmp_path):
        (again,) = eval(record.reproduce, given)
    assert again.accuracy == record.accuracy
    assert again.reproduce == record.reproduce


def test_a_bound_that_is_not_met_fails(tmp_path: Path) -> None:
    """A figure that no file reaches: nothing is published, and its name and unit are told."""
    model, calls = model_of("classes"), []

    def falling(outputs: Any, labels: Any) -> float:
        calls.append(1)
        return 1.0 if len(calls) % 2 else 0.0

    record = here(
        model, tmp_path, schemes="int8", calibration=IMAGES, eval=(IMAGES, right("classes", model)), evaluate=falling,
        max_drop=0.5,
    )  # fmt: skip
    assert record.status is Status.FAIL
    assert "--max-drop 0.5 was not met: the least falling drop is 1.0000 units of falling" in record.reason
    assert not (tmp_path / "classes").exists() or not list((tmp_path / "classes").glob("*.onnx"))


@pytest.mark.parametrize(
    ("saturates", "hint"), [(True, "--kernels portable"), (False, "--schemes float16, without --kernels")]
)
def test_what_helps_a_file_of_wide_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saturates: bool, hint: str
) -> None:
    """Made here, where the processor can be another."""
    model, calls = model_of("classes"), []

    def falling(outputs: Any, labels: Any) -> float:
        calls.append(1)
        return 1.0 if len(calls) % 2 else 0.0

    monkeypatch.setattr(machine, "saturates", lambda: saturates)
    record = here(
        model, tmp_path, schemes="int8", calibration=IMAGES, eval=(IMAGES, right("classes", model)), evaluate=falling,
        max_drop=0.5, kernels="full",
    )  # fmt: skip
    assert (record.status, record.hint) == (Status.FAIL, hint)
    assert (
        bool(re.search(r"; this CPU has no VNNI .* add up to \d+, at most 128 would fit$", record.reason)) is saturates
    )


def test_names_of_classes(tmp_path: Path) -> None:
    model = model_of("classes")
    (tmp_path / "names.txt").write_text("ash\nbeech\ncedar\nelm\n")
    names = np.array(["ash", "beech", "cedar", "elm"])[right("classes", model)].tolist()
    record = here(model, tmp_path / "out", labels=tmp_path / "names.txt", eval=(IMAGES, names), evaluate=top1)
    assert (record.status, figure(record).value) == (Status.PASS, 1.0)


def test_of_several_outputs_the_one_that_says_the_class_is_measured(tmp_path: Path) -> None:
    import keras

    model = model_of("classes")
    rows = model.layers[-1].input
    box = keras.layers.Dense(4, name="box")(rows)
    both = keras.Model(model.input, {"box": box, "kind": model.output}, name="detector")
    (tmp_path / "names.txt").write_text("ash\nbeech\ncedar\nelm\n")
    names = np.array(["ash", "beech", "cedar", "elm"])[right("classes", model)].tolist()
    data = {"eval": (IMAGES, names), "labels": tmp_path / "names.txt"}
    (record,) = kexport.export(both, formats="onnx", output=tmp_path / "out", jobs=1, **data)
    assert (record.status, record.reason) == (Status.PASS, "")
    assert (figure(record).name, figure(record).keras, figure(record).drop) == ("top-1", 100.0, 0.0)
    assert record.accuracy is not None
    assert record.accuracy.logits_sqnr_db > 80  # the softmax of one of the outputs is seen
    assert any("the only one that says a class" in note for note in record.accuracy.notes)
    sure = keras.layers.Dense(1, activation="sigmoid", name="sure")(rows)
    three = keras.Model(model.input, [box, model.output, sure], name="unsure")
    with pytest.raises(UsageError, match="which of the outputs") as caught:
        here(three, tmp_path / "three", eval=(IMAGES, right("classes", model)), evaluate=top1)
    assert "--layer NAME" in caught.value.hint


def test_a_file_of_arrays_and_a_dataset_are_the_same(tmp_path: Path) -> None:
    import tensorflow as tf

    model, labels = model_of("classes"), right("classes", model_of("classes"))
    np.savez(tmp_path / "data.npz", input=IMAGES, labels=labels)
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, labels))
    forms = {"file": tmp_path / "data.npz", "batches": dataset.batch(7), "images": dataset}
    found = {name: here(model, tmp_path / name, eval=form, evaluate=top1) for name, form in forms.items()}
    assert {name: figure(record).value for name, record in found.items()} == dict.fromkeys(forms, 1.0)
    assert found["file"].accuracy is not None
    assert found["file"].accuracy.evaluation == str(tmp_path / "data.npz")
    with pytest.raises(UsageError, match="eval: the dataset has no end"):
        here(model, tmp_path, eval=dataset.batch(7).repeat(), evaluate=top1)


def test_layers_of_a_live_model_are_ranked_on_arrays() -> None:
    model = model_of("classes")
    before = [np.asarray(weight).tobytes() for weight in model.weights]
    found = kexport.sensitivity(model, IMAGES, images=8)
    assert {layer.kind for layer in found.layers} == {"Conv2D", "Dense"}
    assert (found.model, found.images, found.calibration[:7]) == ("classes", 8, "arrays:")
    assert [np.asarray(weight).tobytes() for weight in model.weights] == before


def top1(outputs: Any, labels: Any) -> float:
    return float((outputs.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"eval": (IMAGES[:, :8], np.zeros(COUNT))},
            r"is \(24, 8, 16, 3\) uint8, expected \(rows, 16, 16, 3\) float32",
        ),
        ({"eval": (IMAGES, np.full(COUNT, 9))}, "a label is 9, the network has classes 0 to 3"),
        ({"eval": (IMAGES / 255.0, np.zeros(COUNT))}, r"values from 0\S* to 1; the network .* takes 0 to 255"),
        ({"eval": (np.full(IMAGES.shape, np.nan), np.zeros(COUNT))}, "values are NaN or infinity"),
        (
            {"eval": GIVEN, "calibration": NOISE, "schemes": "int8"},
            "^calibration: 24 of 24 images are random noise",
        ),
        (
            {"eval": GIVEN, "calibration": IMAGES * 0, "schemes": "int8"},
            "^calibration: uint8 pixels from 0 to 0, as of a mask",
        ),
    ],
)
def test_data_that_does_not_fit(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        here(model_of("classes"), tmp_path, **options)
    assert caught.value.hint
    assert ".npz: " not in caught.value.message, "a file that the user never saw"


def test_what_contradicts_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="eval and evaluate are both data"):
        here(model_of("classes"), tmp_path, eval=IMAGES, evaluate=IMAGES)
    with pytest.raises(UsageError, match="evaluate: top1 needs data"):
        here(model_of("classes"), tmp_path, evaluate=top1)
