"""Calibration sets: the same arrays in the same order, streamed; bad data is refused with the file and the remedy."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import KexportError, SourceError, UsageError
from kexport.images import calibration, photographs, similarity
from kexport.images.calibration import CalibrationSet, Kind, open_calibration
from kexport.images.seeded import seeded_images
from kexport.images.similarity import Look
from kexport.pipeline import int8 as planning
from kexport.pipeline.demo import digits
from kexport.records import Signature
from kexport.sources import catalog

SIZE = (28, 28)
INPUT = (Signature(name="input", shape=(None, *SIZE, 3), dtype="float32"),)


def opened(text: Path | str, model: str = "MobileNetV3Small") -> CalibrationSet:
    application = catalog.application(model)
    contract = catalog.preprocessing(application, SIZE)
    return open_calibration(str(text), contract, INPUT, catalog.input_range(application))


def refused(text: Path | str, model: str = "MobileNetV3Small") -> KexportError:
    with pytest.raises(UsageError) as caught:
        opened(text, model)
    assert caught.value.hint
    assert caught.value.exit_code == 2
    return caught.value


def pictures(count: int, side: int = 40, *, seed: int = 0) -> np.ndarray:
    return seeded_images(count, (side, side, 3), seed=seed).round().astype(np.uint8)


def folder(path: Path, images: Sequence[np.ndarray] | np.ndarray, name: str = "{:03}_x.png") -> Path:
    from PIL import Image

    for index, image in enumerate(images):
        target = path / name.format(index)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target)
    return path


def arrays(path: Path, **named: np.ndarray) -> Path:
    np.savez(path, **named)  # type: ignore[arg-type]
    return path


def everything(found: CalibrationSet, size: int) -> np.ndarray:
    batches = list(found.batches(size))
    assert all(list(batch) == ["input"] and len(batch["input"]) == size for batch in batches[:-1])
    return np.concatenate([batch["input"] for batch in batches])


def test_a_folder(tmp_path: Path) -> None:
    images = folder(tmp_path / "images", pictures(33))
    found = opened(images, "MobileNet")
    assert (found.kind, found.count, found.fit_to_deploy, found.notes) == (Kind.IMAGES, 33, True, ())
    assert [member.name for member in found.members[:2]] == ["000_x.png", "001_x.png"]
    rows = everything(found, 8)
    assert (rows.shape, rows.dtype) == ((33, *SIZE, 3), np.float32)
    contract = catalog.preprocessing(catalog.application("MobileNet"), SIZE)
    _, third = photographs.read(images / "002_x.png", contract)
    np.testing.assert_array_equal(rows[2], photographs.prepare(third, contract))
    np.testing.assert_array_equal(rows, everything(found, 5))
    np.testing.assert_array_equal(rows, everything(opened(images, "MobileNet"), 33))


def test_the_fingerprint_changes_with_a_file_and_its_name(tmp_path: Path) -> None:
    first = opened(folder(tmp_path / "a", pictures(3)))
    assert opened(folder(tmp_path / "b", pictures(3))).sha256 == first.sha256
    assert opened(folder(tmp_path / "c", pictures(3), "other{}.png")).sha256 != first.sha256
    assert opened(folder(tmp_path / "d", pictures(3, seed=1))).sha256 != first.sha256


def test_float_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    images = seeded_images(33, (*SIZE, 3), seed=0, low=-1, high=1)
    found = opened(arrays(tmp_path / "x.npz", anything=images), "MobileNet")
    assert (found.kind, found.count, found.fit_to_deploy, found.notes) == (Kind.ARRAYS, 33, True, ())
    np.testing.assert_array_equal(everything(found, 4), images)
    double = opened(arrays(tmp_path / "y.npz", anything=images.astype(np.float64)), "MobileNet")
    np.testing.assert_array_equal(everything(double, 4), images)


def test_pixel_arrays_go_through_the_preprocessing(tmp_path: Path) -> None:
    pixels = pictures(4, SIZE[0])
    path = arrays(tmp_path / "x.npz", input=pixels, labels=np.arange(4))
    contract = catalog.preprocessing(catalog.application("ResNet50"), SIZE)
    np.testing.assert_array_equal(everything(opened(path, "ResNet50"), 3), photographs.prepare(pixels, contract))


def test_compressed_arrays_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = seeded_images(9, (*SIZE, 3), seed=0)
    np.savez_compressed(tmp_path / "x.npz", images)
    monkeypatch.setattr(np, "load", None)  # which would read it whole
    np.testing.assert_array_equal(everything(opened(tmp_path / "x.npz"), 2), images)


def test_synthetic_images_are_marked(tmp_path: Path) -> None:
    found = opened("synthetic:7", "MobileNet")
    assert (found.kind, found.count, found.fit_to_deploy) == (Kind.SYNTHETIC, 8, False)
    assert found.notes == ("calibrated on 8 synthetic images: not fit to deploy",)
    rows = everything(found, 5)
    assert -1 <= rows.min() < -0.9
    assert 0.9 < rows.max() <= 1
    np.testing.assert_array_equal(rows, everything(opened("synthetic:7", "MobileNet"), 8))
    other = opened("synthetic:8", "MobileNet")
    assert other.sha256 != found.sha256
    assert np.abs(rows - everything(other, 32)).mean() > 0.1
    reference = seeded_images(2, (*SIZE, 3), seed=0, low=-1, high=1)
    assert np.abs(everything(opened("synthetic:0", "MobileNet"), 8)[:2] - reference).mean() > 0.1


# What cannot be right: the message names the file, the hint the remedy.


def test_an_empty_folder(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert error.message == f"{tmp_path}: holds no images (.jpg, .jpeg, .png, .bmp, .webp, .tif, .tiff)"
    assert str(error.hint).startswith("--calibration FOLDER, with about 100 photographs")
    (tmp_path / "notes.txt").touch()
    assert refused(tmp_path).message.endswith(", but 1 other files")


def test_one_truncated_image_among_good_ones(tmp_path: Path) -> None:
    folder(tmp_path, pictures(5), "{:03}.jpg")
    bad = tmp_path / "003.jpg"
    bad.write_bytes(bad.read_bytes()[:-200])
    error = refused(tmp_path)
    assert isinstance(error, SourceError)
    assert error.message.startswith(f"{bad}: the image cannot be read: image file is truncated")
    assert error.hint == "replace or remove the file, then run again"


def test_every_damaged_image_is_named_at_once(tmp_path: Path) -> None:
    folder(tmp_path, pictures(14), "{:03}.jpg")
    for index in range(12):
        (tmp_path / f"{index:03}.jpg").write_bytes(b"")
    lines = refused(tmp_path).message.splitlines()
    assert [line.split(":")[0].rpartition("/")[2] for line in lines[:10]] == [f"{index:03}.jpg" for index in range(10)]
    assert lines[10:] == ["and 2 more"]


@pytest.mark.parametrize(
    ("model", "low", "high", "said"),
    [
        ("MobileNetV3Small", 0, 1, "the network ('raw' preprocessing) takes 0 to 255"),
        ("MobileNetV3Small", -1, 1, "the network ('raw' preprocessing) takes 0 to 255"),
        ("MobileNet", 0, 1, "the network ('tf' preprocessing) takes -1 to 1"),
        ("MobileNet", 0, 255, "the network ('tf' preprocessing) takes -1 to 1"),
        ("DenseNet121", 0, 1, "the network ('torch' preprocessing) takes -2.118 to 2.64"),
        ("DenseNet121", -1, 1, "the network ('torch' preprocessing) takes -2.118 to 2.64"),
        ("ResNet50", 0, 255, "the network ('caffe' preprocessing) takes -123.7 to 151.1"),
        ("ResNet50", 0, 1, "the network ('caffe' preprocessing) takes -123.7 to 151.1"),
    ],
)
def test_arrays_in_another_range(tmp_path: Path, model: str, low: float, high: float, said: str) -> None:
    images = seeded_images(40, (*SIZE, 3), seed=0, low=low, high=high)
    path = arrays(tmp_path / "x.npz", images=images)
    error = refused(path, model)
    assert error.message == f"{path}: values from {images.min():.4g} to {images.max():.4g}; {said}"
    assert error.hint == (
        "save uint8 pixels, which go through the network's own preprocessing, or apply it before saving"
    )


@pytest.mark.parametrize("model", ["MobileNetV3Small", "MobileNet", "DenseNet121", "ResNet50"])
def test_arrays_in_the_right_range(tmp_path: Path, model: str) -> None:
    contract = catalog.preprocessing(catalog.application(model), SIZE)
    images = photographs.prepare(pictures(8, SIZE[0]), contract)
    assert opened(arrays(tmp_path / "x.npz", images=images), model).count == 8


@pytest.mark.parametrize("model", ["MobileNetV3Small", "MobileNet", "DenseNet121", "ResNet50"])
@pytest.mark.parametrize(("low", "high"), [(0, 118), (0, 12), (200, 255)])
def test_dark_and_bright_pixels_are_taken_as_image_files_are(
    tmp_path: Path, model: str, low: float, high: float
) -> None:
    """uint8 pixels go through the network's contract, so that their scale cannot be another."""
    pixels = seeded_images(8, (*SIZE, 3), seed=0, low=low, high=high).round().astype(np.uint8)
    found = opened(arrays(tmp_path / "x.npz", images=pixels), model)
    contract = catalog.preprocessing(catalog.application(model), SIZE)
    np.testing.assert_array_equal(everything(found, 8), photographs.prepare(pixels, contract))
    assert found.notes == opened(folder(tmp_path / "images", pixels), model).notes


