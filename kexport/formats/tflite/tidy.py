"""A `Program` with fewer operators and the same outputs: equal ones shared, relus fused, leftovers dropped.

Fewer operators are fewer passes over memory: NASNet applies one relu to the same value up to five times,
DenseNet has a relu behind each of its scale-and-shift pairs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from kexport.formats.tflite.broadcast import broadcast_in_long_rows
from kexport.formats.tflite.program import Instruction, Program, Quantization, Sizes

FUSED = {"RELU": 1, "RELU6": 3}  # schema enum ActivationFunctionType
FUSABLE = frozenset(
    {"ADD", "SUB", "MUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "AVERAGE_POOL_2D"}
)


def tidy(program: Program) -> Program:
    """The same outputs, bit for bit, from at most as many operators."""
    return without_unused(broadcast_in_long_rows(_fuse(_share(program))))


def _share(program: Program) -> Program:
    """Operators that do the same with the same tensors run once."""
    alias: dict[int, int] = {}
    seen: dict[tuple[str, int, Sizes, str, str, Quantization | None], Sizes] = {}
    kept = []
    for each in program.instructions:
        inputs = tuple(alias.get(tensor, tensor) for tensor in each.inputs)
        made = program.tensors[each.output]  # a QUANTIZE says only here what it makes
        options = repr(sorted(each.options.items()))
        key = each.builtin, each.version, inputs, options, made.dtype, made.quantization
        if key in seen:
            alias.update(zip((each.output, *each.more), seen[key], strict=True))
        else:
            seen[key] = each.output, *each.more
            kept.append(replace(each, inputs=inputs))
    outputs = {name: alias.get(tensor, tensor) for name, tensor in program.outputs.items()}
    return replace(program, instructions=tuple(kept), outputs=outputs)


def _fuse(program: Program) -> Program:
    """A relu or relu6 becomes the activation of the operator whose result only it reads."""
    readers = Counter(tensor for each in program.instructions for tensor in each.inputs)
    readers.update(program.outputs.values())
    makers: dict[int, Instruction] = {}  # by the tensor that is made, in order
    for each in program.instructions:
        maker = makers.get(each.inputs[0])
        if maker is not None and readers[each.inputs[0]] == 1 and _takes(maker, each):
            del makers[maker.output]
            options = {**maker.options, "fusedActivationFunction": FUSED[each.builtin]}
            makers[each.output] = replace(maker, output=each.output, options=options)
        else:
            makers[each.output] = each
    return replace(program, instructions=tuple(makers.values()))


def _takes(maker: Instruction, activation: Instruction) -> bool:
    free = maker.options.get("fusedActivationFunction", 0) == 0
    return activation.builtin in FUSED and maker.builtin in FUSABLE and free


def _read(program: Program) -> tuple[Instruction, ...]:
    """The instructions on which an output depends."""
    wanted, kept = set(program.outputs.values()), []
    for each in reversed(program.instructions):
        if wanted.intersection((each.output, *each.more)):
            wanted.update(each.inputs)
            kept.append(each)
    return tuple(reversed(kept))


def without_unused(program: Program) -> Program:
    """What nothing uses any more is left out; the rest is numbered anew, in order."""
    program = replace(program, instructions=_read(program))
    used = {*program.inputs.values(), *program.outputs.values()}
    used |= {tensor for each in program.instructions for tensor in (*each.inputs, each.output, *each.more)}
    tensors = {old: new for new, old in enumerate(sorted(used))}
    kept = [program.tensors[old] for old in tensors]
    buffers = {old: new for new, old in enumerate(sorted({0, *(tensor.buffer for tensor in kept)}))}
    return replace(
        program,
        tensors=tuple(replace(tensor, buffer=buffers[tensor.buffer]) for tensor in kept),
        constants=tuple(program.constants[old - 1] for old in buffers if old),
        instructions=tuple(
            replace(
                each,
                inputs=tuple(tensors[value] for value in each.inputs),
                output=tensors[each.output],
                more=tuple(tensors[value] for value in each.more),
            )
            for each in program.instructions
        ),
        inputs={name: tensors[value] for name, value in program.inputs.items()},
        outputs={name: tensors[value] for name, value in program.outputs.items()},
    )
