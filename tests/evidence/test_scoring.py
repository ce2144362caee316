"""Accuracy through the whole run: Keras sees the photographs once, every artifact sees the same arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kexport
from kexport.errors import UsageError
from kexport.evidence import scoring
from kexport.evidence.accuracy import measure
from kexport.images.seeded import seeded_images
from kexport.records import Record, Status
from tests.places import LAB

SMALL = {"weights": "random:0", "input_shape": (64, 64, 3), "classes": 10}


def photographs(folder: Path, count: int = 7) -> Path:
    from PIL import Image

    folder.mkdir()
    for index, image in enumerate(seeded_images(count, (80, 90, 3), seed=3).round().astype(np.uint8)):
        Image.fromarray(image).save(folder / f"{index % 10:04}_{index}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Record, ...]]:
    folder = tmp_path_factory.mktemp("scoring")
    images = photographs(folder / "eval")
    (folder / "cal").mkdir()
    (folder / "cal" / "same.png").write_bytes((images / "0002_2.png").read_bytes())
    records = kexport.export(
        "MobileNetV3Small", formats=("onnx", "tflite"), directory=folder / "out",
        evaluation=images, calibration=folder / "cal", **SMALL,
    )  # type: ignore[arg-type]  # fmt: skip
    return folder, records


def test_every_format_has_its_record(run: tuple[Path, tuple[Record, ...]]) -> None:
    folder, records = run
    assert [(record.status, record.reason) for record in records] == [(Status.PASS, "")] * 2
    found = [record.accuracy for record in records]
    assert [scored.runtime for scored in found if scored] == ["onnxruntime", "litert"]
    for scored in found:
        assert scored is not None
        assert (scored.images, scored.labelled, scored.top1_agreement, scored.non_finite) == (7, True, 1.0, 0)
        assert scored.keras_top1 == scored.top1 is not None
        assert scored.logits_sqnr_db is not None
        assert scored.logits_sqnr_db > 80
        assert (scored.overlap, scored.overlap_names) == (1, ("0002_2.png",))
        assert (scored.evaluation, len(scored.evaluation_sha256)) == (str(folder / "eval"), 64)
    assert len({scored.keras_top1 for scored in found if scored}) == 1


def test_the_command_that_makes_it_again_has_the_images(run: tuple[Path, tuple[Record, ...]]) -> None:
    folder, (record, *_) = run
    assert f"--calibration {folder / 'cal'} --eval {folder / 'eval'}" in record.reproduce


def test_resuming_minds_the_images(run: tuple[Path, tuple[Record, ...]]) -> None:
    """The same photographs: kept. One more of them: made again."""
    folder, (made, *_) = run
    asked = {"formats": "onnx", "directory": folder / "out", "evaluation": folder / "eval",
             "calibration": folder / "cal", "resume": True, **SMALL}  # fmt: skip
    (kept,) = kexport.export("MobileNetV3Small", **asked)  # type: ignore[arg-type]
    assert kept == made
    (folder / "eval" / "0009_more.png").write_bytes((folder / "eval" / "0004_4.png").read_bytes())
    (again,) = kexport.export("MobileNetV3Small", **asked)  # type: ignore[arg-type]
    assert again.accuracy is not None
    assert again.accuracy.images == 8
    assert again.accuracy.notes == (
        "1 of 8 images are near-duplicates (such as 0009_more.png of 0004_4.png): they add no information",
    )


def test_a_static_batch_that_does_not_divide_the_images_and_no_labels(tmp_path: Path) -> None:
    images = photographs(tmp_path / "eval")
    for path in images.iterdir():
        path.rename(path.with_name(path.name.rpartition("_")[2]))
    (record,) = kexport.export(
        "MobileNetV3Small", formats="onnx", batch=3, directory=tmp_path / "out", evaluation=images, **SMALL
    )  # type: ignore[arg-type]
    assert record.accuracy is not None
    assert (record.accuracy.images, record.accuracy.labelled, record.accuracy.top1) == (7, False, None)
    assert record.accuracy.top1_agreement == 1.0


def test_bad_images_end_the_run_with_their_own_message(tmp_path: Path) -> None:
    bad = photographs(tmp_path / "eval") / "0003_3.png"
    bad.write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        kexport.export("MobileNetV3Small", directory=tmp_path / "out", evaluation=tmp_path / "eval", **SMALL)  # type: ignore[arg-type]
    assert caught.value.message.startswith(f"{bad}: the image cannot be read")
    assert caught.value.hint == "replace or remove the file, then run again"
    assert not list((tmp_path / "out").glob("*/*"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"evaluation": "none"}, "--eval 'none': there is no such file or folder"),
        ({"calibration": "none"}, "--calibration 'none': there is no such file or folder"),
        ({"calibration": "synthetic:"}, "--calibration 'synthetic:': the seed is '', expected a whole number"),
        ({"evaluation": ".", "include_top": False}, "--eval and --no-top: features have no classes to be right about"),
    ],
)
def test_refused_before_any_work(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        kexport.export("MobileNet", weights="random:0", directory=tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert caught.value.message.startswith(said)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_nan_fails_the_artifact() -> None:
    values = np.array([[0.7, 0.3], [0.2, 0.8]])
    record = measure([(values, values)], None, softmax=True)
    assert list(scoring.problems(record)) == list(scoring.problems(None)) == []
    assert list(scoring.problems(replace(record, non_finite=1))) == ["1 of 2 photographs give NaN or infinity"]


@pytest.mark.lab
@pytest.mark.skipif(not (LAB / "images").is_dir(), reason=f"no photographs and weights in {LAB}: set KEXPORT_LAB")
def test_real_photographs(tmp_path: Path) -> None:
    """MobileNet 0.25 on the 400 photographs whose class is no multiple of ten; the others calibrate."""
    paths = sorted((LAB / "images").glob("*.jpg"))
    chosen = [path for path in paths if int(path.name[:4]) % 10]
    (tmp_path / "eval.csv").write_text("".join(f"{path},{int(path.name[:4])}\n" for path in chosen))
    (tmp_path / "calibration").mkdir()
    for path in set(paths) - set(chosen):
        (tmp_path / "calibration" / path.name).symlink_to(path)
    records = kexport.export(
        "MobileNet", alpha=0.25, weights=LAB / "mobilenet_0.25_224.weights.h5", directory=tmp_path / "out",
        evaluation=tmp_path / "eval.csv", calibration=tmp_path / "calibration",
    )  # fmt: skip
    for record in records:
        scored = record.accuracy
        assert scored is not None
        assert (scored.images, scored.overlap, scored.notes) == (400, 0, ())
        assert (scored.keras_top1, scored.top1, scored.top1_agreement) == (0.5575, 0.5575, 1.0)
        assert (scored.right_to_wrong, scored.wrong_to_right, scored.top1_drop_points) == (0, 0, 0.0)