@pytest.mark.parametrize("model", ["MobileNetV3Small", "MobileNet", "ResNet50"])
@pytest.mark.parametrize("most", [0, 1])
def test_pixels_that_were_divided(tmp_path: Path, model: str, most: int) -> None:
    pixels = np.zeros((8, *SIZE, 3), np.uint8)
    pixels[:, :14] = most
    error = refused(arrays(tmp_path / "x.npz", images=pixels), model)
    assert error.message == (
        f"{tmp_path / 'x.npz'}: uint8 pixels from 0 to {most}, as of a mask or of images divided by 255; "
        "expected 0 to 255"
    )
    assert str(error.hint).startswith("np.savez('images.npz', input=images) with images of uint8")


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "pixels", "jpeg"])
def test_noise(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    if kind == "jpeg":
        path = folder(tmp_path / "x", pixels, "{}.jpg")
    else:
        floats = {"uniform": rng.uniform(0, 255, (6, *SIZE, 3)), "pixels": pixels[:, :28, :28],
                  "gaussian": rng.normal(128, 40, (6, *SIZE, 3)).clip(0, 255)}  # fmt: skip
        path = arrays(tmp_path / "x.npz", images=floats[kind])
    error = refused(path)
    assert error.message.startswith(f"{path}: 6 of 6 images are random noise (such as ")
    assert "photographs by 0.7 or more" in error.message
    assert "--calibration synthetic:0, whose result is marked as not fit to deploy" in str(error.hint)


def test_enlarged_noise_is_noise(tmp_path: Path) -> None:
    """Judged before the resize, which would make neighbours alike."""
    tiny = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    assert "random noise" in refused(folder(tmp_path, tiny)).message


def test_some_noise_among_photographs_is_a_note(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    found = opened(folder(tmp_path, np.concatenate([pictures(39), noise])))
    assert found.notes == ("1 of 40 images look like noise (such as 039_x.png)",)


def test_constant_images(tmp_path: Path) -> None:
    path = folder(tmp_path, [np.full((40, 40, 3), value, np.uint8) for value in (0, 100, 255)])
    assert refused(path).message == f"{path}: every image is of one colour; expected photographs"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    images = seeded_images(20, (*SIZE, 3), seed=0)
    images[13, 2, 3, 1] = value
    path = arrays(tmp_path / "x.npz", images=images)
    error = refused(path)
    assert error.message == f"{path} image 13: 1 of 2352 values are NaN or infinity; expected finite numbers"


@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (28, 28, 3), (0, 28, 28, 3), (4, 224, 224, 3)])
def test_wrong_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = arrays(tmp_path / "x.npz", images=np.zeros(shape, np.float32))
    told = ", ".join(map(str, shape))
    assert refused(path).message == f"{path}: array 'images' has shape ({told}), expected (images, 28, 28, 3)"


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", ">f4"])
def test_wrong_dtype(tmp_path: Path, dtype: str) -> None:
    path = arrays(tmp_path / "x.npz", images=np.zeros((4, *SIZE, 3), dtype))
    assert refused(path).message == (
        f"{path}: array 'images' has dtype {np.dtype(dtype)}, expected float16, float32, float64, or uint8 for pixels"
    )


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=np.array([[{}], [1]], dtype=object), allow_pickle=True)
    assert "array 'images' has shape (2, 1)" in refused(path).message


