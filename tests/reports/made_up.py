"""Records of a run that was never made: forty models, two formats, four schemes, with every kind of doubt."""

from __future__ import annotations

import random
from typing import Any

from kexport.records import (
    AccuracyRecord,
    Artifact,
    BenchRecord,
    Check,
    OutputParity,
    ParityRecord,
    QuantizationRecord,
    Record,
    Signature,
    SourceFacts,
    Status,
)
from kexport.sources.catalog import APPLICATIONS, preprocessing

MACHINE = {"processor": "A Processor @ 2.00GHz", "instructions": "avx2", "cores": "2", "memory_gib": "8.0"}
SCHEMES = ("float32", "float16", "dynamic", "int8")
VERSIONS = {"kexport": "0.2.0", "keras": "3.15.1", "tensorflow": "2.21.0", "onnxruntime": "1.31.1"}


def run(models: int = 40, schemes: tuple[str, ...] = SCHEMES) -> tuple[Record, ...]:
    """The records, the same each time."""
    chance = random.Random(0)
    return tuple(
        _record(row, form, scheme, chance)
        for row in APPLICATIONS[:models]
        for form in ("onnx", "tflite")
        for scheme in schemes
    )


def _record(row: Any, form: str, scheme: str, chance: random.Random) -> Record:
    size = int(row.parameters * {"float32": 4.0, "float16": 2.0}.get(scheme, 1.02))
    failed, doubtful = chance.random() < 0.03, chance.random() < 0.04
    status = Status.FAIL if failed else Status.UNPROVEN if doubtful else Status.PASS
    reason = {Status.FAIL: "logits_error_to_signal is 0.3, the bound is 0.001", Status.UNPROVEN: "output 'output' is "
              "nearly constant in Keras: comparing it proves nothing"}.get(status, "")  # fmt: skip
    artifact = Artifact(
        path=f"{row.name}/{row.name}-{scheme}.{form}", format=form, scheme=scheme, size_bytes=size, sha256="a1" * 32,
        engine="native", engine_reason="", operations={"Conv": 50}, inputs=(), outputs=(),
    )  # fmt: skip
    return Record(
        model=row.name, format=form, scheme=scheme, status=status, reason=reason, source=_source(row),
        reproduce=f"kexport export {row.name} --formats {form} --schemes {scheme} --weights random:0 -o artifacts",
        artifact=None if failed else artifact, parity=_parity(scheme, chance, failed=failed),
        accuracy=_accuracy(scheme, chance) if row.parameters < 3e7 and not failed else None,
        quantization=_quantized() if scheme == "int8" else None,
        benchmarks=() if failed else (_bench(row, form, scheme, chance),), versions=VERSIONS, made="2026-01-31",
        machine=MACHINE,
    )  # fmt: skip


def _source(row: Any) -> SourceFacts:
    side = row.default_size
    return SourceFacts(
        application=row.name, weights="random:0", weights_sha256="b2" * 32, parameters=row.parameters,
        inputs=(Signature(name="input", shape=(None, side, side, 3), dtype="float32"),),
        outputs=(Signature(name="output", shape=(None, 1000), dtype="float32"),), ends_in_softmax=True,
        preprocessing=preprocessing(row), labels=tuple(f"class {index}" for index in range(1000)),
    )  # fmt: skip


def _parity(scheme: str, chance: random.Random, *, failed: bool) -> ParityRecord:
    error = 10 ** chance.uniform(-5.5, -4.0) if scheme.startswith("float") else 10 ** chance.uniform(-1.5, -0.5)
    sqnr = {"float32": 108.0, "float16": 58.0, "dynamic": 34.0}.get(scheme, 21.0) + chance.gauss(0, 2)
    output = OutputParity(
        name="output", logits_max_abs_error=0.3 if failed else error, logits_mean_abs_error=error / 5,
        output_max_abs_error=1e-6, output_mean_abs_error=1e-7, cosine=0.999, sqnr_db=sqnr, top5_agreement=1.0,
        top1_agreement=1.0 if scheme.startswith("float") else 0.9375, signal=1.0,
    )  # fmt: skip
    bound = 1e-3 if scheme.startswith("float") else 1.0
    value = 0.3 if failed else error
    check = Check(name="logits_error_to_signal", value=value, bound=bound, passed=value <= bound, why="rounding")
    return ParityRecord(
        samples=4, runtime="onnxruntime", effective="onnxruntime 1.31.1 CPUExecutionProvider (159 nodes on "
        "CPUExecutionProvider)", outputs=(output,), checks=(check,),
    )  # fmt: skip


def _accuracy(scheme: str, chance: random.Random) -> AccuracyRecord:
    drop = abs(chance.gauss(0, 0.05 if scheme.startswith("float") else 0.4))
    caveats = ("the resize is assumed: --resize states it",) if chance.random() < 0.05 else ()
    return AccuracyRecord(
        images=900, labelled=True, top1_agreement=1 - drop / 20, output_sqnr_db=20.0, logits_sqnr_db=20.0,
        logits_images=900, non_finite=0, keras_top1=0.8, keras_top5=0.95, top1=0.8 - drop / 100, top5=0.95,
        top1_drop_points=drop, low_points=drop - 0.6, high_points=drop + 0.6, right_to_wrong=9, wrong_to_right=5,
        evaluation="photos", evaluation_sha256="e" * 64, caveats=caveats,
    )  # fmt: skip


def _quantized() -> QuantizationRecord:
    return QuantizationRecord(
        calibration="photos", calibration_sha256="c" * 64, images=100, kind="folder of photographs",
        fit_to_deploy=True, int8_layers=53,
    )  # fmt: skip


def _bench(row: Any, form: str, scheme: str, chance: random.Random) -> BenchRecord:
    middle = row.parameters / 4e8 * {"float32": 1.0, "float16": 1.05, "dynamic": 0.8}.get(scheme, 0.45)
    spread = 0.3 if chance.random() < 0.1 else 0.02
    samples = tuple(middle * (1 + abs(chance.gauss(0, spread))) for _ in range(50))
    runtime = {"onnx": "onnxruntime", "tflite": "litert"}[form]
    return BenchRecord(
        runtime=runtime, device="cpu", effective=f"{runtime} here", threads=2, batch=1, warmup=5, load_seconds=0.1,
        samples_seconds=samples, peak_memory_bytes=300 * 2**20, machine=MACHINE,
    )  # fmt: skip
