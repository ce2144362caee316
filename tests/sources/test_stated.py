"""The contract as the user states it: modes, files, resizes, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kexport.errors import KexportError, SourceError, UsageError
from kexport.records import Resize
from kexport.sources import stated
from kexport.sources.scalings import SCALINGS


def written(folder: Path, text: str, name: str = "contract.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("mode", SCALINGS)
def test_a_mode(mode: str) -> None:
    found = stated.of(mode, None)
    assert (found.scaling, found.resizing, found.text) == (SCALINGS[mode], None, f"--preprocessing {mode}")


def test_files(tmp_path: Path) -> None:
    text = (
        'scale = 0.00392156862745098\nmean = [0.5, 0.4, 0.3]\nstd = 0.25\nchannel_order = "BGR"\nresize = "crop:0.9"\n'
    )
    found = stated.of(written(tmp_path, text), None)
    assert found.scaling is not None
    assert found.scaling.mean == (0.5, 0.4, 0.3)
    assert (found.scaling.mode, found.scaling.std, found.scaling.channel_order) == ("own", (0.25,) * 3, "BGR")
    assert found.resizing is not None
    assert (found.resizing.resize, found.resizing.ratio) == (Resize.CROP, 0.9)
    again = stated.of(written(tmp_path, json.dumps({"mode": "caffe"}), "c.json"), "pad")
    assert again.scaling == SCALINGS["caffe"]
    assert again.resizing == stated.Resizing(resize=Resize.PAD)
    same = stated.of(written(tmp_path, f"scale = {1 / 127.5!r}\nmean = 1\n"), None)
    assert same.scaling == SCALINGS["tf"]
    only = stated.of(written(tmp_path, 'resize = "squash"'), None)
    assert (only.scaling, only.resizing) == (None, stated.Resizing(resize=Resize.SQUASH))


def test_every_mistake_of_a_file_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, 'mode = "tv"\nscale = 0\nmean = [1, "a"]\nstd = [1.0, 0.0]\nresize = "crop:7"\nsize = 3\n')
    with pytest.raises(UsageError) as caught:
        stated.of(path, None)
    assert [line.removeprefix(f"--preprocessing {path}: ") for line in caught.value.message.splitlines()] == [
        'mode: expected one of raw, unit, tf, torch, caffe, got "tv"',
        "scale: expected a number other than 0, got 0",
        'mean: expected a number, or one for each channel, got [1, "a"]',
        "std: expected a number other than 0, or one for each channel, got [1.0, 0.0]",
        "size: unknown key, expected mode, channel_order, scale, mean, std, resize",
        "resize 'crop:7': the ratio is 7, expected 0.1 to 1, the part of the shorter side that the crop keeps",
    ]


@pytest.mark.parametrize("text", ["crop:", "crop:0.01", "crop:1.5", "crop:nan", "squash:1", "stretch", "pad:3", ""])
def test_wrong_resizes(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        stated.parse_resize(text)
    assert caught.value.message.startswith(f"--resize {text!r}: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [("tff", "did you mean tf?"), ("none.toml", "cannot be read"), ("README.md", "expected a file .toml or .json")],
)
def test_wrong_texts(text: str, said: str) -> None:
    with pytest.raises(KexportError) as caught:
        stated.of(text, None)
    assert said in caught.value.message


@pytest.mark.parametrize(("name", "content"), [("a.toml", "mode ="), ("a.json", "{"), ("a.json", "[]"), ("b.toml", "")])
def test_files_that_say_nothing(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises((UsageError, SourceError)) as caught:
        stated.of(written(tmp_path, content, name), None)
    assert caught.value.message.startswith(f"--preprocessing {tmp_path / name}: ")