def test_ambiguous_arrays(tmp_path: Path) -> None:
    images = seeded_images(2, (*SIZE, 3), seed=0)
    path = arrays(tmp_path / "x.npz", a=images, b=images)
    assert refused(path).message == f"{path}: holds the arrays 'a', 'b'; expected one, or one called 'input'"
    empty = arrays(tmp_path / "y.npz")
    assert refused(empty).message == f"{empty}: holds the arrays none; expected one, or one called 'input'"


def test_damaged_array_files(tmp_path: Path) -> None:
    path = arrays(tmp_path / "x.npz", images=seeded_images(20, (*SIZE, 3), seed=0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path).message.startswith(f"{path}: is not a whole .npz file: ")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    path.write_bytes(bytes(flipped))
    assert "Bad CRC-32" in refused(path).message
    path.write_bytes(whole.replace(b"(20, 28, 28, 3)", b"(99, 28, 28, 3)"))
    assert refused(path).message.startswith(f"{path}: is not a whole .npz file: ")
    path.write_text("no zip")
    assert "is not a whole .npz file: File is not a zip file" in refused(path).message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing", "--calibration 'missing': there is no such file or folder"),
        ("file.txt", "--calibration 'file.txt': is neither a folder nor a .npz file"),
        ("synthetic", "--calibration 'synthetic': the seed is '', expected a whole number"),
        ("synthetic:x", "--calibration 'synthetic:x': the seed is 'x', expected a whole number"),
    ],
)
def test_what_is_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").touch()
    with pytest.raises(UsageError) as caught:
        calibration.check(text)
    assert caught.value.message.startswith(said)
    assert refused(text).message == caught.value.message


