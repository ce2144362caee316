"""Keras's answers in one file: every number comes back, the same bytes each time, and damage is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kexport.errors import StoreError
from kexport.images.photographs import prepare
from kexport.records import Signature
from kexport.sources import catalog, stored
from kexport.sources.answered import Reference
from kexport.sources.preprocessing import Feeding

SIGNATURE = Signature(name="image", shape=(None, 32, 24, 3), dtype="float32")
FED = Feeding(name="image", content="images", low=-1.0, high=1.0, mode="tf", basis="")
RECIPE = stored.recipe([FED], [SIGNATURE], seed=7)


def answers(inputs: dict[str, np.ndarray]) -> Reference:
    rng = np.random.default_rng(1)
    rows = len(next(iter(inputs.values())))
    out = {"a/b:0": rng.normal(size=(rows, 5)).astype(np.float32), "mask": rng.integers(0, 9, (rows, 2))}
    return Reference(inputs=inputs, outputs=out, logits={"a/b:0": out["a/b:0"] * 2}, again={"mask": out["mask"][:1]})


def same(ours: Reference, theirs: Reference) -> None:
    for group in ("inputs", "outputs", "logits", "again", "logits_again"):
        mine, yours = getattr(ours, group), getattr(theirs, group)
        assert list(mine) == list(yours), group
        for name, array in yours.items():
            assert mine[name].dtype == array.dtype
            np.testing.assert_array_equal(mine[name], array)


def test_seeded_inputs_are_drawn_and_not_stored(tmp_path: Path) -> None:
    reference = answers(RECIPE.draw())
    stored.save(reference, tmp_path / "a.npz", made=RECIPE)
    same(stored.load(tmp_path / "a.npz"), reference)
    assert not [name for name in zipfile.ZipFile(tmp_path / "a.npz").namelist() if "image" in name]
    assert stored.header(tmp_path / "a.npz").recipe == RECIPE


def test_inputs_that_the_recipe_does_not_draw_are_stored(tmp_path: Path) -> None:
    drawn = RECIPE.draw()
    drawn["image"][1, 3, 4, 2] += 1e-3
    stored.save(answers(drawn), tmp_path / "a.npz", made=RECIPE)
    same(stored.load(tmp_path / "a.npz"), answers(drawn))


@pytest.mark.parametrize("application", ["VGG16", "MobileNetV2", "DenseNet121"])
def test_photographs_take_a_byte_a_channel(tmp_path: Path, application: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), dtype=np.uint8)
    images = prepare(pixels, catalog.preprocessing(catalog.application(application)))
    assert images.dtype == np.float32
    stored.save(answers({"image": images}), tmp_path / "a.npz")
    same(stored.load(tmp_path / "a.npz"), answers({"image": images}))
    entry = next(e for e in zipfile.ZipFile(tmp_path / "a.npz").infolist() if e.filename.startswith("places:"))
    assert entry.file_size < pixels.size + 200


@pytest.mark.parametrize("odd", [np.nan, -0.0, np.inf])
def test_values_that_a_palette_would_lose_are_stored(tmp_path: Path, odd: float) -> None:
    images = np.zeros((1, 2, 2, 3), np.float32)
    images[0, 0, 0, 0] = odd
    stored.save(answers({"x": images}), tmp_path / "a.npz")
    found = stored.load(tmp_path / "a.npz").inputs["x"]
    assert found.tobytes() == images.tobytes()


def test_the_same_reference_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        stored.save(answers(RECIPE.draw()), tmp_path / name, made=RECIPE)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def rewritten(path: Path, **changes: object) -> None:
    """The file with another header."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members[stored.HEADER])
    members[stored.HEADER] = json.dumps({**header, **changes}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_seed_that_draws_other_numbers_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    stored.save(answers(RECIPE.draw()), path, made=RECIPE)
    rewritten(path, figures={"image": [[0.5, 0.5]] * 4})
    with pytest.raises(StoreError, match="the seed of input 'image' draws other numbers here"):
        stored.load(path)


def test_a_recipe_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    stored.save(answers(RECIPE.draw()), path, made=RECIPE)
    wide = [{"name": "image", "shape": [None, 10**6, 10**6, 3], "dtype": "float32"}]
    rewritten(path, recipe={"fed": [vars(each) for each in RECIPE.fed], "inputs": wide, "seed": 0})
    with pytest.raises(StoreError, match="expected at most"):
        stored.load(path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "pickle", "no header", "bomb", "liar"])
def test_a_damaged_file_is_told_in_words(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    stored.save(answers(RECIPE.draw()), path, made=RECIPE)
    if damage in ("truncated", "empty"):
        path.write_bytes(path.read_bytes()[: 300 if damage == "truncated" else 0])
    elif damage == "pickle":
        with zipfile.ZipFile(path, "a") as archive, archive.open("outputs:p.npy", "w") as stream:
            np.lib.format.write_array(stream, np.array([{}], object))
    elif damage == "no header":
        np.savez(path, outputs=np.zeros(3))
    elif damage == "bomb":
        monkeypatch.setattr(stored, "MOST_BYTES", 1000)
    else:
        with zipfile.ZipFile(path, "a") as archive, archive.open("outputs:p.npy", "w") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(StoreError, match=r"a\.npz (is no whole reference|unpacks to \d+ bytes)"):
        stored.load(path)
