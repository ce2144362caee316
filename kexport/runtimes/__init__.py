"""Runtimes: what executes a model. One module per runtime; its presence in this folder registers it.

A runtime module holds one final subclass of `Session`. To add a runtime, copy `null.py`, state the four
class facts (`name`, `formats`, `distribution`, `devices`) and write `open` and `execute`. The base class checks
names, shapes and dtypes, and splits rows where a file accepts only a fixed batch; a subclass only works.
An installed package adds one through an entry point of the group ``kexport.runtimes`` that names the class.

A session states in ``effective`` what really executes, read back from the runtime after loading. A runtime
that would quietly use something else than was asked raises `DeviceError` instead.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kexport.errors import (
    ArtifactError,
    DeviceError,
    EnvironmentFailure,
    MissingDependencyError,
    UnknownNameError,
    UsageError,
)
from kexport.files import there
from kexport.records import Signature
from kexport.registry import load_entry_points

Tensor = npt.NDArray[Any]
Signatures = tuple[tuple[Signature, ...], tuple[Signature, ...]]
DEFAULT_DEVICE = "cpu"
ENTRY_POINTS = "kexport.runtimes"


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How a session is opened.

    ``threads`` is the number of compute threads, ``None`` leaves the runtime's own choice. ``batch`` is the
    number of rows that a run will mostly have; a runtime may prepare for it, and other numbers stay legal.
    """

    device: str = DEFAULT_DEVICE
    threads: int | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads {self.threads}: expected 1 or more", hint="--threads 1")
        if self.batch < 1:
            raise UsageError(f"batch {self.batch}: expected 1 or more", hint="--batch 1")


