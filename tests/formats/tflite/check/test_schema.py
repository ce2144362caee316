"""Names and numbers of the check against the installed schema's own code."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as generated

from kexport.formats.tflite.check import schema
from kexport.formats.tflite.check.quantized import RULES
from kexport.formats.tflite.check.shapes import BUILTINS

ENUMS = (schema.BuiltinOperator, schema.Padding, schema.TensorType)
NAMED = tuple(each for each in vars(schema).values() if isinstance(each, type) and each.__module__ == schema.__name__)
TABLES = tuple(each for each in NAMED if each not in ENUMS)


class Recorder:
    """Stands in for the flatbuffer builder: keeps the slot that generated code fills."""

    slot: int | None = None

    def __getattr__(self, method: str) -> Any:
        def prepend(slot: int, value: int, default: int) -> None:
            del value, default
            self.slot = slot

        assert method.startswith("Prepend")
        return prepend


@pytest.mark.parametrize("enum", ENUMS)
def test_values_are_those_of_the_schema(enum: type[IntEnum]) -> None:
    theirs = vars(getattr(generated, enum.__name__))
    assert {each.name: theirs.get(each.name) for each in enum} == {each.name: each.value for each in enum}


@pytest.mark.parametrize("table", TABLES)
def test_slots_are_those_that_the_schema_writes_to(table: type[IntEnum]) -> None:
    for each in table:
        recorder = Recorder()
        field = "".join(part.capitalize() for part in each.name.split("_"))
        getattr(generated, f"{table.__name__}Add{field}")(recorder, 0)
        assert recorder.slot == each.value, f"{table.__name__}.{each.name}"


def test_an_operator_with_a_rule_of_scales_has_one_of_shapes() -> None:
    assert set(RULES) <= set(BUILTINS) <= set(schema.BuiltinOperator)