def test_a_network_of_open_size() -> None:
    contract = catalog.preprocessing(catalog.application("MobileNet"), SIZE)
    with pytest.raises(UsageError, match="images are for one input of static size"):
        open_calibration("synthetic:0", contract, [signature("x", None, None, 3)], (0, 1))


# Networks of several inputs, or of none that is an image.


def signature(name: str, *shape: int | None, dtype: str = "float32") -> Signature:
    return Signature(name=name, shape=(None, *shape), dtype=dtype)


TWINS = (signature("left", 8, 8, 3), signature("right", 8, 8, 3))
MIXED = (signature("photo", 8, 8, 3), signature("age", 2), signature("words", 5, dtype="int32"))


def rows(inputs: Sequence[Signature], count: int = 11) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        spec.name: (9 * rng.normal(size=(count, *(size or 0 for size in spec.shape[1:])))).astype(spec.dtype)
        for spec in inputs
    }


@pytest.mark.parametrize("inputs", [TWINS, MIXED, (signature("input", 20, 4),)], ids=["twins", "mixed", "sequence"])
def test_one_array_for_each_input(tmp_path: Path, inputs: tuple[Signature, ...]) -> None:
    given = rows(inputs)
    found = open_calibration(str(arrays(tmp_path / "x.npz", **given)), None, inputs, (0, 1))
    assert (found.kind, found.count, found.fit_to_deploy, found.near_duplicates) == (Kind.ARRAYS, 11, True, 0)
    batches = list(found.batches(4))
    assert [len(batch[inputs[0].name]) for batch in batches] == [4, 4, 3]
    for spec in inputs:
        read = np.concatenate([batch[spec.name] for batch in batches])
        np.testing.assert_array_equal(read, given[spec.name])
        assert read.dtype == spec.dtype


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left": None}, "holds the arrays 'right'; expected one for each input, 'left' among them"),
        ({"left": np.zeros((11, 8, 9, 3), np.float32)}, "array 'left' is (11, 8, 9, 3) float32, expected (samples, 8"),
        ({"right": np.zeros((11, 8, 8, 3), np.uint8)}, "array 'right' is (11, 8, 8, 3) uint8, expected (samples, 8"),
        ({"right": np.zeros((7, 8, 8, 3), np.float32)}, "'left' 11, 'right' 7; expected one for each sample"),
        ({"right": np.full((11, 8, 8, 3), np.nan, np.float32)}, "are NaN or infinity"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, change: dict[str, np.ndarray | None], said: str) -> None:
    given = {name: array for name, array in {**rows(TWINS), **change}.items() if array is not None}
    with pytest.raises(UsageError) as caught:
        open_calibration(str(arrays(tmp_path / "x.npz", **given)), None, TWINS, (0, 1))
    assert said in caught.value.message
    assert caught.value.hint


def test_images_are_no_rows_for_several_inputs(tmp_path: Path) -> None:
    for text in ("synthetic:0", str(folder(tmp_path / "images", pictures(2)))):
        with pytest.raises(UsageError, match="this one takes left") as caught:
            open_calibration(text, None, TWINS, (0, 1))
        assert caught.value.hint is not None
        assert "np.savez('inputs.npz', left=..., right=...)" in caught.value.hint


# What is doubtful: a note.


