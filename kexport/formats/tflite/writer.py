"""TFLite, written natively: the graph's NHWC operations become built-in operators of one flatbuffer.

Tensor names are the graph's value names (Keras layer names); the signature ``serving_default`` carries
the public names of inputs and outputs. The same graph gives the same bytes, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from kexport.errors import ArtifactError, UnsupportedError, UsageError
from kexport.formats import WrittenFile
from kexport.formats.tflite import runtime_version, standard
from kexport.formats.tflite.check.structure import verify_structure
from kexport.formats.tflite.flatbuffer import stream
from kexport.formats.tflite.operators.network import assemble, reshaped
from kexport.formats.tflite.operators.selection import cast
from kexport.formats.tflite.prepare import prepare
from kexport.formats.tflite.program import Assembler, Program, Sizes
from kexport.formats.tflite.tidy import tidy
from kexport.formats.tflite.versions import raised
from kexport.graph import Graph
from kexport.operations import Shape
from kexport.records import Signature
from kexport.specs import SERVING_BATCH, Scheme

__all__ = ["program", "save", "shown", "static", "verify_structure", "with_batch", "write"]
_MOVING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "CAST")
SCHEMES = (Scheme.FLOAT32, Scheme.FLOAT16)


def write(
    graph: Graph,
    path: Path,
    *,
    batch: int = SERVING_BATCH,
    scheme: str = "float32",
    metadata: Mapping[str, bytes] | None = None,
    float16_biases: bool = False,
) -> WrittenFile:
    """Write ``graph`` to exactly ``path`` with a static batch, and verify the structure of what was written.

    ``scheme`` float16 stores the kernels of convolutions and dense layers as float16, but for what scales pixels;
    with ``float16_biases`` their biases too, which costs accuracy, for what reads a layer in one type. Everything
    else, inputs, outputs and arithmetic stay float32. ``metadata`` is stored by name, as it is. Raises
    UnsupportedError for what TFLite cannot express and ArtifactError if the file is not what was meant;
    the caller removes the file then.
    """
    code = program(graph, batch=batch, scheme=scheme, float16_biases=float16_biases)
    return save(replace(code, metadata=dict(metadata or {})), path)


def save(plain: Program, path: Path) -> WrittenFile:
    """Write ``plain`` to exactly ``path``, with standard metadata and the oldest runtime, and verify the file.

    Raises as `write` does.

    Inputs and outputs are called as in the signature; all other tensors keep the names of their layers.
    """
    code = raised(public_names(plain))
    found = standard.of(network(code), code.metadata)
    code = replace(code, metadata={**code.metadata, **runtime_version.entry(code), **found.entries}, files=found.files)
    with path.open("wb") as file:
        size = stream(code, file)
    verify_structure(path)
    if path.stat().st_size != size:
        raise ArtifactError(f"{path}: {path.stat().st_size} bytes on disk, {size} were written", hint="df -h")
    return WrittenFile(
        operations=code.operations(),
        inputs=tuple(_public(code, name, tensor) for name, tensor in code.inputs.items()),
        outputs=tuple(_public(code, name, tensor) for name, tensor in code.outputs.items()),
        notes=(found.reason,) if found.reason else (),
    )


def public_names(code: Program) -> Program:
    """The same with each input's and output's tensor called by its public name, unless another tensor is."""
    shown = {tensor: name for name, tensor in (*tuple(code.outputs.items())[::-1], *tuple(code.inputs.items())[::-1])}
    others = {tensor.name for index, tensor in enumerate(code.tensors) if index not in shown}
    return replace(
        code,
        tensors=tuple(
            replace(tensor, name=shown[index]) if index in shown and shown[index] not in others else tensor
            for index, tensor in enumerate(code.tensors)
        ),
    )


def network(code: Program) -> standard.Network:
    """What standard metadata speak of."""
    makers = {each.output: each for each in code.instructions}

    def border(name: str, tensor: int) -> standard.Border:
        found, place = code.tensors[tensor], tensor
        while place in makers and makers[place].builtin in _MOVING:
            place = makers[place].inputs[0]
        stored = None if found.quantization is None else (found.quantization.scales[0], found.quantization.zero_point)
        ends = place in makers and makers[place].builtin in ("SOFTMAX", "LOGISTIC")
        return standard.Border(name=name, shape=found.shape, dtype=found.dtype, stored=stored, probabilities=ends)

    return standard.Network(name=code.name, inputs=_once(code.inputs, border), outputs=_once(code.outputs, border))


def _once(named: Mapping[str, int], border: Callable[[str, int], standard.Border]) -> tuple[standard.Border, ...]:
    """A border for every tensor, each once, by its first name."""
    names = {tensor: name for name, tensor in tuple(named.items())[::-1]}
    return tuple(border(names[tensor], tensor) for tensor in dict.fromkeys(named.values()))


def program(
    graph: Graph, *, batch: int = SERVING_BATCH, scheme: str = "float32", float16_biases: bool = False
) -> Program:
    """The TFLite operators of ``graph``, constants not copied yet."""
    if scheme not in SCHEMES:
        raise UnsupportedError(f"scheme {scheme!r} of TFLite: expected one of {', '.join(SCHEMES)}", hint="--schemes")
    fixed = prepare(with_batch(graph, batch))
    half = scheme == Scheme.FLOAT16
    code = Assembler(half_weights=half, half_biases=half and float16_biases)
    inputs = {
        spec.name: code.tensor(spec.name, shape=static(spec.shape, spec.name), dtype=spec.dtype)
        for spec in fixed.inputs
    }
    values = {name: cast(code, f"{name}/float32", tensor, "float32") for name, tensor in inputs.items()}
    for node in fixed:
        values[node.name] = assemble(
            node.operation,
            code,
            name=node.name,
            inputs=tuple(values[value] for value in node.inputs),
            shape=static(node.shape, node.name),
        )
    dtypes = {spec.name: spec.dtype for spec in fixed.output_specs}
    outputs = {
        name: shown(code, name, cast(code, name, values[value], dtypes[name]), inputs)
        for name, value in fixed.outputs.items()
    }
    whole = Program(
        name=graph.name,
        tensors=tuple(code.tensors),
        constants=tuple(code.constants),
        instructions=tuple(code.instructions),
        inputs=inputs,
        outputs=outputs,
    )
    return tidy(whole)


def shown(code: Assembler, name: str, tensor: int, inputs: dict[str, int]) -> int:
    """An output that is an input without change gets a copy: the runtime wants every output computed."""
    if tensor not in inputs.values():
        return tensor
    copy, source = reshaped(code, f"{name}/copy", tensor, code.shape(tensor)), code.tensors[tensor]
    return code.declare(copy, source.dtype, source.quantization)


def with_batch(graph: Graph, batch: int) -> Graph:
    """The graph with a fixed batch."""
    if batch < 1:
        raise UsageError(f"batch {batch}: TFLite takes 1 or more", hint="--batch 1")
    return graph.with_batch(batch)


def static(shape: Shape, name: str) -> Sizes:
    """The shape of value ``name`` without symbolic axes, or UnsupportedError."""
    fixed = tuple(axis for axis in shape if axis is not None)
    if len(fixed) != len(shape) or len(fixed) == 0:
        raise UnsupportedError(
            f"value {name!r} has shape {shape}: TFLite wants numbers", hint="--input-shape 224,224,3"
        )
    return fixed


def _public(code: Program, name: str, tensor: int) -> Signature:
    return Signature(name=name, shape=code.tensors[tensor].shape, dtype=code.tensors[tensor].dtype)
