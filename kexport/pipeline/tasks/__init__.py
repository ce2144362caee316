"""What a worker process can be asked to do: one module per task, its presence registers it.

A module named after its task has ``TASK = Task(request=..., answer=..., run=...)``: the value that asks, the value
that comes back, and the function between them, ``run(request, clock) -> answer``. What it raises is the answer as
well, as a `Failure`: `kexport.pipeline.ask` raises it again where the question was asked.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kexport import errors
from kexport.errors import KexportError, StoreError, UnknownNameError, UnsupportedError
from kexport.pipeline.steps import Clock
from kexport.records import Status

WITH_KERAS = ("keras", "h5py", "kexport.pipeline.tasks.prepare", "kexport.pipeline.worker")
WITH_RUNTIMES = (
    "onnx", "onnxruntime", "ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated", "flatbuffers", "psutil",
    "numpy.random", "kexport.pipeline.ready", "kexport.pipeline.worker",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing that a worker does: the types of question and answer, and what leads from one to the other.

    ``warm`` are the modules that take time to import: it may be done by a process that is forked from one that has
    imported them. Nothing where that would change what it measures.
    """

    request: type[Any]
    answer: type[Any]
    run: Callable[[Any, Clock], Any]
    warm: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What ended a task, as it travels to who asked: a deliberate error by its kind, a bug with its traceback.

    ``step`` is where it was, ``disk_full`` that the disk had no more room for what it wrote.
    """

    kind: str
    message: str
    hint: str | None = None
    traceback: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    step: str = ""
    disk_full: bool = False

    @classmethod
    def full(cls, *, step: str = "") -> Failure:
        """What ended a task that had no room for a word of its own."""
        return cls(kind=StoreError.__name__, message="no space left on the disk", step=step, disk_full=True)

    @property
    def error(self) -> KexportError:
        """The error again, of its own class where that can be built from message and hint."""
        named = getattr(errors, self.kind, KexportError)
        for kind in getattr(named, "__mro__", ()):
            # UnknownNameError makes its own message, which is already made here: its base carries it
            if issubclass(kind, KexportError) and kind.__init__ is KexportError.__init__:
                found: KexportError = kind(self.message, hint=self.hint)
                return found
        return KexportError(self.message, hint=self.hint)

    @property
    def status(self) -> Status:
        """UNSUPPORTED where the model holds what this path cannot express, else ERROR."""
        return Status.UNSUPPORTED if isinstance(self.error, UnsupportedError) else Status.ERROR


def names() -> tuple[str, ...]:
    """Every task, by name."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Task:
    """The task of that name; UnknownNameError if there is none."""
    if name not in names():
        raise UnknownNameError(kind="task", value=name, legal=names(), hint="kexport --help")
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
