"""Size against accuracy against speed: compared with float32 under the same conditions only, and said in words."""

from __future__ import annotations

import csv
import io
import json

import pytest

from kexport.records import AccuracyRecord, Artifact, BenchRecord, Record, Status
from kexport.reports import render, terminal
from kexport.reports.tradeoff import every_row, rows, tradeoff_table


def session(
    milliseconds: float, *, runtime: str = "onnxruntime", threads: int = 2, spread: float = 0.01
) -> BenchRecord:
    samples = tuple(milliseconds / 1000 * (1 + spread * (index % 5 - 2)) for index in range(50))
    return BenchRecord(
        runtime=runtime, device="cpu", effective="CPU", threads=threads, batch=1, warmup=1, load_seconds=0.1,
        samples_seconds=samples, peak_memory_bytes=1, machine={},
    )  # fmt: skip


def accuracy(top1: float, **changes: object) -> AccuracyRecord:
    values = {
        "images": 400, "labelled": True, "top1_agreement": 0.9, "output_sqnr_db": 20.0, "logits_sqnr_db": None,
        "logits_images": 0, "non_finite": 0, "keras_top1": 0.56, "keras_top5": 0.78, "top1": top1, "top5": 0.775,
        "top1_drop_points": 100 * (0.56 - top1), "low_points": -0.5, "high_points": 1.5,
    } | changes  # fmt: skip
    return AccuracyRecord(**values)  # type: ignore[arg-type]


def record(scheme: str, size: int, *sessions: BenchRecord, form: str = "onnx", scored: AccuracyRecord | None = None,
           model: str = "MobileNet") -> Record:  # fmt: skip
    artifact = Artifact(
        path="p", format=form, scheme=scheme, size_bytes=size, sha256="0", engine="native", engine_reason="",
        operations={}, inputs=(), outputs=(),
    )  # fmt: skip
    return Record(model=model, format=form, scheme=scheme, status=Status.PASS, artifact=artifact, benchmarks=sessions,
                  accuracy=scored)  # fmt: skip


FLOAT = record("float32", 4_000_000, session(3.0), session(9.0, threads=1), scored=accuracy(0.56, top1_agreement=1.0))
INT8 = record("int8", 1_100_000, session(1.5), scored=accuracy(0.555))


def test_one_row_by_hand() -> None:
    (row,) = (row for row in rows((INT8, FLOAT)) if row.scheme == "int8")
    assert (row.model, row.format, row.size_bytes, row.images) == ("MobileNet", "onnx", 1_100_000, 400)
    assert row.compression == pytest.approx(40 / 11)
    assert (row.runtime, row.device, row.threads, row.batch) == ("onnxruntime", "cpu", 2, 1)
    assert row.speed_up == pytest.approx(2.0)
    assert row.slower is False
    table = tradeoff_table((INT8, FLOAT))
    assert [dict(zip(table.header, cells, strict=True)) for cells in table.rows][-1] == {
        "model": "MobileNet", "scheme": "int8", "format": "onnx", "weights": "-", "MB": "1.1", "compression": "3.64x",
        "top-1 %": "55.50", "drop points": "+0.50", "95 % interval": "-0.50 to +1.50", "agreement": "0.9000",
        "median ms": "1.50", "speed-up": "2.00x",
    }  # fmt: skip
    assert table.notes == ("MobileNet in Keras: top-1 56.00 %, top-5 78.00 % on the same 400 images",)


def test_float32_comes_first_with_a_row_per_condition() -> None:
    assert [(row.scheme, row.threads, row.speed_up) for row in rows((INT8, FLOAT))] == [
        ("float32", 2, 1.0), ("float32", 1, 1.0), ("int8", 2, pytest.approx(2.0)),
    ]  # fmt: skip


def test_nothing_is_compared_across_formats_models_or_conditions() -> None:
    others = (
        record("int8", 1, session(1.0), form="tflite"),
        record("int8", 1, session(1.0), model="VGG16"),
        record("float16", 1, session(1.0, threads=4)),
        record("float16", 1, session(1.0, runtime="litert")),
    )
    for other in others:
        (row,) = (row for row in rows((FLOAT, other)) if row.size_bytes == 1)
        assert (row.speed_up, row.slower) == (None, None)
        assert (row.compression is None) == ((other.model, other.format) != ("MobileNet", "onnx"))


def test_keras_is_no_runtime_of_an_artifact_and_the_fastest_session_counts() -> None:
    both = record("int8", 1, session(4.0), session(2.0), session(0.1, runtime="keras"))
    assert [row.median_seconds for row in rows((both,))] == [pytest.approx(0.002)]


