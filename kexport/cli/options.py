"""The options that ``export`` and ``all`` share; their values are fields of `requests.ExportOptions`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import rich_click as click

from kexport.errors import UnknownNameError, UsageError
from kexport.pipeline.requests import DEFAULT_TIMEOUT_MINUTES, Batch
from kexport.specs import DEFAULT_OPSET, Boundary, EngineNames, Format, Scheme

Command = Callable[..., int]
Callback = Callable[[click.Context, click.Parameter, Any], Any]


def export_options(function: Command) -> Command:
    """Add every shared option to a command; their values arrive as the fields of `ExportOptions`."""
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return function


def model_options(function: Command) -> Command:
    """Add the options that say which network is meant."""
    for decorate in reversed(_MODEL_OPTIONS):
        function = decorate(function)
    return function


def members(kind: str, legal: Iterable[str]) -> Callback:
    """Reads a comma-separated list, each member once, in the order given; UnknownNameError offers the closest."""

    def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
        if text is None:
            return None
        return tuple(dict.fromkeys(_member(kind, legal, name.strip()) for name in text.split(",")))

    return parse


def one_member(kind: str, legal: Iterable[str]) -> Callback:
    """Reads one member; UnknownNameError offers the closest."""

    def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
        return None if text is None else _member(kind, legal, text)

    return parse


def input_shape(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, int, int] | None:
    """Reads height, width and channels; raises UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,5})\s*,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*", text)
    if found is None:
        raise UsageError(f"--input-shape {text!r}: expected height, width, channels", hint="--input-shape 224,224,3")
    return int(found[1]), int(found[2]), int(found[3])


def batch_size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Batch | None:
    """Reads a number or ``dynamic``; raises UsageError."""
    if text is None or text == "dynamic":
        return "dynamic" if text else None
    if not re.fullmatch(r"\d{1,9}", text):
        raise UsageError(f"--batch {text!r}: expected a whole number or dynamic", hint="--batch 1")
    return int(text)


def folder(_context: click.Context, _parameter: click.Parameter, text: str) -> Path:
    """Reads the name of a folder; UsageError for an empty one, which would be the present folder."""
    if not text:
        raise UsageError("-o '': expected the name of a folder", hint="-o artifacts, or -o . for the present folder")
    return Path(text)


def _member(kind: str, legal: Iterable[str], name: str) -> str:
    known = {str(member): member for member in legal}
    if name not in known:
        raise UnknownNameError(kind=kind, value=name, legal=known, hint=f"kexport list {kind}s")
    return known[name]


json_option = click.option("--json", "as_json", is_flag=True, help="Data on stdout as JSON, e.g. --json > run.json")

trusted_option = click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="SOURCE",
    help="Model file or factory, as the record names it, whose code may run; nothing runs unless said, "
    "e.g. --trust mypackage.models:build",
)

calibration_option = click.option(
    "--calibration",
    metavar="DIR|FILE.npz|synthetic:SEED",
    help="Images that int8 ranges are measured on, about 100, e.g. --calibration photos",
)

_MODEL_OPTIONS = (
    click.option(
        "--weights",
        default="imagenet",
        show_default=True,
        metavar="imagenet|random:SEED|FILE",
        help="Where the weights come from: downloaded by Keras, seeded, or a file, e.g. --weights random:0",
    ),
    click.option("--alpha", type=float, metavar="A", help="Width of a MobileNet, e.g. --alpha 0.75"),
    click.option("--minimalistic", is_flag=True, help="MobileNetV3 without its costly blocks, e.g. --minimalistic"),
    click.option(
        "--input-shape",
        metavar="H,W,C",
        callback=input_shape,
        help="Image size of the network, e.g. --input-shape 192,192,3",
    ),
    click.option(
        "--classes", type=int, metavar="N", help="Size of the classifier; 1000 unless said, e.g. --classes 10"
    ),
    click.option("--no-top", is_flag=True, help="Leave the classifier out: features, e.g. --no-top --pooling avg"),
    click.option("--pooling", metavar="avg|max", help="Pool the features of --no-top, e.g. --no-top --pooling avg"),
    click.option(
        "--layer",
        "layers",
        multiple=True,
        metavar="NAME",
        help="End at this layer; several give several outputs; names: kexport list layers, e.g. --layer block4_pool",
    ),
    click.option(
        "--labels",
        metavar="FILE",
        help="Names of the classes: one a line, CSV or JSON; ImageNet's for 1000-class applications unless said, "
        "e.g. --labels flowers.txt",
    ),
    click.option(
        "--trust",
        is_flag=True,
        help="Load Lambda layers and custom classes of a model file: its code runs, e.g. --trust",
    ),
)

_OPTIONS = (
    click.option(
        "--formats",
        metavar="NAME,...",
        callback=members("format", Format),
        help="File formats; onnx,tflite unless said, e.g. --formats onnx,tflite,savedmodel",
    ),
    click.option(
        "--schemes",
        metavar="NAME,...",
        callback=members("scheme", Scheme),
        help="Numeric precisions; float32 unless said, e.g. --schemes float32,float16",
    ),
    *_MODEL_OPTIONS,
    click.option(
        "--batch",
        metavar="N|dynamic",
        callback=batch_size,
        help="Batch size in the file; dynamic for onnx and savedmodel, 1 for tflite unless said, e.g. --batch 8",
    ),
    click.option(
        "--opset", type=int, metavar="N", help=f"ONNX operator set; {DEFAULT_OPSET} unless said, e.g. --opset 17"
    ),
    click.option(
        "--target",
        metavar="NAME|FILE.toml",
        help="Take formats, schemes, batch, opset, engine and input shape from a target, e.g. --target android",
    ),
    click.option(
        "--engine",
        metavar="NAME",
        callback=one_member("engine", EngineNames()),
        help="Who writes the file; auto unless said, which is kexport itself where it can, e.g. --engine tf2onnx",
    ),
    click.option(
        "--jobs", type=int, metavar="N", help="Processes at once; as cores and memory allow unless said, e.g. --jobs 2"
    ),
    click.option("--resume", is_flag=True, help="Keep what is complete already, e.g. kexport all --resume"),
    click.option(
        "--force", is_flag=True, help="Make everything again, as without --resume, e.g. kexport export VGG16 --force"
    ),
    click.option("--bench", is_flag=True, help="Measure latency as well, e.g. kexport export MobileNet --bench"),
    calibration_option,
    click.option(
        "--io",
        metavar="float32|int8|uint8",
        callback=one_member("io", Boundary),
        default=str(Boundary.FLOAT32),
        show_default=True,
        help="Type of the inputs and outputs of TFLite int8 files, e.g. --schemes int8 --io uint8",
    ),
    click.option(
        "--eval",
        "evaluation",
        metavar="DIR|FILE.csv",
        help="Photographs to measure accuracy on: a folder per class, <class index>_*.jpg or a CSV, e.g. --eval photos",
    ),
    click.option(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="Top-1 that int8 may lose on the photographs of --eval: the fewest layers stay float32 for it, "
        "e.g. --schemes int8 --max-drop 0.5",
    ),
    json_option,
    click.option(
        "--timeout",
        "timeout_minutes",
        type=float,
        default=DEFAULT_TIMEOUT_MINUTES,
        show_default=True,
        metavar="MINUTES",
        help="Time limit of one cell, e.g. --timeout 5",
    ),
    click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=False),
        callback=folder,
        default="artifacts",
        show_default=True,
        metavar="DIR",
        help="Where artifacts and records land, e.g. -o build/models",
    ),
)
