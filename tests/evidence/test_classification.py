"""A photograph to a class name, through the file alone; what is missing or not a class is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kexport import api
from kexport.errors import ArtifactError, UsageError
from kexport.evidence.classification import Head, head_of
from tests.evidence.small_files import COLOURS, SIDES, colours, contract, halves, metadata, photograph, write

RED, GREEN, BLUE = (220, 40, 20), (10, 230, 60), (20, 30, 250)


@pytest.mark.parametrize(
    ("name", "io"), [("a.onnx", ""), ("a.tflite", ""), ("a.tflite", "int8"), ("a.tflite", "uint8")]
)
def test_the_class_of_each_photograph(tmp_path: Path, name: str, io: str) -> None:
    file = write(tmp_path / name, colours(), io=io)
    images = [photograph(tmp_path / f"{i}.png", colour) for i, colour in enumerate((RED, GREEN, BLUE))]
    found = api.classify(file, images, top=2)
    answers = [image.answers[0] for image in found.images]
    assert [answer.guesses[0].name for answer in answers] == list(COLOURS)
    assert all(answer.head is Head.SOFTMAX and len(answer.guesses) == 2 for answer in answers)
    pixels = np.array([RED], np.float64) / 127.5 - 1
    powers = np.exp(pixels[0] * 4)
    assert answers[0].guesses[0].value == pytest.approx(powers[0] / powers.sum(), abs=0.02 if io else 1e-5)


def test_the_channel_order_is_the_contracts(tmp_path: Path) -> None:
    file = write(tmp_path / "a.onnx", colours(order="BGR"), entries=metadata("caffe"))
    assert api.classify(file, photograph(tmp_path / "r.png", RED)).images[0].answers[0].guesses[0].name == "red"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_followed(tmp_path: Path, orientation: int) -> None:
    """What stands at the left of the stored pixels is seen where the EXIF table of orientations says."""
    from PIL import Image

    image = photograph(tmp_path / "a.png", side="left")
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = tmp_path / "b.jpg"
    Image.open(image).save(turned, quality=95, exif=exif)
    seen = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom"}[orientation]
    file = write(tmp_path / "a.onnx", halves(), entries=metadata(labels=SIDES))
    assert api.classify(file, turned).images[0].answers[0].guesses[0].name == seen


def test_gray_cmyk_and_transparent_photographs(tmp_path: Path) -> None:
    from PIL import Image

    red = photograph(tmp_path / "red.png", RED)
    for mode, name in (("L", "gray.jpg"), ("CMYK", "cmyk.jpg"), ("RGBA", "alpha.png"), ("P", "palette.png")):
        Image.open(red).convert(mode).save(tmp_path / name)
    file = write(tmp_path / "a.onnx", colours())
    gray, *others = api.classify(
        file, [tmp_path / name for name in ("gray.jpg", "cmyk.jpg", "alpha.png", "palette.png")]
    ).images
    assert gray.answers[0].guesses[0].value == pytest.approx(1 / 3, abs=1e-5)
    assert [image.answers[0].guesses[0].name for image in others] == ["red"] * 3


def test_a_truncated_photograph_has_a_message_and_the_others_an_answer(tmp_path: Path) -> None:
    good = photograph(tmp_path / "good.jpg", RED)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:300])
    found = api.classify(write(tmp_path / "a.onnx", colours()), [bad, tmp_path / "absent.jpg", good])
    assert "bad.jpg: the image cannot be read" in found.images[0].problem
    assert "absent.jpg" in found.images[1].problem
    assert found.images[2].answers[0].guesses[0].name == "red"


def test_scores_get_a_softmax_and_it_is_said(tmp_path: Path) -> None:
    red = photograph(tmp_path / "r.png", RED)
    with_softmax = api.classify(write(tmp_path / "a.onnx", colours()), red).images[0].answers[0]
    without = api.classify(write(tmp_path / "b.tflite", colours("")), red).images[0].answers[0]
    assert without.head is Head.SCORES
    assert "kexport's" in without.note
    assert without.guesses[0].value == pytest.approx(with_softmax.guesses[0].value, abs=1e-5)


def test_labels_by_themselves_and_one_number(tmp_path: Path) -> None:
    red = photograph(tmp_path / "r.png", RED)
    several = api.classify(write(tmp_path / "a.tflite", colours("sigmoid")), red).images[0].answers[0]
    assert several.head is Head.SIGMOID
    assert several.guesses[0].value == pytest.approx(1 / (1 + np.exp(-4 * (220 / 127.5 - 1))), abs=1e-5)
    one = write(tmp_path / "b.onnx", colours("sigmoid", classes=1), entries=metadata(labels=()))
    answer = api.classify(one, red).images[0].answers[0]
    assert (answer.head, answer.guesses[0].name) == (Head.NUMBER, None)
    assert "sigmoid" in answer.note


def test_one_probability_tells_two_named_classes_apart(tmp_path: Path) -> None:
    images = [photograph(tmp_path / f"{place}.png", colour) for place, colour in enumerate((RED, BLUE))]
    named = metadata(labels=("not red", "red"))
    for name in ("a.onnx", "b.tflite"):
        file = write(tmp_path / name, colours("sigmoid", classes=1), entries=named)
        found = [image.answers[0] for image in api.classify(file, images).images]
        assert [answer.guesses[0].name for answer in found] == ["red", "not red"]
        assert all(sum(guess.value for guess in answer.guesses) == pytest.approx(1) for answer in found)
        assert "the probability of red" in found[0].note


def test_what_is_no_vector_of_classes() -> None:
    assert head_of("softmax", np.zeros((1, 4, 4, 2)))[0] is Head.OTHER
    assert head_of("softmax", np.array([[np.nan, 1.0]]))[0] is Head.OTHER
    assert head_of("", np.array([[0.25, 0.75]]))[0] is Head.SOFTMAX
    assert head_of("", np.array([[0.25, 7.0]]))[0] is Head.SCORES


def test_a_file_without_contract_wants_one_said(tmp_path: Path) -> None:
    file, red = write(tmp_path / "a.onnx", colours(), entries={}), photograph(tmp_path / "r.png", RED)
    with pytest.raises(UsageError, match="no contract in the file nor beside it"):
        api.classify(file, red)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(COLOURS))
    found = api.classify(file, red, preprocessing="tf", labels=names)
    assert found.images[0].answers[0].guesses[0].name == "red"
    assert any("resize of the contract is assumed" in note for note in found.notes)
    unnamed = api.classify(file, red, preprocessing="tf", resize="squash")
    assert (unnamed.contract.resize, unnamed.images[0].answers[0].guesses[0].name) == ("squash", None)
    assert any("no labels" in note for note in unnamed.notes)


def test_channels_first_of_another_maker(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    pool = helper.make_node("GlobalAveragePool", ["image"], ["pooled"])
    last = helper.make_node("Softmax", ["pooled"], ["classes"], axis=1)
    shapes = (("image", [1, 3, 8, 8]), ("classes", [1, 3, 1, 1]))
    image, classes = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    model = helper.make_model(
        helper.make_graph([pool, last], "g", [image], [classes]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(tmp_path / "a.onnx"))
    answer = (
        api.classify(tmp_path / "a.onnx", photograph(tmp_path / "g.png", GREEN), preprocessing="unit")
        .images[0]
        .answers[0]
    )
    assert (answer.head, answer.guesses[0].index) == (Head.SOFTMAX, 1)


@pytest.mark.parametrize(
    "change",
    [{"std": [1.0, 0.0, 1.0]}, {"mean": [1.0]}, {"size": [0, 8]}, {"scale": "x"}, {"size": [8, 9]}],
    ids=["std 0", "one mean", "no height", "no number", "another size"],
)
def test_a_contract_that_cannot_be(tmp_path: Path, change: dict[str, object]) -> None:
    entry = json.loads(metadata()["kexport.preprocessing"]) | change
    file = write(tmp_path / "a.onnx", colours(), entries={"kexport.preprocessing": json.dumps(entry)})
    with pytest.raises(UsageError, match="contract"):
        api.classify(file, photograph(tmp_path / "r.png", RED))


def test_a_damaged_file_is_refused_before_it_is_run(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tflite", colours())
    content = bytearray(file.read_bytes())
    content[40:200] = b"\xff" * 160
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="not a sound TFLite file"):
        api.classify(file, photograph(tmp_path / "r.png", RED))


def test_a_fixed_number_of_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tflite", colours(), batch=3)
    assert api.classify(file, photograph(tmp_path / "b.png", BLUE)).images[0].answers[0].guesses[0].name == "blue"


def test_the_contract_of_these_files_is_what_it_says() -> None:
    assert contract("tf").mean == (1.0, 1.0, 1.0)


def test_a_tflite_file_of_another_maker_with_standard_metadata_alone(tmp_path: Path) -> None:
    """No signature, none of kexport's entries: names are the tensors', contract and labels those of the standard."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    from kexport.formats.tflite import standard

    content = write(tmp_path / "a.tflite", colours()).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.signatureDefs = None
    model.metadata = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    builder = flatbuffers.Builder(2**14)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    bare = bytes(builder.Output())
    labels = "".join(f"{name}\n" for name in COLOURS).encode()
    (tmp_path / "b.tflite").write_bytes(bare + standard.archive({"labels.txt": labels}, start=len(bare)))
    found = api.classify(tmp_path / "b.tflite", photograph(tmp_path / "g.png", GREEN))
    assert (found.contract_from, found.labels_from) == ("standard metadata in the file",) * 2
    assert found.images[0].answers[0].guesses[0].name == "green"
