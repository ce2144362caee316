"""What can be said of one artifact: the options of calibration, of quantizing, and the gates that it has to pass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from kexport.options.entry import Goes, option
from kexport.options.kinds import FileSize, Name, Names, Number, Switch, Text, Texts

if TYPE_CHECKING:
    from kexport.specs import Backend, Kernels


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """What can be said of one artifact: fields of the request and of `Cell` alike."""

    calibration: str | None = option(
        Text(python="str | PathLike[str] | None", path=True), Goes.CELL,
        "Images that int8 ranges are measured on, about 100; in Python also arrays or a dataset",
        "--calibration photos", metavar="DIR|FILE.npz|synthetic:SEED",
    )  # fmt: skip
    evaluation: str | None = option(
        Text(python="str | PathLike[str] | None", path=True), Goes.CELL,
        "What accuracy is measured on: photographs in a folder per class, <class index>_*.jpg or a CSV, or arrays "
        "input and labels; in Python also arrays or a dataset",
        "--eval photos", word="eval", metavar="DIR|FILE.csv|FILE.npz", was="evaluation",
    )  # fmt: skip
    max_drop: float | None = option(
        Number(), Goes.CELL,
        "What a file may lose on the data of --eval, of top-1 or of another network's own figure; of int8 the fewest "
        "layers, at most half, stay float32 for it",
        "--schemes int8 --max-drop 0.5", metavar="POINTS",
    )  # fmt: skip
    min_agreement: float | None = option(
        Number(), Goes.CELL, "Least share of the data of --eval on which a file of any scheme decides as Keras does",
        "--eval photos --min-agreement 0.97", metavar="SHARE",
    )  # fmt: skip
    reference: tuple[Backend, ...] = option(
        Names(of="backend"), Goes.CELL,
        "Backends of Keras that a file is compared with; the one that builds the model is always among them",
        "--reference tensorflow,jax", default=(), metavar="NAME,...",
    )  # fmt: skip
    max_size: str | None = option(
        FileSize(), Goes.CELL, "Largest size of a file of any scheme", "--max-size 4MB", metavar="SIZE",
    )  # fmt: skip
    max_latency_ratio: float | None = option(
        Number(), Goes.CELL,
        "With --bench: longest time of a file, of that of the float32 file of its format in the same run",
        "--bench --schemes float32,int8 --max-latency-ratio 0.8", metavar="R",
    )  # fmt: skip
    kernels: Kernels | None = option(  # noqa: RUF009 - a field
        Name(of="kernels"), Goes.CELL, "Range of int8 kernels: the same decisions on every CPU, or all of it with VNNI",
        "--schemes int8 --kernels full", metavar="portable|full", unless="portable",
    )  # fmt: skip
    keep_float: tuple[str, ...] = option(
        Texts(), Goes.CELL,
        "int8: layers that stay in float32, by name or glob; which cost most: kexport sensitivity",
        "--schemes int8 --keep-float 'block1_*'", default=(), metavar="LAYER",
    )  # fmt: skip
    recipe: str | None = option(
        Text(python="str | PathLike[str] | None", path=True), Goes.CELL,
        "int8: which layers get which precision, range and kernels: a TOML file, or one of kexport list recipes",
        "--schemes int8 --recipe float-gates", metavar="FILE|NAME",
    )  # fmt: skip
    integer_head: bool = option(
        Switch(), Goes.CELL, "int8: the last dense layer too, with one scale, for runtimes of integers alone",
        "--schemes int8 --integer-head", default=False,
    )  # fmt: skip
    float16_biases: bool = option(
        Switch(), Goes.CELL, "TFLite in float16: biases too, for what reads a layer in one type, as MNN's converter",
        "--formats tflite --schemes float16 --float16-biases", default=False,
    )  # fmt: skip
    operators: tuple[str, ...] = option(
        Texts(), Goes.CELL, "Operators that the file may hold, as its format calls them; any unless said",
        "--operators CONV_2D --operators SOFTMAX", default=(), metavar="NAME",
    )  # fmt: skip

    def cell_options(self) -> dict[str, Any]:
        """Every field of these by its name."""
        return {each.name: getattr(self, each.name) for each in fields(CellOptions)}
