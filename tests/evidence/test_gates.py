"""Bounds of size and time: what is told, what is only noise, and what was not measured alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kexport.errors import UsageError
from kexport.evidence import gates
from kexport.options.sizes import bytes_of
from kexport.records import BenchRecord, Record, Status

SESSION = BenchRecord(
    runtime="onnxruntime", device="cpu", effective="CPU", threads=1, batch=1, warmup=1, load_seconds=0.1,
    samples_seconds=(), peak_memory_bytes=1, machine={"cores": "2"},
)  # fmt: skip


def bench(milliseconds: float, *, noisy: bool = False, **other: object) -> BenchRecord:
    steps = [1 + (0.5 if noisy else 0.001) * (index % 5) for index in range(25)]
    return replace(SESSION, samples_seconds=tuple(milliseconds * step / 1000 for step in steps), **other)  # type: ignore[arg-type]


def record(scheme: str, *sessions: BenchRecord, model: str = "M", form: str = "onnx") -> Record:
    return Record(model=model, format=form, scheme=scheme, status=Status.PASS, benchmarks=sessions)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("123456", 123456), ("4MB", 4_000_000), ("500 kB", 500_000), ("3.5MiB", 3_670_016), ("1gb", 10**9),
        ("2 KiB", 2048), ("7 B", 7),
    ],
)  # fmt: skip
def test_sizes(text: str, found: int) -> None:
    assert bytes_of("--max-size", text) == found


@pytest.mark.parametrize("text", ["", "MB", "4 TBx", "-4MB", "0", "4,5MB", "1e6", "٤MB", "nan", "9" * 16])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        bytes_of("--max-size", text)
    assert caught.value.message.startswith(
        f"--max-size {text!r}: expected a size above 0, in bytes or with a unit of kB"
    )
    assert caught.value.hint == "--max-size 4MB"


@pytest.mark.parametrize(
    ("most", "size", "told"),
    [
        (None, 10**9, []),
        ("4MB", 4_000_000, []),
        ("4MB", 4_000_001, ["the file has 4000001 bytes (4.00 MB), the bound is --max-size 4MB"]),
    ],
)
def test_the_size_of_a_file(most: str | None, size: int, told: list[str]) -> None:
    assert list(gates.size(most, size)) == told


def test_time_beside_float32() -> None:
    compared = gates.beside_float32(record("int8", bench(3.0)), record("float32", bench(2.0)))
    assert compared is not None
    assert compared.ratio == pytest.approx(1.5)
    assert compared.slower
    assert gates.latency(1.6, compared) == ("", True)
    said = "it takes 1.50 times as long as float32 on onnxruntime, the bound is --max-latency-ratio 1.2"
    assert gates.latency(1.2, compared) == (said, True)


def test_a_noisy_machine_tells_nothing() -> None:
    for own, other in ((bench(9.0, noisy=True), bench(2.0)), (bench(9.0), bench(2.0, noisy=True))):
        compared = gates.beside_float32(record("int8", own), record("float32", other))
        assert compared is not None
        assert not compared.slower
        problem, told = gates.latency(1.0, compared)
        assert not told
        assert "the machine was too noisy to say (interquartile range is" in problem


@pytest.mark.parametrize(
    "other", [{"threads": 2}, {"batch": 8}, {"machine": {"cores": "4"}}, {"device": "cuda"}, {"runtime": "litert"}]
)
def test_only_what_was_measured_alike_is_compared(other: dict[str, object]) -> None:
    compared = gates.beside_float32(record("int8", bench(3.0)), record("float32", bench(2.0, **other)))
    assert compared is None
    said = "no float32 file of its format was measured beside it; the bound is --max-latency-ratio 1"
    assert gates.latency(1.0, compared) == (said, False)
    assert gates.beside_float32(record("int8", bench(3.0)), None) is None


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("onnxruntime 1.32.0 CPUExecutionProvider (42 nodes on CPUExecutionProvider)",
         "onnxruntime 1.32.0 CPUExecutionProvider (10 nodes on CPUExecutionProvider)"),
        ("LiteRT 2.3.0 XNNPACK (8 of 8 operators), static batch 1", "LiteRT 2.3.0 XNNPACK (6 of 6 operators)"),
        ("LiteRT 2.3.0 without a delegate", "LiteRT 2.3.0 XNNPACK (6 of 6 operators), static batch 1"),
    ],
    ids=["nodes", "operators", "delegate"],
)  # fmt: skip
def test_a_quantized_file_has_other_nodes_and_is_compared(own: str, other: str) -> None:
    """What a session ran is told with its number of nodes, which no two schemes share."""
    compared = gates.beside_float32(
        record("int8", bench(3.0, effective=own)), record("float32", bench(2.0, effective=other))
    )
    assert compared is not None
    assert compared.ratio == pytest.approx(1.5)


def test_the_last_session_counts() -> None:
    first, last = bench(9.0, threads=1), bench(1.0, threads=2)
    compared = gates.beside_float32(record("int8", first, last), record("float32", bench(2.0), bench(2.0, threads=2)))
    assert compared is not None
    assert compared.ratio == pytest.approx(0.5)
