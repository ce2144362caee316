"""The shell completes commands, models, and the values of options; nothing heavy is imported for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from kexport import targets
from kexport.cli import group
from kexport.registry import Scheme
from kexport.sources.catalog import APPLICATIONS


def offered(*words: str) -> list[str]:
    *before, typed = words
    found = ShellComplete(group, {}, "kexport", "_KEXPORT_COMPLETE").get_completions(before, typed)
    return [item.value for item in found if item.type == "plain"]


def test_commands() -> None:
    assert offered("") == list(group.commands)
    assert offered("cl") == ["classify"]


@pytest.mark.parametrize("command", ["export", "sensitivity"])
def test_models_in_any_case_and_files(command: str) -> None:
    assert offered(command, "") == [row.name for row in APPLICATIONS]
    assert offered(command, "mobilenetv3") == ["MobileNetV3Small", "MobileNetV3Large"]
    found = ShellComplete(group, {}, "kexport", "_KEXPORT_COMPLETE").get_completions([command], "mine")
    assert [item.type for item in found] == ["file"]


def test_schemes_behind_the_last_comma() -> None:
    assert offered("export", "VGG16", "--schemes", "") == [*map(str, Scheme), "auto"]
    assert offered("export", "VGG16", "--schemes", "int8,a") == [], "auto stands alone"
    assert offered("export", "VGG16", "--schemes", "int8,f") == ["int8,float32", "int8,float16"]
    assert offered("export", "VGG16", "--schemes", "float32,f") == ["float32,float16"]


@pytest.mark.parametrize(
    ("option", "typed", "expected"),
    [
        ("--target", "", list(targets.names())),
        ("--formats", "onnx,t", ["onnx,tflite"]),
        ("--engine", "na", ["native"]),
        ("--kernels", "", ["portable", "full"]),
        ("--recipe", "f", ["float-gates"]),
        ("--resize", "", ["squash", "pad"]),
        ("--weights", "im", ["imagenet"]),
        ("--alpha", "", []),
    ],
)
def test_values_of_options(option: str, typed: str, expected: list[str]) -> None:
    assert offered("all", option, typed) == expected


def test_lists() -> None:
    assert offered("list", "") == [
        "models",
        "formats",
        "schemes",
        "engines",
        "targets",
        "recipes",
        "runtimes",
        "layers",
    ]


def test_the_documented_line_asks_the_program() -> None:
    environment = {
        **os.environ,
        "_KEXPORT_COMPLETE": "bash_complete",
        "COMP_WORDS": "kexport export Xc",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kexport"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "plain,Xception" in done.stdout.splitlines()
    assert "keras" not in done.stderr.replace("kexport", "")
