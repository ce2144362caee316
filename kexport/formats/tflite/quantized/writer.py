"""Quantized TFLite: a `QuantPlan` as one flatbuffer, taken by XNNPACK, LiteRT's default delegate, as a whole.

INT8 nodes compute on int8 tensors with the plan's scales; FLOAT32 nodes are written as in the float file. A value is
converted once for all readers that want it in the other form.

A WEIGHTS node keeps its kernel as int8, in one of two forms, both delegated (`Arithmetic`). Behind a DEQUANTIZE,
which the delegate unpacks when it loads the file, it computes in float32, exactly and at float32's speed and
memory. Read by the operator itself, which quantizes its input at run time, image by image, it loses about 50 dB
below the signal in each layer and computes nearly as fast as int8: ResNet50 at least four times as fast as float32
(two cores with VNNI), the whole network's signal-to-noise ratio 28.1 dB for 28.3 dB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from kexport.errors import UnsupportedError
from kexport.formats import WrittenFile
from kexport.formats.tflite.operators.network import assemble
from kexport.formats.tflite.operators.selection import cast
from kexport.formats.tflite.program import Assembler, Program, Quantization
from kexport.formats.tflite.quantized.int16 import widened
from kexport.formats.tflite.quantized.operators import assemble_int8, dynamic, kernel_constant, rectifiers_as_pools
from kexport.formats.tflite.quantized.site import Site, dequantized, quantized, stored_as
from kexport.formats.tflite.tidy import tidy, without_unused
from kexport.formats.tflite.writer import save, shown, static, with_batch
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import Activate, Activation
from kexport.quantization.plan import LOWEST, PROBABILITY, Affine, Precision, QuantPlan
from kexport.quantization.scales.limits import Limit, scale_limits
from kexport.specs import SERVING_BATCH, Boundary

PIXELS, PIXEL = "uint8", Affine(scale=1.0, zero_point=LOWEST)
"""The type of pixels, and how int8 stores them: less 128, without arithmetic."""
__all__ = ["Activations", "Arithmetic", "Boundary", "Limit", "program", "scale_limits", "write"]


class Activations(StrEnum):
    """The type of the values between INT8 nodes."""

    INT8 = "int8"
    INT16 = "int16"  # scheme int16x8: reference kernels, for accuracy; inputs and outputs of the file stay float32


class Arithmetic(StrEnum):
    """How a WEIGHTS node computes."""

    FLOAT32 = "float32"  # with the kernel unpacked: what the plan says, exactly
    DYNAMIC = "dynamic"  # on int8 inputs, quantized at run time; not depthwise and grouped, which no delegate takes


def write(
    plan: QuantPlan,
    path: Path,
    *,
    batch: int = SERVING_BATCH,
    metadata: Mapping[str, bytes] | None = None,
    io: str = Boundary.FLOAT32,
    arithmetic: str = Arithmetic.FLOAT32,
    activations: str = Activations.INT8,
) -> WrittenFile:
    """Write ``plan`` to exactly ``path`` with a static batch, and verify the structure of what was written.

    ``io`` is the type of all inputs and outputs, ``arithmetic`` that of WEIGHTS nodes, ``activations`` that of the
    values of INT8 nodes. Raises UnsupportedError for what TFLite cannot express and for a scale that XNNPACK
    refuses, ArtifactError if the file is not what was meant.
    """
    code = program(plan, batch=batch, io=io, arithmetic=arithmetic, activations=activations)
    written = save(replace(code, metadata=dict(metadata or {})), path)
    return replace(written, notes=(*_border_notes(code), *written.notes))


def _border_notes(code: Program) -> Iterator[str]:
    """How the integers of the file's inputs and outputs stand for real numbers."""
    for kind, shown_tensors in (("input", code.inputs), ("output", code.outputs)):
        for name, tensor in shown_tensors.items():
            found = code.tensors[tensor]
            if found.quantization is not None:
                scale, zero_point = found.quantization.scales[0], found.quantization.zero_point
                yield f"{kind} {name!r} is {found.dtype}: real = {scale:.9g} * (stored - {zero_point})"


def program(
    plan: QuantPlan,
    *,
    batch: int = SERVING_BATCH,
    io: str = Boundary.FLOAT32,
    arithmetic: str = Arithmetic.FLOAT32,
    activations: str = Activations.INT8,
) -> Program:
    """The TFLite operators of ``plan``, constants not copied yet."""
    narrow = Activations(activations) is Activations.INT8
    if narrow:
        _refuse_scales(scale_limits(plan))
    elif Boundary(io) is not Boundary.FLOAT32:
        raise UnsupportedError(f"int16 activations with inputs and outputs of {io}", hint="--io float32")
    graph = with_batch(plan.graph, batch)
    values = _Values(
        plan=plan, code=Assembler(half_weights=False), arithmetic=Arithmetic(arithmetic), saturating=narrow
    )
    inputs = {spec.name: _input(values, spec, Boundary(io)) for spec in graph.inputs}
    for node in graph:
        values.tensors[node.name] = _node(values, node)
    outputs = _outputs(values, graph, Boundary(io), inputs)
    code = tidy(values.program(graph.name, inputs, outputs))
    return rectifiers_as_pools(code) if narrow else without_unused(widened(code))