def test_few_images_and_one_class(tmp_path: Path) -> None:
    assert opened(folder(tmp_path / "a", pictures(3), "cats/{}.png")).notes == (
        "only 3 images: about 100 give stable ranges",
        "all 3 images are of one class (cats): mix the classes that will be met",
    )
    assert "(0007)" in opened(folder(tmp_path / "b", pictures(3), "0007_{}.png")).notes[1]
    assert len(opened(folder(tmp_path / "c", pictures(3), "{}.png")).notes) == 1
    assert opened(folder(tmp_path / "d", pictures(1), "{}.png")).notes[0].startswith("only 1 image: about 100")


def test_near_duplicates(tmp_path: Path) -> None:
    images = pictures(33, 64)
    folder(tmp_path, images)
    folder(tmp_path, images[5:6], "again.jpg")  # the same picture, compressed with losses
    (note,) = opened(tmp_path).notes
    assert opened(tmp_path).near_duplicates == 1
    assert note == ("1 of 34 images are near-duplicates (such as again.jpg of 005_x.png): they add no information")


def test_a_fit_needs_images_that_differ(tmp_path: Path) -> None:
    """One in ten may be a copy; frames of a film leave nothing unseen to judge on."""
    images = pictures(20, 64)
    folder(tmp_path, images)
    for count in range(1, 4):
        folder(tmp_path, images[count : count + 1], f"again{count}.jpg")
        assert planning._tell_apart(opened(tmp_path)) is (count < 3), count


def test_synthetic_images_all_differ() -> None:
    images = opened("synthetic:0", "MobileNet")
    assert images.near_duplicates == 0
    assert planning._tell_apart(images)


def test_near_pairs_are_those_of_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    values = [int(value) for value in rng.integers(0, 2**63, 300)]
    values += [value ^ (1 << int(rng.integers(64))) ^ (1 << int(rng.integers(64))) for value in values[:50]]
    plain = {
        (a, b)
        for a, x in enumerate(values)
        for b, y in enumerate(values)
        if (x ^ y).bit_count() <= similarity.NEAR_BITS
    }
    looks = [Look(bits=value) for value in values]
    assert set(similarity.near_pairs(looks, looks)) == plain
    assert len(plain) == 350 + 2 * 50


def letters() -> list[np.ndarray]:
    """Drawings on an even ground, of which few cells say anything: every letter at two places."""
    from PIL import Image, ImageDraw, ImageFont

    drawn = []
    for number in range(52):
        image = Image.new("RGB", (64, 64), "white")
        place = (6 + number // 26 * 18, 3 + number // 26 * 4)
        ImageDraw.Draw(image).text(place, chr(65 + number % 26), "black", ImageFont.load_default(size=44))
        drawn.append(np.asarray(image))
    return drawn


def ink() -> list[np.ndarray]:
    """The demo's handwritten digits."""
    with np.load(Path(digits.__file__).with_name(digits.IMAGES)) as stored:
        return list(digits.enlarged(stored["images"][:150]))


def traces() -> list[np.ndarray]:
    """One bright curve on black, as of an instrument."""
    rng, rows = np.random.default_rng(0), np.arange(64)[:, None]
    curves = 32 + 24 * np.sin(rng.uniform(0.05, 0.4, (40, 1)) * np.arange(64) + rng.uniform(0, 6, (40, 1)))
    pictures = [np.where(np.abs(rows - curve) < 2, 255, 0).astype(np.uint8) for curve in curves]
    return [np.repeat(picture[..., None], 3, axis=2) for picture in pictures]


@pytest.mark.parametrize("make", [letters, ink, traces])
def test_drawings_differ_and_their_copies_do_not(make: Callable[[], list[np.ndarray]]) -> None:
    from PIL import Image

    drawn = make()
    looks = [similarity.look(image) for image in drawn]
    alike = [pair for pair in similarity.near_pairs(looks, looks) if pair[0] != pair[1]]
    assert alike == []
    again = []
    for image in drawn:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=75)
        again.append(similarity.look(np.asarray(Image.open(file))))
    assert {(place, place) for place in range(len(drawn))} <= set(similarity.near_pairs(looks, again))


def test_images_of_one_colour_are_alike_and_no_drawing() -> None:
    even, drawing = (similarity.look(image) for image in (np.full((8, 8, 3), 7, np.uint8), letters()[8]))
    assert even.like(similarity.look(np.full((8, 8, 3), 200, np.uint8)))
    assert not even.like(drawing)
    assert not drawing.like(even)
