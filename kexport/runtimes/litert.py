"""LiteRT: TFLite files, on XNNPACK (device ``cpu``) or on the built-in kernels (``cpu-builtin``).

Names are those of the file's serving signature, or the tensors' own where there is none. How much XNNPACK took is read
back from the interpreter:
after allocation its operator list holds, behind the original operators, one DELEGATE node per partition,
whose inputs and outputs bound the operators that it replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexport.errors import ArtifactError
from kexport.formats.tflite.check.bounds import require_bounds
from kexport.formats.tflite.delegation import outside
from kexport.records import Signature
from kexport.runtimes import Session, SessionOptions, Signatures, Tensor, open_session, static_batch

SERVING = "serving_default"
WITHOUT_DELEGATE = "cpu-builtin"


class LitertSession(Session):
    """A TFLite file in the LiteRT interpreter."""

    name = "litert"
    formats = ("tflite",)
    distribution = "ai-edge-litert"
    devices = ("cpu", WITHOUT_DELEGATE)

    def __init__(self, interpreter: Any, *, source: Path, options: SessionOptions) -> None:
        self._interpreter = interpreter
        self._source = source
        self._inputs, self._outputs = _named_tensors(interpreter)
        self._signature = _signatures(self._inputs), _signatures(self._outputs)
        self._rows: int | None = None
        self._allocate(static_batch(self._signature[0]) or options.batch)

    @classmethod
    def open(cls, source: Path, *, options: SessionOptions) -> LitertSession:
        """The file at ``source``, allocated. Raises ArtifactError when it does not load."""
        from ai_edge_litert.interpreter import Interpreter

        kind = resolver(options.device)
        try:
            interpreter = Interpreter(str(source), num_threads=options.threads, experimental_op_resolver_type=kind)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{source} does not load in LiteRT: {error}", hint="kexport verify DIR") from error
        return cls(interpreter, source=source, options=options)

    @classmethod
    def check(cls, path: Path) -> None:
        """It loads without the default delegate too. Raises ArtifactError.

        Built-in kernels check operators and shapes themselves, and devices without XNNPACK have no others. Only
        memory is planned, nothing runs: a fraction of a second, and memory for activations alone.
        """
        try:
            open_session(cls, path, options=SessionOptions(device=WITHOUT_DELEGATE))
        except ArtifactError as error:
            raise ArtifactError(f"without its default delegate: {error.message}", hint=error.hint) from error

    @classmethod
    def require_sound(cls, path: Path) -> None:
        """Every table, vector and buffer lies inside the file. Raises ArtifactError."""
        require_bounds(path)

    def notes(self) -> tuple[str, ...]:
        """How many operators XNNPACK takes, and each kind that it leaves, with the reason."""
        operators = self.operators
        taken = sum(delegated for _, delegated in operators)
        return (f"XNNPACK runs {taken} of {len(operators)} operators", *outside(operators))

    @property
    def signature(self) -> Signatures:
        """Inputs and outputs of the serving signature, in file order."""
        return self._signature

    @property
    def operators(self) -> tuple[tuple[str, bool], ...]:
        """Every operator of the file in order: its name, and whether a delegate runs it."""
        return delegation(self._interpreter._get_ops_details())  # noqa: SLF001 - no public reader exists

    @property
    def effective(self) -> str:
        """Version, XNNPACK or built-in kernels, and how many of the operators XNNPACK runs."""
        operators = self.operators
        taken = sum(delegated for _, delegated in operators)
        where = f"XNNPACK ({taken} of {len(operators)} operators)" if taken else f"{len(operators)} built-in kernels"
        static = static_batch(self._signature[0])
        return f"LiteRT {_version()} {where}" + (f", static batch {static}" if static else "")

    def execute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs, copied out of the interpreter. Raises ArtifactError when it fails while running."""
        self._allocate(len(next(iter(inputs.values()))))
        try:
            for name, tensor in self._inputs.items():
                self._interpreter.set_tensor(tensor["index"], np.ascontiguousarray(inputs[name]))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{self._source} failed in LiteRT: {error}", hint="kexport verify DIR") from error
        return {name: self._interpreter.get_tensor(tensor["index"]) for name, tensor in self._outputs.items()}

    def stored(self, name: str, real: Tensor) -> Tensor:
        """The nearest integers, saturated; float inputs as they are."""
        scale, zero_point = _quantization(self._inputs.get(name, {}))
        if not scale:
            return real
        limits = np.iinfo(self._inputs[name]["dtype"])
        numbers: Tensor = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(limits.dtype)
        return numbers

    def real(self, name: str, stored: Tensor) -> Tensor:
        """``scale * (stored - zero point)``, float32; float outputs as they are."""
        scale, zero_point = _quantization(self._outputs[name])
        return (stored.astype(np.float32) - zero_point) * scale if scale else stored

    def quantization(self, name: str) -> tuple[float, int]:
        """Those of the tensor; scale 0 where it is not quantized."""
        scale, zero_point = _quantization({**self._inputs, **self._outputs}[name])
        return float(scale), zero_point

    def tensors(self) -> list[dict[str, Any]]:
        """What the interpreter says of every tensor, with the shapes of the rows that it is allocated for."""
        details: list[dict[str, Any]] = self._interpreter.get_tensor_details()
        return details

    def times(self, rows: int) -> int:
        """How often the file runs for so many rows."""
        return rows // (static_batch(self._signature[0]) or rows)

    def _allocate(self, rows: int) -> None:
        if rows == self._rows:
            return
        try:
            for tensor in self._inputs.values():
                self._interpreter.resize_tensor_input(tensor["index"], (rows, *tensor["shape"][1:]))
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{self._source} does not run in LiteRT with {rows} rows: {error}", hint="kexport verify DIR"
            ) from error
        self._rows = rows


