"""Arrays and datasets of a program become one file, whatever form they come in; what is no data is refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport.errors import UsageError
from kexport.images import given

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(10) % 3


class Sequence:
    """As `keras.utils.PyDataset`: a length and items, without an end of its own."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Any:
        return IMAGES[5 * place : 5 * place + 5], LABELS[5 * place : 5 * place + 5]


class Endless:
    def cardinality(self) -> int:
        return -1

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield IMAGES


class Elsewhere:
    """As a tensor of another package that is not in this memory."""

    shape, dtype = (10, 4, 5, 3), "float32"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("it is on a device")


def in_batches(size: int) -> Iterator[Any]:
    yield from ((IMAGES[start : start + size], LABELS[start : start + size]) for start in range(0, 10, size))


FORMS = {
    "a pair": (IMAGES, LABELS),
    "labels as a list": (IMAGES, LABELS.tolist()),
    "a list of batches": list(in_batches(4)),
    "a generator": in_batches(3),
    "single images": [(image, label) for image, label in zip(IMAGES, LABELS, strict=True)],
    "a PyDataset": Sequence(),
    "with sample weights": [(IMAGES, LABELS, np.ones(10))],
    "a dictionary": ({"input": IMAGES}, LABELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_file(tmp_path: Path, form: str) -> None:
    text, path = given.written(FORMS[form], tmp_path, option="eval")
    with np.load(path, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["input"], IMAGES)
        assert np.array_equal(arrays["labels"], LABELS)
        assert arrays["input"].dtype == np.uint8
    expected, _ = given.written((IMAGES, LABELS), tmp_path, option="eval")
    assert text == expected
    assert given.file_of(text, tmp_path).read_bytes() == path.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == [given.name_of(text)]


def test_images_alone_and_several_inputs(tmp_path: Path) -> None:
    _, path = given.written({"left": IMAGES, "right": IMAGES / 255}, tmp_path, option="calibration")
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["left", "right"]
        assert arrays["right"].dtype == np.float32, "as networks take numbers"
    first, _ = given.written(IMAGES, tmp_path, option="calibration")
    second, _ = given.written(IMAGES[::-1], tmp_path, option="calibration")
    assert first != second, "the digest is that of the data"


def test_labels_that_are_names(tmp_path: Path) -> None:
    names = ["rose", "tulip", "a name that is longer"]
    batches = [(IMAGES[:2], names[:2]), (IMAGES[2:3], np.array([names[2].encode()], dtype=object))]
    _, path = given.written(batches, tmp_path, option="eval")
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["labels"].tolist() == names


def test_masks(tmp_path: Path) -> None:
    masks = RNG.integers(0, 3, (10, 4, 5))
    _, path = given.written([(IMAGES[:6], masks[:6]), (IMAGES[6:], masks[6:])], tmp_path, option="eval")
    with np.load(path, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["labels"], masks)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "calibration: a int is no data"),
        ([], "calibration: holds nothing"),
        (["photos"], "calibration: expected arrays, got str"),
        (Endless(), "calibration: the dataset has no end"),
        ((IMAGES, LABELS[:9]), "rows of one batch: input 10, labels 9; expected as many of each"),
        ([IMAGES, IMAGES[:, :2]], r"input has rows of \(4, 5, 3\) uint8, then of \(2, 5, 3\) uint8"),
        (np.array(["a", "b"]), "input has dtype <U1; expected numbers"),
        (Elsewhere(), "calibration: an array cannot be had: it is on a device"),
        ((IMAGES, 3), "one label .* for all rows; expected one for each"),
    ],
)
def test_what_is_refused(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        given.written(value, tmp_path, option="calibration")
    assert caught.value.hint


def test_data_of_a_program_that_ended(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="arrays:0123 were arrays of a Python program, which are not there any more"):
        given.file_of("arrays:0123", tmp_path)
    assert given.file_of("photos", None) == Path("photos")