HERE = "(ONNX Runtime, cpu, 2 threads, batch 1)"
SLOWER = f"int8 is slower here: MobileNet onnx takes 3.60 ms, float32 3.00 ms {HERE}"
LEVEL = f"int8 is not faster here (the intervals overlap): MobileNet onnx takes 3.01 ms, float32 3.00 ms {HERE}"


@pytest.mark.parametrize(
    ("milliseconds", "spread", "said"), [(3.6, 0.01, SLOWER), (3.01, 0.05, LEVEL), (2.9, 0.01, None)]
)
def test_slower_is_said(milliseconds: float, spread: float, said: str | None) -> None:
    slow = record("int8", 1_000_000, session(milliseconds, spread=spread))
    notes = [note for note in tradeoff_table((FLOAT, slow)).notes if "here" in note]
    assert notes == ([said] if said else [])
    assert all(note in render((FLOAT, slow), "md") for note in notes)


def test_what_flatters_is_said() -> None:
    flattered = accuracy(0.56, overlap=3, overlap_names=("a.jpg", "b.jpg", "c.jpg"), notes=("all alike",))
    notes = tradeoff_table((record("float32", 1, scored=flattered),)).notes
    assert notes[1:] == (
        "MobileNet: 3 of the 400 images are in the calibration set too (such as a.jpg): accuracy is flattered",
        "MobileNet: all alike",
        "* MobileNet on the photographs: 3 of 400 images were calibrated on",
    )


def test_without_labels_agreement_remains() -> None:
    blind = AccuracyRecord(images=7, labelled=False, top1_agreement=0.5, output_sqnr_db=9.0, logits_sqnr_db=None,
                           logits_images=0, non_finite=0)  # fmt: skip
    table = tradeoff_table((record("int8", 1, scored=blind),))
    assert table.rows[0][6:10] == ("-", "-", "-", "0.5000")
    assert table.notes == ("MobileNet: agreement with Keras on 7 images without labels",)


def test_one_scheme_without_photographs_trades_nothing() -> None:
    plain = record("float32", 4_000_000, session(3.0))
    assert rows((plain,)) == rows(()) == ()
    assert "Size against accuracy" not in render((plain,), "md")
    assert json.loads(render((plain,), "json"))["tradeoff"] == []
    assert len(every_row((plain,))) == 1


def test_the_same_rows_in_every_format() -> None:
    both = (INT8, FLOAT)
    listed = list(csv.DictReader(io.StringIO(render(both, "csv"))))
    document = json.loads(render(both, "json"))["tradeoff"]
    assert (
        [line["scheme"] for line in listed] == [line["scheme"] for line in document] == ["float32", "float32", "int8"]
    )
    for line, entry in zip(listed, document, strict=True):
        assert set(line) == set(entry)
        assert float(line["top1"]) == entry["top1"]
        assert float(line["median_seconds"]) == entry["median_seconds"]
    assert "| MobileNet | int8 | onnx | - | 1.1 | 3.64x | 55.50 | +0.50 |" in render(both, "md")
    assert any(getattr(item, "title", "") == "Size against accuracy" for item in terminal.tables(both))


def test_csv_without_records_is_a_header() -> None:
    assert render((), "csv").startswith("model,scheme,format,status,size_bytes,weights,compression,images,keras_top1,")
    assert render((), "csv").count("\n") == 1


def test_what_failed_is_in_the_csv_with_its_reason() -> None:
    failed = Record(model="VGG16", format="onnx", scheme="int8", status=Status.FAIL, reason="NaN in 'output'")
    line = list(csv.DictReader(io.StringIO(render((INT8, FLOAT, failed), "csv"))))[-1]
    assert (line["model"], line["status"], line["reason"]) == ("VGG16", "FAIL", "NaN in 'output'")
    assert (line["size_bytes"], line["median_seconds"]) == ("", "")
    assert all(row.model != "VGG16" for row in rows((INT8, FLOAT, failed)))


def test_no_sentence_is_made_of_what_is_not_trusted() -> None:
    noisy = record("int8", 1, session(6.0, spread=0.2))
    table = tradeoff_table((FLOAT, noisy))
    assert table.rows[-1][-2:] == ("6.00*", "0.50x*")
    assert not [note for note in table.notes if "slower" in note]
    assert [note for note in table.notes if note.startswith("* MobileNet onnx int8, 2 threads, batch 1: interquartile")]
    (row,) = (row for row in rows((FLOAT, noisy)) if row.scheme == "int8")
    assert row.slower is None
