"""The options of ``kexport export``, once: the fields of `ExportOptions`, each with its words.

From this table come click's options, the signature of `kexport.export`, what a target file may set, the command that
makes one cell again, and README's table. A field of `ModelOptions` is also one of `ModelSpec` and of the records, a
field of `CellOptions` also one of `Cell`: such an option stands here and where it acts, and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kexport.errors import UsageError
from kexport.options import variants
from kexport.options.cell import CellOptions
from kexport.options.entry import ENTRY, Goes, Option, option
from kexport.options.kinds import BatchSize, Bytes, Name, Names, Number, Sizes, Switch, Text, Texts
from kexport.options.place import Url
from kexport.options.signature import keywords

if TYPE_CHECKING:
    from kexport.registry import Format, Scheme
    from kexport.specs import Boundary

__all__ = [
    "DEFAULT_TIMEOUT_MINUTES", "PYTHON", "TABLE", "CellOptions", "ExportOptions", "Goes", "ModelOptions", "Option",
    "command", "keywords", "of", "option", "read",
]  # fmt: skip
DEFAULT_TIMEOUT_MINUTES = 30.0


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What can be said of a network beside its name: fields of the request, of `ModelSpec` and of the records alike."""

    alpha: float | None = option(
        Number(), Goes.MODEL, "Width of a MobileNet", "--alpha 0.75", metavar="A", variant=variants.width,
    )  # fmt: skip
    minimalistic: bool = option(
        Switch(), Goes.MODEL, "MobileNetV3 without its costly blocks", "--minimalistic", default=False,
        variant=lambda _: "minimalistic",
    )  # fmt: skip
    input_shape: tuple[int, int, int] | None = option(
        Sizes(), Goes.MODEL, "Image size of the network", "--input-shape 192,192,3", metavar="H,W,C",
        variant=variants.size,
    )  # fmt: skip
    pooling: str | None = option(
        Text(python="str | None"), Goes.MODEL, "Pool the features of --no-top", "--no-top --pooling avg",
        metavar="avg|max", variant=str,
    )  # fmt: skip
    layers: tuple[str, ...] = option(
        Texts(), Goes.MODEL, "End at this layer; several give several outputs; names: kexport list layers",
        "--layer block4_pool", default=(), word="layer", metavar="NAME", was="layers",
        variant=variants.taps,
    )  # fmt: skip
    labels: str | None = option(
        Text(python="str | PathLike[str] | None", path=True), Goes.MODEL,
        "Names of the classes: one a line, CSV or JSON; ImageNet's for 1000-class applications unless said",
        "--labels flowers.txt", metavar="FILE", kept=False, variant=variants.same,
    )  # fmt: skip
    preprocessing: str | None = option(
        Text(python="str | PathLike[str] | None", path=True), Goes.MODEL,
        "How pixels become the network's input: raw, unit, tf, torch, caffe, or a file (TOML, JSON) with scale, mean, "
        "std, channel_order; as the model's own layers tell unless said",
        "--preprocessing tf", metavar="FILE|MODE", kept=False, variant=variants.same,
    )  # fmt: skip
    resize: str | None = option(
        Text(python="str | None"), Goes.MODEL,
        "How photographs get the network's size; the centre of 0.875 of the shorter side unless said",
        "--resize squash", metavar="squash|crop:RATIO|pad", variant=variants.same,
    )  # fmt: skip
    embed_preprocessing: bool = option(
        Switch(), Goes.MODEL,
        "Put the preprocessing into the graph: files take uint8 RGB pixels of the network's size",
        "--embed-preprocessing", default=False, variant=lambda _: "embedded",
    )  # fmt: skip
    called: str | None = option(
        Text(python="str | None"), Goes.MODEL,
        "Name of the artifacts and their folder; the source's with what makes it another network unless said",
        "--alpha 0.25 --name Small", word="name", metavar="NAME", in_target=False, variant=variants.same,
    )  # fmt: skip
    trust: bool = option(
        Switch(), Goes.MODEL, "Load Lambda layers and custom classes of a model file: its code runs", "--trust",
        default=False, in_target=False, kept=False, variant=variants.same,
    )  # fmt: skip

    def model_options(self) -> dict[str, Any]:
        """Every field of these by its name."""
        return {each.name: getattr(self, each.name) for each in fields(ModelOptions)}

    def in_name(self) -> dict[str, str]:
        """What each of these adds to the name of the network, by the fields' names; see `Option.in_name`."""
        values = self.model_options()
        return {each.name: each.in_name(values[each.name]) for each in TABLE if each.name in values}


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ModelOptions, CellOptions):
    """What the user asked for. ``None`` means: not given, so a target or the default decides."""

    formats: tuple[Format, ...] | None = option(
        Names(of="format"), Goes.MAKE, "File formats", "--formats onnx,tflite,savedmodel", metavar="NAME,...",
        unless="onnx,tflite", in_target=True,
    )  # fmt: skip
    schemes: tuple[Scheme, ...] | None = option(
        Names(of="scheme", alone="auto"), Goes.MAKE,
        "Numeric precisions; auto tries them and takes the fastest inside the bounds, per format",
        "--schemes float32,float16", metavar="NAME,...|auto",
        unless="float32", was="scheme", in_target=True,
    )  # fmt: skip
    target: str | tuple[str, ...] = option(
        Texts(), Goes.MAKE, "Take from a target what is not typed; several make the cells of each", "--target android",
        default=(), metavar="NAME|FILE.toml",
    )  # fmt: skip
    weights: str | None = option(
        Text(path=True), Goes.MODEL, "Where the weights come from: downloaded by Keras, seeded, or a file",
        "--weights random:0", metavar="imagenet|random:SEED|FILE", unless="imagenet", kept=False,
    )  # fmt: skip
    classes: int | None = option(
        Number(python="int | None", whole=True), Goes.MODEL, "Size of the classifier", "--classes 10", metavar="N",
        unless="1000",
    )  # fmt: skip
    no_top: bool = option(
        Switch(), Goes.MODEL, "Leave the classifier out: features", "--no-top --pooling avg", default=False,
        was="include_top", turned=lambda value: not value,
    )  # fmt: skip
    batch: int | Literal["dynamic"] | None = option(
        BatchSize(), Goes.CELL, "Batch size in the file; dynamic for onnx and savedmodel, 1 for tflite unless said",
        "--batch 8", metavar="N|dynamic",
    )  # fmt: skip
    opset: int | None = option(
        Number(python="int | None", whole=True), Goes.CELL, "ONNX operator set", "--opset 17", metavar="N", unless="18",
    )  # fmt: skip
    engine: str | None = option(
        Name(of="engine"), Goes.CELL,
        "Who writes the file; auto unless said, which is kexport itself where it can", "--engine tf2onnx",
        metavar="NAME",
    )  # fmt: skip
    io: Boundary | None = option(  # noqa: RUF009 - a field
        Name(of="io"), Goes.CELL, "Type of the inputs and outputs of TFLite int8 files", "--schemes int8 --io uint8",
        metavar="float32|int8|uint8", unless="float32",
    )  # fmt: skip
    jobs: int | None = option(
        Number(python="int | None", whole=True), Goes.RUN, "Processes at once; as cores and memory allow unless said",
        "--jobs 2", metavar="N",
    )  # fmt: skip
    memory: int | None = option(
        Bytes(), Goes.RUN, "Most memory of all processes together; what the machine allows unless said",
        "--memory 8GiB", metavar="SIZE",
    )  # fmt: skip
    cluster: str | None = option(
        Text(python="str | None"), Goes.RUN, "Make the cells on a Dask cluster: the address of its scheduler",
        "--cluster tcp://head:8786 -o s3://bucket/models", metavar="ADDRESS",
    )  # fmt: skip
    resume: bool = option(
        Switch(), Goes.RUN, "Keep what is complete already", "kexport all --resume", default=False,
    )  # fmt: skip
    force: bool = option(
        Switch(), Goes.RUN, "Make everything again, as without --resume", "kexport export VGG16 --force", default=False,
    )  # fmt: skip
    skip_unsupported: bool = option(
        Switch(), Goes.RUN, "Leave out, and tell, what is known not to be supported before its work begins: exit 0",
        "kexport export MobileNetV3Small --schemes int8,int16x8 --skip-unsupported", default=False, in_target=True,
    )  # fmt: skip
    bench: bool = option(
        Switch(), Goes.RUN, "Measure latency as well", "kexport export MobileNet --bench", default=False,
        in_target=True,
    )  # fmt: skip
    bench_threads: int | None = option(
        Number(python="int | None", whole=True), Goes.RUN, "Compute threads of --bench; the usable cores unless said",
        "--bench --bench-threads 1", metavar="N", in_target=True,
    )  # fmt: skip
    timeout_minutes: float = option(
        Number(python="float"), Goes.RUN, "Time limit of one cell", "--timeout 5", default=DEFAULT_TIMEOUT_MINUTES,
        word="timeout", metavar="MINUTES", unless=f"{DEFAULT_TIMEOUT_MINUTES:.1f}", was="timeout_seconds",
        turned=lambda value: value / 60,
    )  # fmt: skip
    isolate: bool = option(
        Switch(), Goes.RUN,
        "Start every process anew; otherwise they are forked from one that has imported Keras, or the runtimes, once",
        "kexport all --isolate", default=False,
    )  # fmt: skip
    output: Path | Url = option(  # noqa: RUF009 - a field
        Text(python="str | PathLike[str]"), Goes.RUN,
        "Where artifacts and records land: a folder, or a URL of fsspec, such as s3://bucket/models", "-o build/models",
        default=Path("artifacts"), metavar="DIR|URL", unless="artifacts", was="directory", short="-o",
    )  # fmt: skip
    as_json: bool = option(
        Switch(), Goes.COMMAND, "Data on stdout as JSON", "--json > run.json", default=False, word="json",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.resume and self.force:
            raise UsageError(
                "--resume keeps what is complete and --force makes everything again: expected one of them",
                hint="kexport all --resume",
            )
        if not self.timeout_minutes > 0:
            raise UsageError(f"--timeout {self.timeout_minutes:g}: expected minutes above 0", hint="--timeout 30")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: expected 1 or more", hint="--jobs 2")
        if self.bench_threads is not None and self.bench_threads < 1:
            raise UsageError(f"--bench-threads {self.bench_threads}: expected 1 or more", hint="--bench-threads 1")

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once."""
        return tuple(dict.fromkeys((self.target,) if isinstance(self.target, str) else self.target))

    def given(self) -> dict[str, Any]:
        """What was typed, by the fields' names."""
        values = {each.name: getattr(self, each.name) for each in TABLE}
        return {each.name: values[each.name] for each in TABLE if values[each.name] != each.default}


def _options() -> Iterator[Option]:
    for each in fields(ExportOptions):
        yield Option(**{"word": each.name, "name": each.name, "default": each.default, **each.metadata[ENTRY]})


TABLE = tuple(sorted(_options(), key=lambda each: list(Goes).index(each.goes)))
"""Every option, in the order in which help and documents show them."""


def of(*goes: Goes) -> tuple[Option, ...]:
    """The options that tell one of these something."""
    return tuple(each for each in TABLE if each.goes in goes)


PYTHON = of(Goes.MAKE, Goes.MODEL, Goes.CELL, Goes.RUN)
"""The options that are keyword arguments as well."""


def read(options: Iterable[Option], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the fields' names from the keyword arguments of a program; None is what is not given.

    Earlier words are read as well. Raises TypeError for a word that there is not, UsageError for a wrong value.
    """
    known = {word: each for each in options for word in (each.word, each.was) if word}
    found: dict[str, Any] = {}
    for word, value in keywords.items():
        if word not in known:
            offers = [f": did you mean {each!r}?" for each in difflib.get_close_matches(word, known, n=1)]
            raise TypeError("".join([f"unexpected keyword argument {word!r}", *offers]))
        if value is None:
            continue
        each = known[word]
        if each.name in found:
            raise UsageError(
                f"{each.was} and {each.word} are one option: expected one of them", hint=f"{each.word}=..."
            )
        found[each.name] = each.kind.take(each.flag, value if word == each.word else each.turned(value))
    return found


def command(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of the command line that give these values."""
    given = (each for each in TABLE if values.get(each.name) is not None)
    return tuple(word for each in given for word in each.kind.words(each.flag, values[each.name]))
