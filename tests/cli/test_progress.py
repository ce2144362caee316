"""Progress: lines where nobody watches, a table on a terminal."""

from __future__ import annotations

import io

import pytest

from kexport.cli.progress import ENDED, LiveProgress, PlainProgress, create
from kexport.pipeline import events
from tests.cli.conftest import Event


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_only_for_news() -> None:
    stream = io.StringIO()
    with PlainProgress(total=2, stream=stream) as progress:
        for event in (
            Event("a", "export"),
            Event("a", "export", seconds=2.0),
            Event("b", "export"),
            Event("a", "parity", seconds=3.0),
            Event("a", "parity", seconds=4.0, status="PASS"),
            Event("a", "parity", seconds=5.0),
        ):
            progress.observe(event)
    assert stream.getvalue().splitlines() == [
        "[0/2] a: export  1.0 s, 1024 MiB",
        "[0/2] b: export  1.0 s, 1024 MiB",
        "[0/2] a: parity  3.0 s, 1024 MiB",
        "[1/2] a: PASS  4.0 s, 1024 MiB",
    ]


def test_the_table_shows_what_runs_and_counts_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with LiveProgress(total=3, stream=stream) as progress:
        progress.observe(Event("VGG16 [onnx]", "lower"))
        progress.observe(Event("ResNet50 onnx", status="PASS"))
        progress.observe(Event("Xception onnx", status="FAIL"))
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100)
        console.print(progress._table())
        shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "VGG16 [onnx]" in shown
    assert "reading the layers" in shown
    assert "ResNet50" not in shown
    assert "2 of 3 done: 1 FAIL, 1 PASS" in shown
    assert "FAIL Xception onnx" in stream.getvalue()


def test_the_terminal_is_given_back_after_an_error() -> None:
    progress = LiveProgress(total=1, stream=Terminal())
    with pytest.raises(RuntimeError, match="broken"), progress:
        raise RuntimeError("broken")
    assert progress._live is None


@pytest.mark.parametrize(
    ("stream", "ci", "kind"),
    [(Terminal(), "", LiveProgress), (Terminal(), "true", PlainProgress), (io.StringIO(), "", PlainProgress)],
)
def test_which_one(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, ci: str, kind: type) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("TERM", "xterm")
    assert type(create(stream=stream)) is kind


def test_what_is_over_leaves_and_is_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert events.ENDED == ENDED
    with LiveProgress(total=2, stream=Terminal()) as progress:
        progress.observe(Event("VGG16 keras", "build"))
        progress.observe(Event("VGG16 keras", ENDED))
        assert (progress._running, progress._caption()) == ({}, "0 of 2 done")
    stream = io.StringIO()
    with PlainProgress(total=2, stream=stream) as plain:
        plain.observe(Event("VGG16 keras", ENDED))
    assert stream.getvalue() == ""


def test_what_is_left_is_guessed_from_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 30.0, 30.0, 30.0, 30.0, 30.0))
    monkeypatch.setattr("kexport.cli.progress.monotonic", lambda: next(clock))
    progress = LiveProgress(total=3, stream=Terminal(), sizes={"a": 1.0, "b": 1.0, "c": 2.0})
    assert progress._caption() == "0 of 3 done"
    progress.observe(Event("a", status="PASS"))
    assert progress._caption() == "1 of 3 done: 1 PASS · 25 %, about 1 min 30 s left"
    for label in "bc":
        progress.observe(Event(label, status="PASS"))
    assert progress._caption() == "3 of 3 done: 3 PASS"


def test_forty_running_cells_leave_the_count_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    from rich.console import Console

    progress = LiveProgress(total=99, stream=Terminal())
    for number in range(40):
        progress.observe(Event(f"model {number}", "parity"))
    console = Console(file=io.StringIO(), width=80, height=24)
    console.print(progress._table())
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(shown) < 24
    assert "comparing with Keras" in shown[1]
    assert "and 21 more" in shown[-2]
    assert shown[-1].strip() == "0 of 99 done"
