"""The error tree: exit codes, hints, offers."""

from __future__ import annotations

import inspect

import pytest

from kexport import errors
from kexport.errors import KexportError, UnknownNameError

TREE = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, KexportError)}


def exit_code_in_docstring(name: str) -> int | None:
    """What the drawn tree says; a line without a code has that of the line that it hangs from."""
    code = None
    for line in (errors.__doc__ or "").splitlines():
        if "exit" in line:
            code = int(line.split("exit")[1].split()[0])
        if name in line.split():
            return code
    return None


@pytest.mark.parametrize("name", TREE)
def test_the_drawn_tree_is_the_real_one(name):
    assert exit_code_in_docstring(name) == TREE[name].exit_code


def test_a_hint_is_the_last_line():
    assert str(KexportError("it broke", hint="mend it")) == "it broke\nhint: mend it"
    assert str(KexportError("it broke")) == "it broke"


def test_a_close_name_is_offered_whatever_its_case():
    error = UnknownNameError(kind="model", value="resnet5O", legal=["ResNet50", "VGG16"], hint="kexport list")
    assert str(error) == "unknown model 'resnet5O': did you mean ResNet50?\nhint: kexport list"
    assert error.suggestion == "ResNet50"
    assert error.exit_code == 2


def test_without_a_close_name_the_known_ones_are_listed():
    error = UnknownNameError(kind="format", value="coreml", legal=["onnx", "tflite"], hint="kexport list formats")
    assert error.message == "unknown format 'coreml': known: onnx, tflite"
    assert error.suggestion is None
