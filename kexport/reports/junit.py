"""JUnit XML: one suite per model, one case per artifact made and one per check, for CI systems.

The elements and attributes are those of the schema that Jenkins' xUnit plug-in publishes and that GitLab,
GitHub actions and Azure read: testsuites / testsuite / testcase / failure | error | skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kexport.records import Check, Record, Status
from kexport.reports import origin

# What XML 1.0 cannot carry, not even escaped (section 2.2, production Char).
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def render(records: Sequence[Record]) -> str:
    """The records as JUnit XML; times are the seconds that the cell took in its own process."""
    root = Element("testsuites", name="kexport")
    for model, cells in groupby(records, key=lambda record: record.model):
        suite = SubElement(root, "testsuite", name=legal(model))
        for record in cells:
            suite.extend(_cases(record))
        _count(suite)
    _count(root)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    r"""The text with every character that XML cannot carry spelled out, as in ``\x1b``."""
    return _ILLEGAL.sub(lambda match: ascii(match[0])[1:-1], text)


def _cases(record: Record) -> Iterator[Element]:
    checks = record.parity.checks if record.parity is not None else ()
    explained = record.status is Status.FAIL and not all(check.passed for check in checks)
    case = _case(record, "export", seconds=sum(record.cost.seconds.values()) if record.cost is not None else 0.0)
    _state(case, dict(_facts(record)))
    if not explained:
        _end(case, record)
    yield case
    for check in checks:
        yield _checked(record, check)


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    """What a reader wants to know of a cell, whether it passed or not."""
    yield "status", str(record.status)
    yield from origin.origin([record])
    if record.artifact is not None:
        yield "size_bytes", str(record.artifact.size_bytes)
        yield "sha256", record.artifact.sha256
    if record.parity is not None:
        yield "effective", record.parity.effective
    scored = record.accuracy
    if scored is not None and scored.top1_drop_points is not None:
        yield "top1_drop_points", f"{scored.top1_drop_points:g} ({scored.low_points:g} to {scored.high_points:g})"
    if record.reproduce:
        yield "reproduce", record.reproduce


def _state(case: Element, values: Mapping[str, str]) -> None:
    properties = SubElement(case, "properties")
    for name, value in values.items():
        SubElement(properties, "property", name=name, value=legal(value))


def _checked(record: Record, check: Check) -> Element:
    case = _case(record, check.name)
    _state(case, {"value": f"{check.value:g}", "bound": f"{check.bound:g}", "why": check.why})
    if not check.passed:
        message = f"{check.name} is {check.value:g}, the bound is {check.bound:g}"
        _add(case, "failure", kind=Status.FAIL, message=message, lines=(check.why, *_help(record)))
    return case


def _end(case: Element, record: Record) -> None:
    """How a cell ended that no failed check explains."""
    if record.status is Status.ERROR:
        _add(case, "error", kind=record.status, message=record.reason, lines=(*_help(record), record.traceback))
    elif record.skipped:
        _add(case, "skipped", kind=record.status, message=record.reason, lines=(record.reason,))
    elif record.status is not Status.PASS:
        _add(case, "failure", kind=record.status, message=record.reason, lines=_help(record))


def _help(record: Record) -> tuple[str, ...]:
    hint = f"hint: {record.hint}" if record.hint else ""
    return (record.reason, hint, f"again: {record.reproduce}" if record.reproduce else "")


def _case(record: Record, name: str, *, seconds: float = 0.0) -> Element:
    title = f"{record.format} {record.kind}: {name}"
    return Element("testcase", classname=legal(f"kexport.{record.model}"), name=legal(title), time=f"{seconds:.3f}")


def _add(case: Element, tag: str, *, kind: str, message: str, lines: Sequence[str]) -> None:
    element = SubElement(case, tag, type=kind, message=legal(message))
    element.text = legal("\n".join(line for line in lines if line))


def _count(suite: Element) -> None:
    """State tests, failures, errors, skipped and time on a suite, from the cases below it."""
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    for attribute, tag in _COUNTED.items():
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
