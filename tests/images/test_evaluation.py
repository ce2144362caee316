"""Evaluation sets: whose class an image shows, what two sets share, and what Keras said, on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import SourceError, UsageError
from kexport.images import evaluation, photographs
from kexport.images.calibration import open_calibration
from kexport.images.evaluation import Evaluated, open_evaluation
from kexport.images.evaluation_set import EvaluationSet
from kexport.images.seeded import seeded_images
from kexport.records import Signature
from kexport.sources import catalog

SIZE = (28, 28)
APPLICATION = catalog.application("MobileNet")
CONTRACT = catalog.preprocessing(APPLICATION, SIZE)
INPUT = (Signature(name="input", shape=(None, *SIZE, 3), dtype="float32"),)
NAMES = tuple(f"name {index}" for index in range(10))


def pictures(folder: Path, names: Iterable[str], *, seed: int = 0) -> Path:
    from PIL import Image

    listed = list(names)
    images = seeded_images(len(listed), (48, 48, 3), seed=seed).round().astype(np.uint8)
    for name, image in zip(listed, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder


def opened(path: Path, *, classes: int = 10, names: tuple[str, ...] = ()) -> EvaluationSet:
    outputs = (Signature(name="output", shape=(None, classes), dtype="float32"),)
    return open_evaluation(str(path), CONTRACT, INPUT, outputs, class_names=names)


def test_labels_decide_and_not_the_alphabet(tmp_path: Path) -> None:
    pictures(tmp_path / "a", ["daisy/x.png", "rose/x.png", "tulip/x.png"])
    found = opened(tmp_path / "a", classes=3, names=("tulip", "rose", "daisy"))
    assert (found.labels, found.guess) == ((2, 1, 0), "")
    found = opened(tmp_path / "a", classes=3, names=("Tulip", "ROSE", "daisy"))
    assert found.labels == (2, 1, 0)
    found = opened(tmp_path / "a", classes=3)
    assert found.labels == (0, 1, 2)
    assert found.guess == (
        "which class a folder shows was guessed from the alphabet: daisy 0, rose 1, tulip 2; --labels FILE settles it"
    )
    assert refused(tmp_path / "a", classes=3, names=("tulip", "rose", "lily")) == (
        f"{tmp_path / 'a'}: daisy: is no label of the model; the labels are tulip, rose, lily"
    )
    assert refused(tmp_path / "a", names=("aster", *map(str, range(9)))) == (
        f"{tmp_path / 'a'}: daisy, rose, tulip: are no labels of the model; the labels are aster, 0, 1, 2, 3, 4, 5, 6, "
        "7, 8"
    )


def test_numbers_that_are_names(tmp_path: Path) -> None:
    pictures(tmp_path / "a", ["1/x.png", "2/x.png", "3/x.png"])
    assert opened(tmp_path / "a", classes=3, names=("3", "2", "1")).labels == (2, 1, 0)
    assert opened(tmp_path / "a", classes=4, names=("one", "two", "three", "four")).labels == (1, 2, 3)


def test_names_that_stand_twice_are_told_by_their_ids(tmp_path: Path) -> None:
    names, identities = ("crane", "heron", "crane"), ("n02012849", "n02009229", "n03126707")
    pictures(tmp_path / "a", ["crane/x.png", "heron/x.png"])
    assert "crane: two classes are called crane; the labels are crane, heron, crane" in refused(
        tmp_path / "a", classes=3, names=names
    )
    pictures(tmp_path / "b", ["n03126707/x.png", "n02009229/x.png"])
    outputs = (Signature(name="output", shape=(None, 3), dtype="float32"),)
    found = open_evaluation(str(tmp_path / "b"), CONTRACT, INPUT, outputs, class_names=names, identities=identities)
    assert found.labels == (1, 2)


def test_names_in_a_csv_are_labels(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "x.csv").write_text("a.png,wild daisy\nb.png,0\n")
    assert opened(tmp_path / "x.csv", classes=2, names=("rose", "wild_daisy")).labels == (1, 0)
    (tmp_path / "x.csv").write_text("a.png,lily\n")
    assert refused(tmp_path / "x.csv", classes=2, names=("rose", "daisy")) == (
        f"{tmp_path / 'x.csv'}:1: the label is 'lily', expected a class index or one of rose, daisy"
    )


def refused(path: Path, *, classes: int = 10, names: tuple[str, ...] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        opened(path, classes=classes, names=names)
    assert caught.value.hint
    return caught.value.message


def test_the_index_in_front_of_the_name(tmp_path: Path) -> None:
    found = opened(pictures(tmp_path, ["0003_n1.png", "0007_n2.png", "0001_n3.png"]))
    assert [member.name for member in found.members] == ["0001_n3.png", "0003_n1.png", "0007_n2.png"]
    assert (found.labels, found.notes) == ((1, 3, 7), ())


@pytest.mark.parametrize(
    ("folders", "classes", "names", "labels"),
    [
        (("3", "07", "1"), 10, (), (7, 1, 3)),  # in the order of the names: 07, 1, 3
        (("name 4", "name 2"), 10, NAMES, (2, 4)),
        (("n01", "n07", "n03"), 3, (), (0, 1, 2)),
    ],
    ids=["indices", "names", "sorted order"],
)
def test_a_folder_per_class(
    tmp_path: Path, folders: tuple[str, ...], classes: int, names: tuple[str, ...], labels: tuple[int, ...]
) -> None:
    pictures(tmp_path, [f"{folder}/x.png" for folder in folders])
    assert opened(tmp_path, classes=classes, names=names).labels == labels


def test_a_csv_in_its_own_order_with_and_without_header(tmp_path: Path) -> None:
    pictures(tmp_path, ["a/1.png", "b.png"])
    lines = ["b.png, 4", "a/1.png,name 2", ""]
    for text in ("\n".join(lines), "path,label\n" + "\r\n".join(lines)):
        (tmp_path / "x.csv").write_text(text)
        found = opened(tmp_path / "x.csv", names=NAMES)
        assert ([member.name for member in found.members], found.labels) == (["b.png", "a/1.png"], (4, 2))


def test_without_labels(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "x.csv").write_text("b.png\na.png\n")
    assert opened(tmp_path).labels is None
    assert opened(tmp_path / "x.csv").labels is None
    assert opened(tmp_path).notes == ("1 files are no images and were left out (such as x.csv)",)


def test_labels_that_cannot_be_resolved(tmp_path: Path) -> None:
    pictures(tmp_path / "a", ["cat/x.png", "dog/x.png"])
    assert refused(tmp_path / "a") == (
        f"{tmp_path / 'a'}: which classes are the 2 folders cat, dog, ...? expected class indices, or one folder for "
        "each of the 10 classes in their order"
    )
    pictures(tmp_path / "b", ["1/x.png", "x.png"])
    assert refused(tmp_path / "b") == f"{tmp_path / 'b'}: x.png lies beside the folders of the classes"
    pictures(tmp_path / "c", ["1_x.png", "x.png"])
    assert "x.png has no class index in front, other files have one: expected all or none" in refused(tmp_path / "c")
    pictures(tmp_path / "d", ["12/x.png"])
    assert refused(tmp_path / "d") == f"{tmp_path / 'd'}: 12/x.png is of class 12, the network has 0 to 9"
    (tmp_path / "e").mkdir()
    assert "holds no images" in refused(tmp_path / "e")


def test_every_wrong_line_of_a_csv_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png"])
    path = tmp_path / "x.csv"
    path.write_text("path,label\na.png,3\nb.png,3\na.png,cat\na.png\n")
    assert refused(path).splitlines() == [
        f"{path}:3: there is no file 'b.png'",
        f"{path}:4: the label is 'cat', expected a class index",
        f"{path}:5: the label is '', expected a class index",
    ]
    path.write_text("path,label\n")
    assert refused(path) == f"{path}: lists no images"
    path.write_bytes(b"\xff\xfe,3\n")
    assert "cannot be read as CSV" in refused(path)


def test_damaged_images_are_named(tmp_path: Path) -> None:
    pictures(tmp_path, ["1_a.png", "2_b.png"])
    (tmp_path / "2_b.png").write_bytes(b"no image")
    assert refused(tmp_path).startswith(f"{tmp_path / '2_b.png'}: the image cannot be read")


@pytest.mark.parametrize("shape", [(None, 7, 7, 64), (None, 1), (None,)])
def test_networks_that_do_not_classify(tmp_path: Path, shape: tuple[int | None, ...]) -> None:
    outputs = (Signature(name="output", shape=shape, dtype="float32"),)
    with pytest.raises(UsageError, match="--eval is for networks that give one image one row of classes"):
        open_evaluation(str(pictures(tmp_path, ["a.png"])), CONTRACT, INPUT, outputs)


def test_what_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        evaluation.check(str(tmp_path / "none"))
    (tmp_path / "x.txt").touch()
    with pytest.raises(UsageError, match=r"is neither a folder nor a \.csv or \.npz file"):
        evaluation.check(str(tmp_path / "x.txt"))


def test_the_arrays_are_those_of_the_contract(tmp_path: Path) -> None:
    found = opened(pictures(tmp_path, [f"{index}_x.png" for index in range(5)]))
    rows = [batch["input"] for batch in found.batches(2)]
    assert [len(row) for row in rows] == [2, 2, 1]
    expected = photographs.prepare(photographs.read(tmp_path / "3_x.png", CONTRACT)[1], CONTRACT)
    np.testing.assert_array_equal(np.concatenate(rows)[3], expected)
    calibrated = open_calibration(str(tmp_path), CONTRACT, INPUT, catalog.input_range(APPLICATION))
    np.testing.assert_array_equal(np.concatenate(rows), next(calibrated.batches(5))["input"])


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    found = opened(pictures(tmp_path, ["1_a.png", "2_b.png"]))
    (tmp_path / "2_b.png").write_bytes((tmp_path / "1_a.png").read_bytes())
    with pytest.raises(SourceError, match=r"2_b\.png: was changed while the run was using it"):
        list(found.batches(1))


def test_the_fingerprint_knows_labels_and_files(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png", "b.png"])
    prints = set()
    for text in ("a.png,1\nb.png,2", "a.png,1\nb.png,3", "b.png,2\na.png,1", "a.png\nb.png"):
        (tmp_path / "x.csv").write_text(text)
        prints.add(opened(tmp_path / "x.csv").sha256)
    assert len(prints) == 4
    (tmp_path / "y.csv").write_text("a.png,1\nb.png,2")
    assert opened(tmp_path / "y.csv").sha256 in prints


def test_overlap_by_file_and_by_look(tmp_path: Path) -> None:
    from PIL import Image

    pictures(tmp_path / "eval", [f"{index}_x.png" for index in range(6)])
    pictures(tmp_path / "cal", [f"{index}.png" for index in range(4)], seed=1)
    (tmp_path / "cal" / "same.png").write_bytes((tmp_path / "eval" / "2_x.png").read_bytes())
    Image.open(tmp_path / "eval" / "4_x.png").save(tmp_path / "cal" / "alike.jpg", quality=90)
    calibrated = open_calibration(str(tmp_path / "cal"), CONTRACT, INPUT, catalog.input_range(APPLICATION))
    assert evaluation.overlap(opened(tmp_path / "eval").members, calibrated.members) == ("2_x.png", "4_x.png")
    synthetic = open_calibration("synthetic:0", CONTRACT, INPUT, catalog.input_range(APPLICATION))
    assert evaluation.overlap(opened(tmp_path / "eval").members, synthetic.members) == ()


def test_what_keras_said_reads_back(tmp_path: Path) -> None:
    found = opened(pictures(tmp_path / "eval", [f"{index}_x.png" for index in range(5)]))
    rows = np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32)
    assert evaluation.load(tmp_path) is None
    evaluation.save(Evaluated(images=found, overlap=("1_x.png",)), iter([rows[:2], rows[2:4], rows[4:]]), tmp_path)
    stored = evaluation.load(tmp_path)
    assert stored is not None
    assert stored[0] == Evaluated(images=found, overlap=("1_x.png",))
    np.testing.assert_array_equal(stored[1], rows)
    assert isinstance(stored[1], np.memmap)


def test_one_class(tmp_path: Path) -> None:
    found = opened(pictures(tmp_path, ["3/a.png", "3/b.png"]))
    assert found.notes == ("all 2 images are of class 3: accuracy on one class says little",)


def from_arrays(folder: Path, images: np.ndarray, model: str, *, dtype: str = "float32") -> EvaluationSet:
    np.savez(folder / "x.npz", input=images, labels=np.arange(len(images)) % 3)
    application = catalog.application(model)
    return evaluation.open_arrays(
        folder / "x.npz",
        catalog.preprocessing(application, SIZE),
        (Signature(name="input", shape=(None, *SIZE, 3), dtype=dtype),),
        (Signature(name="output", shape=(None, 3), dtype="float32"),),
        folder,
        text="x.npz",
        limits=catalog.input_range(application),
    )


DARK = seeded_images(8, (*SIZE, 3), seed=0, low=0, high=118).round().astype(np.uint8)


@pytest.mark.parametrize("model", ["MobileNetV3Small", "MobileNet", "ResNet50"])
def test_dark_pixels_of_a_file_of_arrays(tmp_path: Path, model: str) -> None:
    assert len(from_arrays(tmp_path, DARK, model).members) == 8
    with pytest.raises(UsageError, match=r"x\.npz: uint8 pixels from 0 to 1, as of a mask or of images divided by 255"):
        from_arrays(tmp_path, DARK // 117, model)
    with pytest.raises(UsageError, match=r"x\.npz: values from 0\.01.* to 0\.9.*; the network .* takes"):
        from_arrays(tmp_path, (DARK / 118).astype(np.float32), model)


def test_dark_pixels_of_a_network_that_takes_whole_numbers(tmp_path: Path) -> None:
    assert len(from_arrays(tmp_path, DARK, "MobileNetV3Small", dtype="uint8").members) == 8