def resolver(device: str) -> Any:
    """Which kernels an interpreter takes for a device: with the default delegate, or the built-in ones alone."""
    from ai_edge_litert.interpreter import OpResolverType

    plain = device == WITHOUT_DELEGATE
    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.BUILTIN


def delegated(path: Path, *, threads: int = 1) -> tuple[int, int]:
    """How many operators of the file at ``path`` its default delegate takes, and how many there are."""
    operators = LitertSession.open(path, options=SessionOptions(threads=threads)).operators
    return sum(taken for _, taken in operators), len(operators)


def delegation(details: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, bool], ...]:
    """From the interpreter's operator list: the file's operators, and which of them a delegate replaced.

    Walks from each DELEGATE node's outputs back through the original operators to the node's inputs.
    """
    nodes = list(details)
    originals = [node for node in nodes if node["op_name"] != "DELEGATE"]
    makers = {int(value): place for place, node in enumerate(originals) for value in node["outputs"]}
    taken: set[int] = set()
    for node in nodes:
        if node["op_name"] == "DELEGATE":
            taken |= _replaced(node, originals=originals, makers=makers)
    return tuple((str(node["op_name"]), place in taken) for place, node in enumerate(originals))


def _replaced(node: Mapping[str, Any], *, originals: list[Mapping[str, Any]], makers: Mapping[int, int]) -> set[int]:
    border = {int(value) for value in node["inputs"]} - {int(value) for value in node["outputs"]}
    pending = [int(value) for value in node["outputs"]]
    taken: set[int] = set()
    while pending:
        value = pending.pop()
        place = makers.get(value)
        if place is None or place in taken or value in border:
            continue
        taken.add(place)
        pending.extend(int(source) for source in originals[place]["inputs"])
    return taken


def _quantization(tensor: Mapping[str, Any]) -> tuple[np.float32, int]:
    """Scale and zero point of a tensor; scale 0 where it is not quantized."""
    scale, zero_point = tensor.get("quantization", (0.0, 0))
    return np.float32(scale), int(zero_point)


def _named_tensors(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Public name -> tensor details, for inputs and outputs, in file order.

    A file of another maker may have no signature: its tensors' own names are all that it has then.
    """
    signatures = interpreter.get_signature_list()
    if not signatures:
        return _own_names(interpreter.get_input_details()), _own_names(interpreter.get_output_details())
    key = SERVING if SERVING in signatures else next(iter(signatures))
    runner = interpreter.get_signature_runner(key)
    inputs = _in_order(runner.get_input_details(), order=interpreter.get_input_details())
    return inputs, _in_order(runner.get_output_details(), order=interpreter.get_output_details())


def _own_names(details: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(detail["name"]): detail for detail in details}


def _in_order(named: Mapping[str, Any], *, order: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    places = {detail["index"]: place for place, detail in enumerate(order)}
    return dict(sorted(named.items(), key=lambda item: places[item[1]["index"]]))


def _signatures(tensors: Mapping[str, Any]) -> tuple[Signature, ...]:
    return tuple(
        Signature(
            name=name,
            shape=tuple(None if size < 0 else int(size) for size in tensor["shape_signature"]),
            dtype=np.dtype(tensor["dtype"]).name,
        )
        for name, tensor in tensors.items()
    )


def _version() -> str:
    from importlib.metadata import version

    return version("ai-edge-litert")
