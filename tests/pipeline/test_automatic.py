"""``--schemes auto``: the fastest file inside the bounds is taken, per format, by trusted measurements alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kexport
from kexport.cli import verdict
from kexport.errors import UnknownNameError, UsageError
from kexport.evidence.choice import choose
from kexport.options import PYTHON, ExportOptions, read
from kexport.pipeline import automatic, measuring, requests
from kexport.records import Record, Status
from kexport.reports.auto import auto_table, chosen
from kexport.sources.names import select
from kexport.specs import Format
from tests.evidence.test_gates import bench
from tests.reports.test_instead import NOISY, record

AUTO = ("auto",)


def tried(**times: float) -> list[Record]:
    return [record(scheme, time) for scheme, time in times.items()]


def sized(made: Record, size_bytes: int) -> Record:
    assert made.artifact is not None
    return replace(made, artifact=replace(made.artifact, size_bytes=size_bytes))


@pytest.mark.parametrize(
    ("records", "told"),
    [
        (
            tried(float32=2.0, float16=3.0, int8=1.0),
            ["left: 2.00 ms", "left: 3.01 ms", "taken: 1.00 ms, the fastest inside the bounds"],
        ),
        (tried(float32=2.0, int8=3.0), ["taken: 2.00 ms, the fastest inside the bounds", "left: 3.01 ms"]),
        (
            [record("float32", 2.0), record("int8", 1.0, status=Status.FAIL)],
            ["taken: 2.00 ms, the fastest inside the bounds", "left: why"],
        ),
        (
            [sized(record("float32", 2.0), 9), sized(record("int8", 2.0), 3)],
            ["left: 2.00 ms", "taken: 2.00 ms, the smallest of 2 that are as fast"],
        ),
        (
            tried(float32=2.0, int8=1 * NOISY),
            [
                "taken: 2.00 ms, the fastest inside the bounds, of the 1 whose time can be told",
                "left: its time cannot be told",
            ],
        ),
        (
            tried(int8=1 * NOISY, float32=2 * NOISY),
            ["left: its time cannot be told", "taken: the machine was too noisy to say which is the fastest"],
        ),
        ([record("float32", 2.0, status=Status.FAIL), record("int8", 1.0, status=Status.FAIL)], ["", ""]),
    ],
    ids=["int8", "float32", "bound", "alike", "one noisy", "all noisy", "none"],
)
def test_the_choice(records: list[Record], told: list[str]) -> None:
    assert list(choose(records)) == told


def test_the_table_has_the_front_and_the_verdict_the_choice() -> None:
    records = [sized(record("float32", 2.0), 8), sized(record("float16", 3.0), 4), sized(record("dynamic", 4.0), 5)]
    records.append(record("int8", 1.0, status=Status.FAIL))
    judged = [replace(each, auto=told) for each, told in zip(records, choose(records), strict=True)]
    rows = {row[2]: row[3:5] for row in auto_table(judged).rows}
    assert rows["float32"] == ("yes", "taken")
    assert auto_table(judged).notes == (
        "M onnx float32: taken: 2.00 ms, the fastest inside the bounds",
        "M onnx int8: left: why",
    )
    assert [rows[scheme][0] for scheme in ("float16", "dynamic", "int8")] == ["yes", "no", "no"]
    assert chosen(judged) == ("auto: M onnx: float32, 2.00 ms, the fastest inside the bounds",)
    other = replace(record("int8", 1.0), auto="taken: 1.00 ms, the fastest inside the bounds")
    told = "; what it loses was not measured: --eval photos --max-drop 0.5"
    assert chosen([other]) == (f"auto: M onnx: int8, 1.00 ms, the fastest inside the bounds{told}",)
    assert verdict.exit_code(judged) == 0, "what was tried and is over a bound is no failure of the run"
    assert verdict.exit_code([replace(each, auto="") for each in judged]) == 1


def test_what_is_tried() -> None:
    def schemes(**more: Any) -> list[str]:
        found = requests.cells(select(["MobileNet"]), ExportOptions(schemes=AUTO, **more))  # type: ignore[arg-type]
        return [f"{cell.format} {cell.scheme}" for cell in found]

    every = ["float32", "float16", "dynamic", "int8"]
    assert schemes(calibration="synthetic:0", formats=(Format.ONNX,)) == [f"onnx {each}" for each in every]
    assert schemes(formats=(Format.TFLITE,)) == [f"tflite {each}" for each in every[:3]]
    assert schemes(formats=(Format.SAVEDMODEL,)) == ["savedmodel float32"]
    without = ExportOptions(schemes=AUTO)  # type: ignore[arg-type]
    assert requests.benchmark(without) is not None, "it is measured"
    assert requests.skipped(without) == ("skipped int8: --schemes auto tries it with --calibration photos",)
    assert automatic.asked(without)
    assert not automatic.asked(ExportOptions())


def test_the_word() -> None:
    assert read(PYTHON, {"schemes": "auto"}) == {"schemes": AUTO}
    with pytest.raises(UsageError, match="--schemes auto,int8: expected auto alone, which tries every one"):
        read(PYTHON, {"schemes": "auto,int8"})
    with pytest.raises(UnknownNameError, match="unknown scheme 'aut': did you mean auto"):
        read(PYTHON, {"schemes": "aut"})


def test_through_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 3))
    made = keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Conv2D(8, 3)(image))), name="chosen")
    times = {"float32": 2.0, "float16": 1.0, "dynamic": 3.0}
    monkeypatch.setattr(
        measuring,
        "alone",
        lambda request, **_: bench(times[Path(request.path).stem.partition("-")[2]]),
    )
    with pytest.warns(UserWarning, match="skipped int8: --schemes auto tries it with --calibration photos"):
        records = kexport.export(made, formats="onnx", schemes="auto", output=tmp_path)
    assert {each.scheme: each.taken for each in records} == {"float32": False, "float16": True, "dynamic": False}
    assert kexport.verify(tmp_path) == ()
    assert "Tried by --schemes auto" in kexport.report(tmp_path)
