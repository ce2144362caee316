"""C arrays: exact after a compiler has read them, aligned; what TFLite Micro would run wrongly is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kexport.bundles import mcu
from kexport.bundles.micro import several_scales
from tests.bundles.conftest import Made

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
DUMP = """
#include <stdio.h>
#include "golden_data.h"
#include "model_data.h"
int main(void) {
  if ((size_t)kexport_model % 16 || (size_t)kexport_golden_input % 16) return 1;
  fwrite(kexport_model, 1, kexport_model_bytes, stdout);
  fwrite(kexport_golden_input, 1, sizeof kexport_golden_input, stdout);
  fwrite(kexport_golden_output_0, 1, sizeof kexport_golden_output_0, stdout);
  return 0;
}
"""


@needs_gcc
@pytest.mark.parametrize("name", ["a.tflite", "int8.tflite"])
def test_a_compiler_reads_the_very_bytes(name: str, small: Callable[..., Path], made: Made) -> None:
    check_bytes(made(small(name), "mcu"))


def check_bytes(folder: Path) -> None:
    (folder / "dump.c").write_text(DUMP)
    words = ["gcc", "-std=c11", "-Wall", "-Werror", "dump.c", "model_data.c", "golden_data.c", "-o", "dump"]
    subprocess.run(words, cwd=folder, check=True, timeout=300)
    found = subprocess.run([folder / "dump"], capture_output=True, check=True, timeout=60).stdout
    inputs = (folder / "golden" / "inputs.bin").read_bytes()
    outputs = (folder / "golden" / "outputs-0.bin").read_bytes()
    assert found == (folder / "model.tflite").read_bytes() + inputs[: len(inputs) // 3] + outputs[: len(outputs) // 3]


@needs_gcc
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32"])
def test_extreme_numbers(dtype: str, tmp_path: Path) -> None:
    if dtype == "float32":
        values = np.array([0.0, -0.0, 1e-45, 3.4028235e38, -1 / 3, 1.1754944e-38], np.float32)
    else:
        values = np.array([np.iinfo(dtype).min, -1 if dtype[0] == "i" else 1, 0, np.iinfo(dtype).max], dtype)
    code = f"#include <stdint.h>\n#include <stdio.h>\n{mcu.array('data', values)}"
    (tmp_path / "a.c").write_text(f"{code}int main(void) {{ fwrite(data, 1, sizeof data, stdout); return 0; }}\n")
    subprocess.run(["gcc", "-std=c11", "-Werror", "a.c", "-o", "a"], cwd=tmp_path, check=True, timeout=60)
    assert subprocess.run([tmp_path / "a"], capture_output=True, check=True, timeout=60).stdout == values.tobytes()


def test_names_of_the_resolver() -> None:
    names = {"CONV_2D": "AddConv2D", "SPLIT_V": "AddSplitV", "MIRROR_PAD": "AddMirrorPad", "PADV2": "AddPadV2",
             "HARD_SWISH": "AddHardSwish", "FULLY_CONNECTED": "AddFullyConnected", "RELU6": "AddRelu6"}  # fmt: skip
    assert {operator: mcu.resolver_name(operator) for operator in names} == names
    assert mcu.resolver_name("GELU") is None
    assert mcu.resolver_name("RELU_0_TO_1") is None


def test_several_scales_are_not_seen_where_there_are_none(small: Callable[..., Path]) -> None:
    assert several_scales(small("int8.tflite").read_bytes()) == ()
