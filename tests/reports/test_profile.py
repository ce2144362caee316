"""Profiles in reports: the slowest first, all time counted, doubt told; at 80 columns, in Markdown and in HTML."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from kexport.records import Limits, OperatorTime, Profile, Record, Work, decode, encode
from kexport.reports import profile, render, roofline, terminal
from tests.reports import made_up

LONG = "expanded_conv_10_squeeze_excite_something_conv_1"


def operator(place: str, kind: str, ms: float) -> OperatorTime:
    return OperatorTime(name=f"{place}_nchwc", place=place, kind=kind, seconds=ms / 1000)


def of(*operators: OperatorTime, layers: bool = True, **more: object) -> Record:
    found = Profile(method="a clock", layers=layers, runs=9, operators=operators, **more)  # type: ignore[arg-type]
    record = next(each for each in made_up.run(models=1) if each.benchmarks)
    return replace(record, benchmarks=(replace(record.benchmarks[0], profile=found),))


MANY = of(*(operator(f"{LONG}_{n}", "Conv", 1 + n / 100) for n in range(15)), operator(f"{LONG}_3", "Relu", 5))


def test_layers_are_summed_and_sorted() -> None:
    record = of(operator("a", "Conv", 1), operator("b", "Conv", 2), operator("a", "Relu", 3), operator("", "Odd", 0))
    found = record.benchmarks[0].profile
    assert found is not None
    shares = profile.by_place(found)
    assert [(each.name, each.kinds, each.count) for each in shares] == [
        ("a", "Relu, Conv", 2), ("b", "Conv", 1), ("_nchwc", "Odd", 1),
    ]  # fmt: skip
    assert sum(each.share for each in shares) == pytest.approx(1)
    assert [(each.name, each.count) for each in profile.by_kind(found)] == [("Conv", 2), ("Relu", 1), ("Odd", 1)]


def test_what_is_not_shown_is_counted() -> None:
    layers, kinds = profile.profile_tables([MANY])
    assert len(layers.rows) == profile.MOST + 1
    assert layers.rows[0][:2] == (f"{LONG}_3", "Relu, Conv")
    assert layers.rows[-1][0] == "3 others"
    assert sum(float(row[3]) for row in layers.rows) == pytest.approx(100, abs=1)
    assert [row[0] for row in kinds.rows] == ["Conv", "Relu"]


def test_a_terminal_of_80_columns_breaks_no_number() -> None:
    from rich.console import Console

    console = Console(width=80, file=io.StringIO(), record=True)
    for item in terminal.tables([MANY]):
        console.print(item)
    lines = console.export_text().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any("6.03" in line and "28.6" in line for line in lines)
    assert "Where the time goes" in "\n".join(lines)


@pytest.mark.parametrize("form", ["md", "html"])
def test_other_reports_have_it_too(form: str) -> None:
    text = render([MANY], form)
    assert "Where the time goes" in text
    assert f"{LONG}_3" in text
    assert "a clock" in text
    assert "no profile: it has two graphs" in render([of(missing="it has two graphs")], form)


def test_a_file_of_another_maker_is_told_as_such() -> None:
    layers, _ = profile.profile_tables([of(operator("x", "Conv", 1), layers=False)])
    assert layers.header[0] == "operator"
    assert any("not kexport's own" in note for note in layers.notes)


def test_the_record_keeps_it() -> None:
    assert decode(encode(MANY)) == MANY


def test_attainable_is_the_larger_of_both_times() -> None:
    limits = Limits(float_macs_per_second=1e9, integer_macs_per_second=4e9, copy_bytes_per_second=1e8, copied_bytes=1)
    work = Work(place="a", macs=10**6, moved_bytes=10**4, integers=False)
    assert roofline.attainable(work, limits, 2e-3) == pytest.approx(0.5), "arithmetic takes 1 ms"
    assert roofline.attainable(replace(work, integers=True), limits, 1e-3) == pytest.approx(0.25)
    assert roofline.attainable(replace(work, moved_bytes=10**6), limits, 1e-2) == pytest.approx(1), "bytes take 10 ms"
    assert roofline.attainable(replace(work, macs=0, moved_bytes=0), limits, 1e-3) is None
