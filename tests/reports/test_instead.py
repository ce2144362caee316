"""Never slower in silence: which scheme to take instead, and no word where the measurement cannot be trusted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kexport.cli import verdict
from kexport.records import Artifact, Record, Status
from kexport.reports.instead import instead
from tests.evidence.test_gates import bench

NOISY = -1.0


def record(scheme: str, milliseconds: float, *, form: str = "onnx", status: Status = Status.PASS) -> Record:
    artifact = Artifact(
        path=f"M/M-{scheme}.{form}", format=form, scheme=scheme, size_bytes=1, sha256="a1" * 32, engine="native",
        engine_reason="", operations={}, inputs=(), outputs=(),
    )  # fmt: skip
    noisy = milliseconds < 0
    runtime = {"onnx": "onnxruntime", "tflite": "litert"}[form]
    return Record(
        model="M", format=form, scheme=scheme, status=status, reason="" if status is Status.PASS else "why",
        artifact=artifact, benchmarks=(bench(abs(milliseconds), noisy=noisy, runtime=runtime),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (
            {"float32": 2.0, "int8": 3.0},
            [
                (
                    "int8 is slower than float32 on ONNX Runtime: M onnx takes 3.01 ms, float32 2.00 ms; "
                    "take --schemes float32 instead"
                )
            ],
        ),
        (
            {"float32": 2.0, "float16": 4.0, "int8": 1.0},
            [
                (
                    "float16 is slower than float32 on ONNX Runtime: M onnx takes 4.01 ms, float32 2.00 ms; "
                    "take --schemes int8 instead, which takes 1.00 ms"
                )
            ],
        ),
        ({"float32": 2.0, "int8": 1.0, "dynamic": 1.9}, []),
        ({"float32": 2.0, "int8": 2.0}, []),
        ({"float32": 2.0, "int8": 9 * NOISY}, []),
        ({"float32": 2 * NOISY, "int8": 9.0}, []),
        ({"int8": 9.0}, []),
    ],
    ids=["int8", "float16", "faster", "alike", "noisy", "noisy float32", "alone"],
)
def test_what_is_slower(times: dict[str, float], told: list[str]) -> None:
    assert list(instead([record(scheme, time) for scheme, time in times.items()])) == told


def test_only_the_same_format_is_the_measure() -> None:
    records = [record("float32", 1.0), record("float32", 5.0, form="tflite"), record("int8", 3.0, form="tflite")]
    assert instead(records) == ()


def test_what_failed_is_not_taken() -> None:
    records = [record("float32", 2.0), record("int8", 3.0), record("dynamic", 1.0, status=Status.FAIL)]
    assert [line.partition("; ")[2] for line in instead(records)] == ["take --schemes float32 instead"]


def test_the_verdict_says_it() -> None:
    records = [record("float32", 2.0), replace(record("int8", 3.0), variant="batch8")]
    assert "int8-batch8 is slower" in "\n".join(instead(records))
    assert "note: int8-batch8 is slower than float32 on ONNX Runtime" in verdict.text(records, seconds=1.0)
