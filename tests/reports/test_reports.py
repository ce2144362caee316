"""Reports from records built by hand: numbers, marks, escapes, order."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from kexport.errors import UnknownNameError
from kexport.records import (
    Artifact,
    BenchRecord,
    Check,
    Cost,
    OtherBackend,
    OutputParity,
    ParityRecord,
    Record,
    Status,
    decode,
)
from kexport.reports import formats, render, tables, terminal, verdict
from kexport.reports.junit import legal


def output(**changes: float) -> OutputParity:
    values = {
        "logits_max_abs_error": 2.5e-5, "logits_mean_abs_error": 1e-6, "output_max_abs_error": 1e-7,
        "output_mean_abs_error": 1e-8, "cosine": 1.0, "sqnr_db": 101.25, "top1_agreement": 1.0, "top5_agreement": 1.0,
        "signal": 1.0,
    }  # fmt: skip
    return OutputParity(name="out", **(values | changes))


def bench(runtime: str, milliseconds: float, *, count: int = 20, threads: int = 2, step: float = 0.0) -> BenchRecord:
    return BenchRecord(
        runtime=runtime, device="cpu", effective=f"{runtime} here", threads=threads, batch=1, warmup=1,
        load_seconds=0.1, samples_seconds=tuple((milliseconds + step * i) / 1000 for i in range(count)),
        peak_memory_bytes=300 * 2**20, machine={},
    )  # fmt: skip


def record(model: str = "ResNet50", format: str = "onnx", **changes: object) -> Record:  # noqa: A002
    artifact = Artifact(
        path=f"{model}/x", format=format, scheme="float32", size_bytes=102_400_000, sha256="0", engine="native",
        engine_reason="asked", operations={}, inputs=(), outputs=(),
    )  # fmt: skip
    checks = (Check(name="logits_max_abs_error", value=2.5e-5, bound=1e-3, passed=True, why="rounding"),)
    parity = ParityRecord(samples=8, runtime="onnxruntime", effective="CPU", outputs=(output(),), checks=checks)
    made = Record(
        model=model, format=format, scheme="float32", status=Status.PASS, artifact=artifact, parity=parity,
        cost=Cost(seconds={"build": 2.0, "write": 0.5}, peak_memory_bytes=2**30),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


FAILED = record(
    "MobileNet",
    status=Status.FAIL,
    reason="logits_max_abs_error nan > 0.001",
    hint="kexport parity <DIR>",
    reproduce="kexport export MobileNet --formats onnx",
    parity=ParityRecord(
        samples=8,
        runtime="onnxruntime",
        effective="CPU",
        outputs=(output(), output(logits_max_abs_error=math.nan, sqnr_db=-3)),
        checks=(
            Check(name="logits_max_abs_error", value=math.nan, bound=1e-3, passed=False, why="rounding"),
            Check(name="top1_agreement", value=1.0, bound=1.0, passed=True, why="same class"),
        ),
    ),
)
BROKEN = record(
    "VGG16", "tflite", status=Status.ERROR, reason="it broke: \x1b[31m<a|b>\x00\nsecond line", traceback="Trace\x07",
    artifact=None, parity=None, cost=None, reproduce="kexport export VGG16",
)  # fmt: skip
IMPOSSIBLE = record("VGG16", "onnx", status=Status.UNSUPPORTED, reason="a layer", artifact=None, parity=None)
MIXED = (FAILED, record(), BROKEN, IMPOSSIBLE)


class TestRender:
    def test_presence_registers_a_format(self) -> None:
        assert formats() == ("csv", "cyclonedx", "html", "json", "junit", "md", "summary")

    def test_unknown_format(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown report format 'jnit': did you mean junit"):
            render(MIXED, "jnit")

    @pytest.mark.parametrize("fmt", formats())
    def test_order_of_records_does_not_matter(self, fmt: str) -> None:
        assert render(MIXED, fmt) == render(tuple(reversed(MIXED)), fmt)

    @pytest.mark.parametrize("fmt", formats())
    def test_nothing_is_a_report_too(self, fmt: str) -> None:
        assert render((), fmt).endswith("\n")


class TestVerdict:
    def test_counts_and_one_line_per_failure(self) -> None:
        lines = verdict.verdict(MIXED)
        assert lines == (
            "4 cells: 1 PASS, 1 FAIL, 1 UNSUPPORTED, 1 ERROR",
            "FAIL MobileNet onnx float32: logits_max_abs_error nan > 0.001 -- kexport export MobileNet --formats onnx",
            "ERROR VGG16 tflite float32: it broke: \x1b[31m<a|b>\x00 second line -- kexport export VGG16",
            "UNSUPPORTED VGG16 onnx float32: a layer",
        )
        assert verdict.verdict((record(),)) == ("1 cell: 1 PASS",)


class TestTables:
    def test_parity_shows_the_worst_output_and_nan(self) -> None:
        good, bad = tables.parity_table((record(), FAILED)).rows
        assert good == ("ResNet50", "onnx", "float32", "-", "native", "PASS", "102.4", "2.5e-05", "101.2", "1.000")
        assert bad[5:] == ("FAIL", "102.4", "nan", "-3.0", "1.000")

    @pytest.mark.parametrize(("error", "told"), [(4e-5, "4.0e-05"), (math.nan, "nan")])
    def test_a_second_backend_is_told_with_its_worst_cell(self, error: float, told: str) -> None:
        assert tables.parity_table((record(),)).notes == ()
        other = OtherBackend(backend="jax", outputs=(output(),), itself=(output(logits_max_abs_error=3e-5),))
        worse = replace(other, outputs=(output(), output(logits_max_abs_error=error)))
        found = [record(parity=replace(record().parity, others=(each,))) for each in (worse, other)]
        (note,) = tables.parity_table((*found, BROKEN)).notes
        assert note == (
            f"compared with Keras on jax as well: 2 of 3 cells, max logits error {told}; "
            "Keras itself differs by 3.0e-05 between the backends"
        )

    def test_cells_without_artifact_have_dashes(self) -> None:
        (row,) = tables.parity_table((BROKEN,)).rows
        assert row == ("VGG16", "tflite", "float32", "-", "-", "ERROR", "-", "-", "-", "-")
        assert tables.size_table((BROKEN,)).rows == ()

    def test_size_and_cost(self) -> None:
        (row,) = tables.size_table((record(),)).rows
        assert row == ("ResNet50", "onnx", "float32", "102.4", "-", "-", "2.5", "1024")

    def test_latency_row(self) -> None:
        table = tables.benchmark_table((record(benchmarks=(bench("onnxruntime", 10.0, step=0.01),)),))
        (row,) = table.rows
        cells = dict(zip(table.header, row, strict=True))
        assert cells["runtime"] == "ONNX Runtime"
        assert cells["effective"] == "onnxruntime here"
        assert cells["median ms"] == "10.1"
        assert cells["p99 ms"] == "10.2"
        assert cells["rows/s"] == "99.1"
        assert cells["peak MiB"] == "300"
        assert cells["samples"] == "20"
        assert table.notes == ()

    def test_noise_is_marked_with_reason_and_remedy(self) -> None:
        table = tables.benchmark_table((record(benchmarks=(bench("onnxruntime", 10.0, step=1.0),)),))
        assert table.rows[0][8] == "19.5*"
        (note,) = table.notes
        assert note.startswith("* ResNet50 onnx float32 on onnxruntime: interquartile range is")
        assert "idle machine" in note

    def test_runtimes_side_by_side(self) -> None:
        records = (
            record(benchmarks=(bench("keras", 30.0), bench("onnxruntime", 10.0), bench("onnxruntime", 12.0))),
            record(format="tflite", benchmarks=(bench("litert", 20.0), bench("litert", 5.0, threads=1))),
        )
        table = tables.comparison_table(records)
        assert table.header[5:] == (
            "Keras ms", "ONNX Runtime ms", "LiteRT ms", "ONNX Runtime speed-up", "LiteRT speed-up",
        )  # fmt: skip
        row = ("ResNet50", "float32", "cpu", "2", "1", "30.0", "10.0", "20.0", "3.0x", "1.5x")
        assert table.rows == (row,)

    def test_no_comparison_with_one_runtime_only(self) -> None:
        assert tables.comparison_table((record(benchmarks=(bench("keras", 30.0),)),)).rows == ()

    def test_no_speed_up_without_keras(self) -> None:
        records = (record(benchmarks=(bench("onnxruntime", 10.0),)), record(benchmarks=(bench("litert", 9.0),)))
        table = tables.comparison_table(records)
        assert table.rows[0][5:] == ("10.0", "9.00")
        assert not any("speed-up" in column for column in table.header)


class TestMarkdown:
    def test_summary_failures_and_tables(self) -> None:
        text = render((*MIXED, record(format="tflite", benchmarks=(bench("keras", 3.0), bench("litert", 1.0)))), "md")
        assert "**5 cells: 2 PASS, 1 FAIL, 1 UNSUPPORTED, 1 ERROR**" in text
        assert "* FAIL **MobileNet onnx float32**: logits_max_abs_error nan > 0.001" in text
        assert "  * hint: kexport parity &lt;DIR>" in text
        assert "  * again: `kexport export MobileNet --formats onnx`" in text
        titles = re.findall("^## (.*)$", text, re.MULTILINE)
        assert titles == ["Not passed", "Parity", "Runtimes compared", "Latency", "Size and cost"]

    def test_every_row_of_a_table_has_as_many_cells_as_its_header(self) -> None:
        odd = replace(record("a|b"), status=Status.FAIL, reason="x|y\nz")
        for block in render((odd, BROKEN), "md").split("\n\n"):
            rows = [line for line in block.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1

    def test_noise_notes_do_not_become_lists(self) -> None:
        text = render((record(benchmarks=(bench("onnxruntime", 10.0, count=3),)),), "md")
        assert "\n\\* ResNet50 onnx float32 on onnxruntime: only 3 samples" in text


class TestJson:
    def test_records_come_back(self) -> None:
        document = json.loads(render(MIXED, "json"))
        assert document["schema"] == 1
        assert document["counts"] == {"ERROR": 1, "FAIL": 1, "PASS": 1, "UNSUPPORTED": 1}
        back = [decode(json.dumps(one)) for one in document["records"]]
        assert [one.model for one in back] == ["MobileNet", "ResNet50", "VGG16", "VGG16"]
        assert back[1] == record()
        assert back[0].parity is not None
        assert math.isnan(back[0].parity.checks[0].value)


class TestJunit:
    @pytest.fixture
    def root(self) -> ET.Element:
        return ET.fromstring(render(MIXED, "junit").encode())

    def test_counts_on_every_level(self, root: ET.Element) -> None:
        expected = {"name": "kexport", "tests": "7", "failures": "2", "errors": "1", "skipped": "0"}
        assert {key: root.attrib[key] for key in expected} == expected
        assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
            ("MobileNet", "3"), ("ResNet50", "2"), ("VGG16", "2"),
        ]  # fmt: skip
        assert root[1].get("time") == "2.500"

    def test_follows_the_common_schema(self, root: ET.Element) -> None:
        children = {
            "testsuites": {"testsuite"},
            "testsuite": {"testcase"},
            "testcase": {"properties", "failure", "error"},
            "properties": {"property"},
        }
        required = {
            "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
            "testcase": {"name", "classname", "time"}, "failure": {"type", "message"}, "error": {"type", "message"},
        }  # fmt: skip
        for element in root.iter():
            assert {child.tag for child in element} <= children.get(element.tag, set())
            assert required.get(element.tag, set()) <= set(element.attrib)
        names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
        assert len(names) == len(set(names))

    def test_a_failed_check_is_the_failure(self, root: ET.Element) -> None:
        export, logits, top1 = root[0]
        assert [case.find("failure") for case in (export, top1)] == [None, None]
        failure = logits.find("failure")
        assert failure is not None
        assert failure.get("message") == "logits_max_abs_error is nan, the bound is 0.001"
        assert failure.text == (
            "rounding\nlogits_max_abs_error nan > 0.001\nhint: kexport parity <DIR>\n"
            "again: kexport export MobileNet --formats onnx"
        )

    def test_failure_without_a_failed_check(self) -> None:
        text = render((record(status=Status.FAIL, reason="the signature differs"),), "junit")
        (failure,) = ET.fromstring(text.encode()).iter("failure")
        assert failure.get("message") == "the signature differs"

    def test_error_and_unsupported(self, root: ET.Element) -> None:
        onnx, tflite = root[2]
        failure, error = onnx.find("failure"), tflite.find("error")
        assert failure is not None
        assert failure.get("type") == "UNSUPPORTED"
        assert error is not None
        assert error.get("message") == "it broke: \\x1b[31m<a|b>\\x00\nsecond line"
        assert error.text is not None
        assert error.text.endswith("again: kexport export VGG16\nTrace\\x07")

    def test_illegal_characters_are_spelled_out(self) -> None:
        assert legal("a\tb\n\x00\x1b\ud800\uffffü€😀") == "a\tb\n\\x00\\x1b\\ud800\\uffffü€😀"


class TestTerminal:
    def show(self, *items: object) -> str:
        from rich.console import Console

        console = Console(width=220, no_color=True)
        with console.capture() as captured:
            for item in items:
                console.print(item)
        return captured.get()

    def test_tables_with_something_to_say(self) -> None:
        text = self.show(*terminal.tables(MIXED))
        assert "Parity" in text
        assert "Latency" not in text
        assert text.index("MobileNet") < text.index("ResNet50") < text.index("VGG16")
        with_sessions = record(benchmarks=(bench("keras", 3.0, count=3), bench("onnxruntime", 1.0)))
        text = self.show(*terminal.tables((with_sessions,)))
        assert "Runtimes compared" in text
        assert "3.0x" in text
        assert "only 3 samples" in text

    def test_of_very_many_those_that_did_not_pass_are_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terminal, "MOST", 4)
        monkeypatch.setattr(terminal, "FEW", 3)
        many = [record(f"net{number}") for number in range(9)]
        many[7] = replace(many[7], status=Status.FAIL, reason="wrong")
        text = self.show(*terminal.tables(many))
        assert "3 of 9 records are shown, those that did not pass before the others" in text
        assert [f"net{number}" in text for number in range(9)] == [n in (0, 1, 7) for n in range(9)]
        assert "are shown" not in self.show(*terminal.tables(many[:4]))

    def test_markup_in_names_is_plain_text(self) -> None:
        assert "[red]x" in self.show(*terminal.tables((record("[red]x"),)))

    def test_verdict(self) -> None:
        assert "4 cells: 1 PASS, 1 FAIL" in self.show(terminal.verdict_text(MIXED))


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(10_240_000, "10.2"), (442_104, "0.4"), (100_000, "0.1"), (22_260, "0.022"), (1_000, "0.001"), (None, "-")],
)
def test_a_small_file_has_a_size_too(size_bytes: int | None, shown: str) -> None:
    assert tables.megabytes(size_bytes) == shown