@dataclass(kw_only=True)
class _Values:
    """The tensors of the graph's values as they were made, and of those that were converted."""

    plan: QuantPlan
    code: Assembler
    arithmetic: Arithmetic
    saturating: bool
    tensors: dict[str, int] = field(default_factory=dict)
    converted: dict[str, int] = field(default_factory=dict)

    def real(self, value: str) -> int:
        """The value in float32."""
        made = self.tensors[value]
        if self.code.tensors[made].dtype == "float32":
            return made
        if value not in self.converted:
            self.converted[value] = dequantized(self.code, f"{value}/float32", made)
        return self.converted[value]

    def stored(self, value: str, affine: Affine | None = None) -> int:
        """The value in int8, as ``affine`` says (default: as the plan does)."""
        made = self.tensors[value]
        if self.code.tensors[made].dtype == "int8":
            return made
        if value not in self.converted:
            chosen = self.plan.values[value] if affine is None else affine
            self.converted[value] = quantized(self.code, f"{value}/int8", made, chosen)
        return self.converted[value]

    def program(self, name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Program:
        return Program(
            name=name,
            tensors=tuple(self.code.tensors),
            constants=tuple(self.code.constants),
            instructions=tuple(self.code.instructions),
            inputs=inputs,
            outputs=outputs,
        )


def _node(values: _Values, node: Node) -> int:
    plan, code, shape = values.plan, values.code, static(node.shape, node.name)
    precision = plan.precision(node.name)
    if precision is Precision.INT8:
        inputs = tuple(values.stored(value) for value in node.inputs)
        site = Site(node=node, plan=plan, code=code, inputs=inputs, shape=shape, saturating=values.saturating)
        return assemble_int8(node.operation, site)
    inputs = tuple(values.real(value) for value in node.inputs)
    result = assemble(node.operation, code, name=node.name, inputs=inputs, shape=shape)
    if precision is Precision.WEIGHTS:
        _exchange_kernel(values, node)
    return result


def _exchange_kernel(values: _Values, node: Node) -> None:
    """The float kernel of the last operator becomes the plan's int8 kernel."""
    code, reader = values.code, values.code.instructions.pop()
    kernel = kernel_constant(code, node.name, reader, values.plan.kernels[node.name])
    if values.arithmetic is Arithmetic.DYNAMIC and getattr(node.operation, "groups", 1) == 1:
        reader = dynamic(reader)
    else:
        kernel = dequantized(code, f"{node.name}/kernel", kernel)
    code.instructions.append(replace(reader, inputs=(reader.inputs[0], kernel, *reader.inputs[2:])))


def _input(values: _Values, spec: TensorSpec, io: Boundary) -> int:
    """The input tensor in the type of ``io``; the value that nodes read follows from it."""
    shape, code = static(spec.shape, spec.name), values.code
    pixels = spec.dtype == PIXELS and io is not Boundary.INT8
    if pixels and values.plan.values.get(spec.name) == PIXEL:
        tensor = code.tensor(spec.name, shape=shape, dtype=PIXELS, quantization=Quantization(scales=(1.0,)))
        values.tensors[spec.name] = quantized(code, f"{spec.name}/int8", tensor, PIXEL)
        return tensor
    if io is Boundary.FLOAT32 or pixels:
        tensor = code.tensor(spec.name, shape=shape, dtype=spec.dtype)
        values.tensors[spec.name] = cast(code, f"{spec.name}/float32", tensor, "float32")
        return tensor
    affine = _boundary_affine(values.plan, spec.name, io)
    stored = stored_as(affine)
    if io is Boundary.INT8:
        tensor = code.tensor(spec.name, shape=shape, dtype="int8", quantization=stored)
        values.tensors[spec.name] = tensor
        return tensor
    moved = replace(stored, zero_point=stored.zero_point - LOWEST)
    tensor = code.tensor(spec.name, shape=shape, dtype="uint8", quantization=moved)
    values.tensors[spec.name] = quantized(code, f"{spec.name}/int8", tensor, affine)
    return tensor


def _outputs(values: _Values, graph: Graph, io: Boundary, inputs: dict[str, int]) -> dict[str, int]:
    found = {}
    for public, value in graph.outputs.items():
        if io is Boundary.FLOAT32:
            tensor = cast(values.code, public, values.real(value), graph.output_dtypes.get(public, "float32"))
        else:
            affine = _boundary_affine(values.plan, value, io)
            tensor = values.stored(value, affine)
            if io is Boundary.UINT8:
                tensor = quantized(values.code, f"{value}/uint8", tensor, affine, dtype="uint8")
        found[public] = shown(values.code, public, tensor, inputs)
    return found


def _boundary_affine(plan: QuantPlan, value: str, io: Boundary) -> Affine:
    """How an input or output of an integer file is stored: probabilities at 1/256 from -128, else as planned."""
    producer = plan.graph.producers.get(value)
    operation = None if producer is None else producer.operation
    if isinstance(operation, Activate) and operation.function in (Activation.SOFTMAX, Activation.SIGMOID):
        return PROBABILITY
    if value in plan.values:
        return plan.values[value]
    raise UnsupportedError(
        f"value {value!r} of {plan.graph.name} has no scale, an {io} file needs one at its border",
        hint="--io float32",
    )


def _refuse_scales(limits: tuple[Limit, ...]) -> None:
    if limits:
        raise UnsupportedError(
            f"{limits[0]}; LiteRT's default delegate would not load the file"
            + (f" ({len(limits) - 1} more such nodes)" if len(limits) > 1 else ""),
            hint="leave the node in float32, or give it a coarser or finer scale",
        )