class Session(ABC):
    """A model, loaded and ready to run.

    Class facts: ``name`` of the runtime, ``formats`` that it reads (empty: it is opened by name only),
    ``distribution`` that must be installed (empty: none), ``devices`` that may be asked for, and whether a session
    ``limits_threads`` for itself (where not, they are the process's own).
    """

    name: ClassVar[str]
    formats: ClassVar[tuple[str, ...]] = ()
    distribution: ClassVar[str] = ""
    devices: ClassVar[tuple[str, ...]] = (DEFAULT_DEVICE,)
    limits_threads: ClassVar[bool] = True

    @classmethod
    def limited(cls, threads: int, *, batch: int = 1) -> SessionOptions:
        """Options for so many threads, as far as a session can limit them."""
        return SessionOptions(threads=threads if cls.limits_threads else None, batch=batch)

    @classmethod  # noqa: B027 - most runtimes have nothing to add
    def check(cls, path: Path) -> None:
        """What must hold of a file besides that it loads as `open` does. Raises ArtifactError; nothing unless said."""

    @classmethod  # noqa: B027 - a runtime that opens no file of its own has nothing to look at
    def require_sound(cls, path: Path) -> None:
        """Look at a file from elsewhere without loading it. Raises ArtifactError; nothing unless said.

        Called through `precheck`, in a process of its own.
        """

    @classmethod
    @abstractmethod
    def open(cls, source: Any, *, options: SessionOptions) -> Session:
        """Load ``source``: a path for file formats, a live model for the `keras` runtime.

        Raises ArtifactError when the file does not load, DeviceError when the device is not what would run.
        """

    @property
    @abstractmethod
    def signature(self) -> Signatures:
        """Inputs and outputs in file order; a symbolic axis is ``None``."""

    @property
    @abstractmethod
    def effective(self) -> str:
        """What really executes: runtime, version, execution provider or delegate, as read back."""

    @abstractmethod
    def execute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, for inputs that `run` has checked. Rows suit the file's batch."""

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by public name, for inputs by public name. Any number of rows is accepted.

        A file with a static batch of ``b`` is executed once per ``b`` rows and the results are stacked.
        Raises UsageError when a name, shape or dtype is not the signature's.
        """
        check_inputs(inputs, self.signature[0])
        rows = {len(value) for value in inputs.values()}
        static = static_batch(self.signature[0])
        if static is None or rows == {static}:
            return self.execute(inputs)
        return self._execute_in_parts(inputs, rows=rows.pop(), static=static)

    def notes(self) -> tuple[str, ...]:
        """What its reader should know of how the file runs; nothing unless said."""
        return ()

    def stored(self, name: str, real: Tensor) -> Tensor:  # noqa: ARG002 - a file's inputs differ
        """Real numbers as the file's input takes them: the same, unless it is quantized."""
        return real

    def real(self, name: str, stored: Tensor) -> Tensor:  # noqa: ARG002 - a file's outputs differ
        """The real numbers that the file's output stands for: the same, unless it is quantized."""
        return stored

    def quantization(self, name: str) -> tuple[float, int]:  # noqa: ARG002 - a file's inputs and outputs differ
        """Scale and zero point of an input or output whose integers stand for real numbers; scale 0 for others."""
        return 0.0, 0

    def run_real(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `run`, in real numbers on both sides, whatever integers the file's inputs and outputs are."""
        outputs = self.run({name: self.stored(name, value) for name, value in inputs.items()})
        return {name: self.real(name, value) for name, value in outputs.items()}

    def _execute_in_parts(self, inputs: Mapping[str, Tensor], *, rows: int, static: int) -> dict[str, Tensor]:
        if rows % static:
            raise UsageError(
                f"{rows} rows for a file with a static batch of {static}: expected a multiple of {static}",
                hint="kexport export MODEL --batch dynamic",
            )
        parts = [
            self.execute({name: value[start : start + static] for name, value in inputs.items()})
            for start in range(0, rows, static)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def static_batch(inputs: tuple[Signature, ...]) -> int | None:
    """The batch size that the file is fixed to; ``None`` if any input leaves it open."""
    sizes = {spec.shape[0] for spec in inputs if spec.shape}
    return sizes.pop() if len(sizes) == 1 else None


def check_inputs(inputs: Mapping[str, Tensor], specs: tuple[Signature, ...]) -> None:
    """Raise UsageError unless names, dtypes and all axes but the batch are the signature's."""
    expected = {spec.name: spec for spec in specs}
    if set(inputs) != set(expected):
        raise UsageError(f"inputs {sorted(inputs)} were given, expected {sorted(expected)}", hint=_INSPECT)
    for name, value in inputs.items():
        _check_input(name, value, expected[name])
    rows = {name: len(value) for name, value in inputs.items()}
    if len(set(rows.values())) != 1:
        raise UsageError(f"inputs have different numbers of rows: {rows}, expected the same", hint=_INSPECT)


def _check_input(name: str, value: Tensor, spec: Signature) -> None:
    if value.dtype.name != spec.dtype:
        raise UsageError(f"input {name!r}: got dtype {value.dtype.name}, expected {spec.dtype}", hint=_INSPECT)
    fits = value.ndim == len(spec.shape) and all(
        size in (None, got) for size, got in zip(spec.shape[1:], value.shape[1:], strict=True)
    )
    if not fits or not value.size:
        raise UsageError(f"input {name!r}: got shape {value.shape}, expected {_shape(spec)}", hint=_INSPECT)


def _shape(spec: Signature) -> str:
    return "(" + ", ".join(["batch", *("?" if size is None else str(size) for size in spec.shape[1:])]) + ")"


_INSPECT = "kexport report DIR --format json (artifact.inputs of its record)"


def registry() -> dict[str, type[Session]]:
    """Runtime name -> session class: every module of this folder and every entry point, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    found = [kind for kind in Session.__subclasses__() if kind.__module__.startswith(f"{__name__}.")]
    found += _of_packages()
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}


@cache
def _of_packages() -> tuple[type[Session], ...]:
    """The sessions that entry points name. Raises EnvironmentFailure for one that cannot be had or is none."""
    found = load_entry_points(ENTRY_POINTS, what="runtimes")
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, Session)):
            raise EnvironmentFailure(
                f"the entry point group {ENTRY_POINTS} names {kind!r}: expected a subclass of kexport.runtimes.Session",
                hint="kexport doctor",
            )
    return found


def find(name: str) -> type[Session]:
    """The runtime called ``name``. Raises UnknownNameError with the closest name."""
    known = registry()
    if name not in known:
        raise UnknownNameError(kind="runtime", value=name, legal=known, hint="kexport list runtimes")
    return known[name]


def for_format(file_format: str) -> type[Session]:
    """The runtime that reads files of this format."""
    for kind in registry().values():
        if file_format in kind.formats:
            return kind
    raise UnknownNameError(kind="runtime for format", value=file_format, legal=registry(), hint="kexport list runtimes")


def open_session(runtime: type[Session], source: Any, *, options: SessionOptions | None = None) -> Session:
    """A session of ``runtime`` on ``source``, after the checks that all runtimes share.

    Raises MissingDependencyError, DeviceError, ArtifactError (absent file, or one that does not load).
    """
    options = options or SessionOptions()
    if options.device not in runtime.devices:
        raise DeviceError(
            f"runtime {runtime.name} has no device {options.device!r}, it has {', '.join(runtime.devices)}",
            hint=f"--device {runtime.devices[0]}",
        )
    if isinstance(source, Path) and not there(source):
        raise ArtifactError(f"{source} does not exist", hint="kexport export MODEL")
    try:
        return runtime.open(source, options=options)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"runtime {runtime.name} needs the package {runtime.distribution}, which is not installed ({error.name})",
            hint="pip install 'kexport[cpu]'",
        ) from error
