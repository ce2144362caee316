"""Names of classes from files of every kind, and whose they are where none were given."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from kexport.errors import SourceError, UsageError
from kexport.records import Signature
from kexport.sources import imagenet_classes, labels
from kexport.specs import ModelSpec, WeightsSpec

RANDOM = WeightsSpec(kind="random", seed=0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "rose\ntulip\nwild daisy\n"),
        ("l.txt", "\ufeffrose\r\ntulip\r\nwild daisy"),
        ("l.json", '["rose", "tulip", "wild daisy"]'),
        ("l.json", '{"0": "rose", "2": "wild daisy", "1": "tulip"}'),
        ("l.json", '{"0": ["n01", "rose"], "1": ["n02", "tulip"], "2": ["n03", "wild daisy"]}'),
        ("l.csv", "rose\ntulip\nwild daisy\n"),
        ("l.csv", "index,name\n0,rose\n1,tulip\n2,wild daisy\n"),
        ("l.csv", '2,"wild daisy"\n0,rose\n1,tulip\n'),
    ],
)
def test_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert labels.read(tmp_path / name) == ("rose", "tulip", "wild daisy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", b"", "no labels"),
        ("l.txt", b"rose\n\ndaisy\n", "label 1 is empty"),
        ("l.txt", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("l.json", b"{", "is not JSON"),
        ("l.json", b"[1, 2]", "expected names, got 1"),
        ("l.json", b'"rose"', "no labels"),
        ("l.json", b'{"0": "rose", "2": "daisy"}', "class 1 has no name"),
        ("l.csv", b"0,rose\n3,daisy\n", "class 1 has no name"),
    ],
)
def test_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        labels.read(tmp_path / name)
    assert caught.value.message.startswith(f"--labels {tmp_path / name}")
    assert message in caught.value.message
    assert caught.value.hint


def test_every_class_without_a_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text('{"0": "rose", "1": 7, "2": ["n1", null], "3": []}')
    with pytest.raises(SourceError) as caught:
        labels.read(tmp_path / "l.json")
    assert caught.value.message.splitlines() == [
        f"--labels {tmp_path / 'l.json'}: class {index}: expected names, got {given}"
        for index, given in ((1, "7"), (2, "None"), (3, "[]"))
    ]


def test_a_file_without_end(tmp_path: Path) -> None:
    with (tmp_path / "l.txt").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(SourceError, match="1073741824 bytes, expected at most 16777216"):
        labels.read(tmp_path / "l.txt")


def scores(classes: int) -> tuple[Signature, ...]:
    return (Signature(name="output", shape=(None, classes), dtype="float32"),)


NONE = labels.Labels(names=(), origin="none: --labels FILE names the classes")


def test_imagenet_is_for_its_own_thousand_classes() -> None:
    found = labels.of(ModelSpec(application="VGG16", weights=RANDOM), scores(1000), activations={})
    assert (len(found.names), found.names[:2], found.names[999]) == (1000, ("tench", "goldfish"), "toilet_tissue")
    assert found.origin == "ImageNet"
    for other, classes in (
        (ModelSpec(application="VGG16", weights=RANDOM, classes=10), 10),
        (ModelSpec(application="VGG16", weights=RANDOM, layers=("fc1",)), 4096),
        (ModelSpec(file="a.keras", weights=WeightsSpec(kind="model")), 1000),
    ):
        assert labels.of(other, scores(classes), activations={}) == NONE


@pytest.mark.parametrize(
    ("names", "classes", "sigmoid", "refused"),
    [
        (2, 1, True, ""),
        (1, 1, True, ""),
        (3, 1, True, "3 labels for one probability"),
        (2, 1, False, "2 labels for 1 classes"),
        (2, 3, True, "2 labels for 3 classes"),
    ],
)
def test_two_names_are_those_of_one_probability(
    tmp_path: Path, names: int, classes: int, sigmoid: bool, refused: str
) -> None:
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{name}\n" for name in ("cat", "dog", "cow")[:names]))
    spec = ModelSpec(file="a.keras", weights=WeightsSpec(kind="model"), labels=str(path))
    ends = {"output": "sigmoid"} if sigmoid else {}
    if not refused:
        assert labels.of(spec, scores(classes), activations=ends).names == ("cat", "dog")[:names]
        return
    with pytest.raises(UsageError, match=refused) as caught:
        labels.of(spec, scores(classes), activations=ends)
    assert "names" in caught.value.hint


def test_of_several_outputs_the_only_row_with_a_last_step_says_the_class() -> None:
    boxes, kinds, mask = (
        Signature(name=name, shape=shape, dtype="float32")
        for name, shape in (("boxes", (None, 4)), ("kinds", (None, 3)), ("mask", (None, 8, 8, 2)))
    )
    ends = {"kinds": "softmax", "mask": "softmax"}
    assert labels.deciding((boxes, kinds, mask), ends) == kinds
    assert labels.deciding((boxes,), {}) == boxes
    assert labels.deciding((boxes, mask), ends) is None
    assert labels.deciding((boxes, kinds), {"boxes": "sigmoid", "kinds": "softmax"}) is None


def test_the_names_are_keras_s_own_file() -> None:
    """Written as that file is, the table has the hash that `keras.applications.imagenet_utils` states."""
    from keras.src.applications import imagenet_utils

    text = json.dumps({str(index): row for index, row in enumerate(imagenet_classes.rows())})
    stated = "c2c37ea517e94d9795004a39431a14cb"
    assert hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == stated
    assert stated in Path(imagenet_utils.__file__).read_text()
    assert len(set(imagenet_classes.identities())) == imagenet_classes.COUNT
