"""Measurements become committed JSON and tables; what is missing is said, what is missed is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kexport import store
from kexport.records import Artifact, BenchRecord, Check, Cost, OutputParity, ParityRecord, Record, Status
from tests.benchmarks.script_modules import script_modules

SCRIPTS = (
    "tables", "code_blocks", "measured_blocks", "evidence", "md_text", "harness", "side_by_side", "processes",
    "int8_blocks", "int8_forty", "int8_speed", "int8_accuracy", "int8_networks", "int8_peers", "profile_block",
    "record_block", "pytorch_blocks", "keras_io_blocks",
)  # fmt: skip
MACHINE = {"processor": "P", "cores": "2", "memory_gib": "24.0", "version keras": "3.15.1"}
NAMES = ("bar", "runs", "export-vs-peers", "tflite-vs-converter", "bounds")
LOG = """[1/2] x: PASS
80 cells: 79 PASS, 1 FAIL
  FAIL x
peak memory of any process: 3.50 GiB · wall time: 9 min 5 s
records: x
"""


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with script_modules(monkeypatch, SCRIPTS) as found:
        yield found.tables


@pytest.fixture
def root(tables: ModuleType, tmp_path: Path) -> Path:
    for name in tables.DOCUMENTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("nothing generated\n", encoding="utf-8")
    text = "".join(f"<!-- begin generated: {name} -->\nold\n<!-- end generated: {name} -->\n" for name in NAMES)
    (tmp_path / "README.md").write_text(f"# before\n{text}after\n", encoding="utf-8")
    return tmp_path


def session(**changes: Any) -> BenchRecord:
    good = BenchRecord(
        runtime="onnxruntime", device="cpu", effective="onnxruntime 1.32.0", threads=2, batch=1, warmup=1,
        load_seconds=0.1, samples_seconds=(0.002,) * 20, peak_memory_bytes=2**20, machine=MACHINE,
    )  # fmt: skip
    return replace(good, **changes)


def record(model: str, file_format: str, **changes: Any) -> Record:
    output = OutputParity(
        name="output", logits_max_abs_error=3e-5, logits_mean_abs_error=1e-6, output_max_abs_error=1e-6,
        output_mean_abs_error=1e-7, cosine=1.0, sqnr_db=110.0, top1_agreement=1.0, top5_agreement=1.0, signal=1.5,
    )  # fmt: skip
    check = Check(name="sqnr_db", value=110.0, bound=60.0, passed=True, why="w")
    artifact = Artifact(
        path=f"{model}/{model}-float32.{file_format}", format=file_format, scheme="float32", size_bytes=10_200_000,
        sha256="0" * 64, engine="native", engine_reason="r", operations={}, inputs=(), outputs=(),
    )  # fmt: skip
    good = Record(
        model=model, format=file_format, scheme="float32", status=Status.PASS, artifact=artifact,
        parity=ParityRecord(samples=4, runtime="x", effective="x", outputs=(output,), checks=(check,)),
        cost=Cost(seconds={"write": 1.0}, peak_memory_bytes=2**30), versions={"keras": "3.15.1", "request": model},
    )  # fmt: skip
    return replace(good, **changes)


def stored(folder: Path, *records: Record) -> Path:
    folder.mkdir(exist_ok=True)
    for each in records:
        store.write_record(folder, each, f"{each.model}-{each.scheme}.{each.format}")
    return folder


def peer_row(**changes: Any) -> dict[str, Any]:
    native = {
        "seconds": 1.0, "peak_bytes": 390, "framework_bytes": 100, "before_bytes": 200, "weight_bytes": 100,
        "file_bytes": 50_000_000, "peak_was_reset": True, "reason": "",
    }  # fmt: skip
    row = {
        "model": "ResNet50", "native": native, "peer": native | {"seconds": 20.0}, "memory_ratio": 2.9,
        "added_ratio": 1.9, "native_latency_seconds": 0.01, "peer_latency_seconds": 0.02, "latency_ratio": 0.5,
        "broken": [],
    }  # fmt: skip
    return row | changes


def comparison(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"title": "t", "machine": MACHINE, "rows": rows}), encoding="utf-8")
    return path


def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_records_become_json_report_and_table(tables: ModuleType, root: Path) -> None:
    one = record("MobileNet", "onnx", benchmarks=(session(), session(runtime="keras", samples_seconds=(0.03,) * 20)))
    half = record("MobileNet", "onnx", scheme="float16")
    two = record("MobileNet", "tflite", benchmarks=one.benchmarks[1:])
    folder = stored(root / "artifacts", one, two, half)
    assert tables.main(["--records", str(folder)], root=root) == 0
    data = json.loads((root / tables.FORTY).read_text(encoding="utf-8"))
    assert [cell["format"] for cell in data["cells"]] == ["onnx", "tflite"]
    assert data["cells"][0]["error_to_signal"] == pytest.approx(2e-5)
    assert (data["machine"], data["versions"]) == (MACHINE, {"keras": "3.15.1"})
    assert [each["format"] for each in data["sessions"]] == ["onnx", None]
    assert "| applications whose onnx file matches Keras | 40 of 40 | 1 of 1 | **missed** |" in readme(root)
    report = (root / tables.FORTY_REPORT).read_text(encoding="utf-8")
    assert "| MobileNet | 10.2 | 10.2 | 2.0e-05 | 2.0e-05 | 30 | 2 | - |" in report
    assert "| MobileNet | onnx | ONNX Runtime | onnxruntime 1.32.0 | 2 | 1 | 2 | 2 to 2 | 2 | 2 | 1 | 20 |" in report
    assert tables.main(["--check"], root=root) == 0


def test_a_failure_and_noise_are_shown(tables: ModuleType, root: Path) -> None:
    failed = record("MobileNet", "onnx", status=Status.FAIL, reason="/root/x/y: sqnr_db 3", artifact=None)
    folder = stored(root / "a", failed, record("VGG16", "onnx", benchmarks=(session(samples_seconds=(0.002,) * 3),)))
    assert tables.main(["--records", str(folder)], root=root) == 0
    report = (root / tables.FORTY_REPORT).read_text(encoding="utf-8")
    assert "| MobileNet | - | - | FAIL | - | - | - | - |" in report
    assert "| 2\\* | - |" in report
    assert "1 of 1 sessions: the machine was too unquiet" in report
    assert "FAIL: PATH: sqnr_db 3" in report


def test_formats_that_were_not_measured_again_stay(tables: ModuleType, root: Path) -> None:
    both = stored(root / "a", record("MobileNet", "onnx"), record("MobileNet", "tflite"))
    assert tables.main(["--records", str(both)], root=root) == 0
    found = record("MobileNet", "onnx", cost=Cost(seconds={"write": 7.0}, peak_memory_bytes=1))
    assert tables.main(["--records", str(stored(root / "b", found))], root=root) == 0
    cells = json.loads((root / tables.FORTY).read_text(encoding="utf-8"))["cells"]
    assert [(cell["format"], cell["seconds"]) for cell in cells] == [("onnx", 7.0), ("tflite", 1.0)]
    newer = replace(found, versions={"keras": "3.99", "request": "r"})
    assert tables.main(["--records", str(stored(root / "c", newer))], root=root) == 0
    cells = json.loads((root / tables.FORTY).read_text(encoding="utf-8"))["cells"]
    assert [cell["format"] for cell in cells] == ["onnx"]


def test_not_a_number_is_kept_and_shown(tables: ModuleType, root: Path) -> None:
    good = record("MobileNet", "onnx")
    assert good.parity is not None
    outputs = (replace(good.parity.outputs[0], sqnr_db=float("nan")),)
    broken = replace(good, status=Status.FAIL, reason="r", parity=replace(good.parity, outputs=outputs))
    assert tables.main(["--records", str(stored(root / "a", broken))], root=root) == 0
    assert json.loads((root / tables.FORTY).read_text(encoding="utf-8"))["cells"][0]["sqnr_db"] == "nan"
    assert "| nan |" in (root / tables.FORTY_REPORT).read_text(encoding="utf-8")


def test_two_machines_are_refused(tables: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = session(machine=MACHINE | {"processor": "Q"})
    records = (record("MobileNet", "onnx", benchmarks=(session(),)), record("VGG16", "onnx", benchmarks=(other,)))
    assert tables.main(["--records", str(stored(root / "a", *records))], root=root) == 2
    assert "the records are of 2 machines, they differ in processor; measure again" in capsys.readouterr().err
    assert not (root / tables.FORTY).exists()


def test_comparisons_fill_tables_and_the_bar(tables: ModuleType, root: Path) -> None:
    slow = peer_row(model="NASNetMobile", latency_ratio=1.2, memory_ratio=4.1, broken=["latency 1.200 of the peer's"])
    lost = peer_row(model="VGG16", peer_unusable="/tmp/kexport-peers-x/peer.onnx does not load")
    path = comparison(root / "peers.json", peer_row(), slow, lost)
    assert tables.main(["--peers", str(path)], root=root) == 0
    text = readme(root)
    assert (
        "| ResNet50 | 1.00 | 20.00 | 20.0 | 2.90 | 2.90 | 1.90 | 1.90 | 50.0 | 50.0 | 10 | 20 | 0.500 | met |" in text
    )
    assert "| 1.200 | missed; latency 1.200 of the peer's |" in text
    assert "met; PATH does not load" in text
    memory = "| ONNX against Keras's own export: peak memory above the"
    assert (
        f"{memory} imports of Keras and TensorFlow, so with the built Keras model, times the weights | at most 3 | "
        "4.10 at worst (NASNetMobile); 2 of 3 models within | **missed** |" in text
    )
    assert (
        f"{memory} built Keras model, which counts as its weights, times the weights | at most 3 | "
        "2.90 at worst (VGG16); 3 of 3 models within | met |" in text
    )
    latency = "| ONNX against Keras's own export: latency as a part of the peer's | at most 1.05 |"
    assert f"{latency} 1.20 at worst (NASNetMobile); 2 of 3 models within; the peer gave no usable file for 1 |" in text
    assert "times faster | at least 10 | 20.00 at worst (NASNetMobile); 3 of 3 models within | met |" in text
    assert "| ONNX export of ResNet50, model already built | under 1.5 s | 1.00 s | met |" in text
    assert "TFLite against TFLiteConverter: export, times faster | at least 10 | not measured yet |" in text


def test_a_missing_ratio_is_missed(tables: ModuleType, root: Path) -> None:
    row = peer_row(native=peer_row()["native"] | {"reason": "killed above 20 GiB"}, broken=["kexport: killed"])
    del row["memory_ratio"]
    assert tables.main(["--peers", str(comparison(root / "p.json", row))], root=root) == 0
    assert "times the weights | at most 3 | nan at worst (ResNet50); 0 of 1 models within | **missed** |" in readme(
        root
    )
    assert (
        "| ONNX export of ResNet50, model already built | under 1.5 s | killed above 20 GiB | **missed** |"
        in readme(root)
    )


def test_a_log_becomes_a_run(tables: ModuleType, root: Path) -> None:
    (root / "all.log").write_text(LOG, encoding="utf-8")
    assert tables.main(["--run", f"onnx,tflite={root / 'all.log'}"], root=root) == 0
    assert "| `kexport all --formats onnx,tflite` | 80 cells: 79 PASS, 1 FAIL | 9 min 5 s | 3.50 |" in readme(root)
    assert json.loads((root / tables.RUNS).read_text(encoding="utf-8"))["onnx,tflite"]["wall_seconds"] == 545
    assert "| 80 PASS in at most 10 min 0 s | 9 min 5 s on " in readme(root)
    assert "cores; 80 cells: 79 PASS, 1 FAIL | **missed** |" in readme(root)
    (root / "more.log").write_text(LOG.replace("9 min 5 s", "8.3 s"), encoding="utf-8")
    assert tables.main(["--run", f"savedmodel={root / 'more.log'}"], root=root) == 0
    assert "| 9 min 5 s |" in readme(root)
    assert "| 8.3 s |" in readme(root)
    (root / "good.log").write_text(LOG.replace("79 PASS, 1 FAIL", "80 PASS"), encoding="utf-8")
    assert tables.main(["--run", f"onnx,tflite={root / 'good.log'}"], root=root) == 0
    assert "cores; 80 cells: 80 PASS | met |" in readme(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "onnx"], "--run 'onnx': expected FORMATS=LOG, e.g. --run onnx,tflite=all.log"),
        (["--run", "onnx=README.md"], "the log has no verdict"),
        (["--peers", "parity/x.json"], "No such file"),
        (["--records", "parity"], "no float32 records in parity"),
    ],
)
def test_bad_input_changes_nothing(
    tables: ModuleType, root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = readme(root)
    with chdir(root):
        assert tables.main(arguments, root=root) == 2
    assert message in capsys.readouterr().err
    assert readme(root) == before


def test_absent_measurements_stay_and_drift_is_found(
    tables: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tables.main(["--check"], root=root) == 1
    assert "README.md differs from what the code" in capsys.readouterr().err
    assert tables.main([], root=root) == 0
    assert tables.main(["--check"], root=root) == 0
    assert "Not measured yet. `python tests/benchmarks/tables.py --peers FILE` fills this in." in readme(root)
    assert readme(root).startswith("# before\n")
    assert readme(root).endswith("after\n")
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == set(tables.DOCUMENTS), "no measurement has been made up"
    (root / "README.md").write_text(readme(root).replace("| tflite |", "| tflite2 |"), encoding="utf-8")
    assert tables.main(["--check"], root=root) == 1


def test_an_unknown_block_is_an_error(tables: ModuleType) -> None:
    with pytest.raises(KeyError, match="nobody"):
        tables.md_text.fill("<!-- begin generated: nobody -->\n<!-- end generated: nobody -->", {})


def test_every_block_is_used_in_a_document(tables: ModuleType) -> None:
    used = [name for path in tables.DOCUMENTS for name in tables.md_text.names((tables.ROOT / path).read_text("utf-8"))]
    assert set(used) == set(tables.blocks(tables.ROOT))


def test_readme_shows_what_the_bar_says(tables: ModuleType) -> None:
    """Every row that is meant to be shown is there, as it is in the bar, and leads to a document that there is."""
    blocks = tables.blocks(tables.ROOT)
    chosen = [line.rsplit(" | ", 1) for line in blocks["measured"].splitlines() if line.startswith("| ")][2:]
    assert len(chosen) == len(tables.measured_blocks.HIGHLIGHTS)
    bar = blocks["bar"].splitlines()
    for row, end in chosen:
        verdict, _, name = end.removesuffix(" |").strip("[)").partition("](")
        assert f"{row} | {verdict} |" in bar
        assert (tables.ROOT / name).is_file()
    missed = sum(line.endswith("**missed** |") for line in bar)
    assert f"all {len(bar) - 2} rows; {missed} of them are missed" in blocks["measured"]
