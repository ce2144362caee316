"""``--embed-preprocessing``: what is known of a file that takes pixels, from what is known of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from kexport.errors import UsageError
from kexport.images import pixels
from kexport.images.checks import as_taken
from kexport.records import UNKNOWN, Preprocessing, Signature, SourceFacts
from kexport.sources import stated
from kexport.sources.scalings import SCALINGS

OPTION = "embed_preprocessing"
Tensors = Mapping[str, npt.NDArray[Any]]


def asked(facts: SourceFacts) -> bool:
    """Whether files of this model take pixels."""
    return bool(facts.options.get(OPTION))


def contract_of(facts: SourceFacts) -> Preprocessing:
    """The contract that goes into the graph. Raises UsageError where the model says none."""
    contract = facts.preprocessing
    if contract is None or contract.mode == UNKNOWN:
        why = "no input is an image" if contract is None else f"what the model makes of pixels is {contract.basis}"
        hint = "leave --embed-preprocessing out" if contract is None else stated.HINT
        raise UsageError(f"--embed-preprocessing: {why}", hint=hint)
    return contract


def is_image(spec: Signature, contract: Preprocessing) -> bool:
    """Whether an input is the one that the contract is of."""
    return len(spec.shape) == 4 and spec.shape[1:3] == contract.size


def signatures(facts: SourceFacts) -> tuple[Signature, ...]:
    """The inputs of a file that takes pixels."""
    contract = contract_of(facts)
    return tuple(replace(spec, dtype="uint8") if is_image(spec, contract) else spec for spec in facts.inputs)


def of_file(facts: SourceFacts) -> SourceFacts:
    """The facts as a file has them: its contract is that of pixels as they are; resize and labels are the same."""
    if not asked(facts):
        return facts
    contract = contract_of(facts)
    raw = SCALINGS["raw"]
    count = len(contract.mean)
    told = f"in the graph: {contract.mode}, {contract.channel_order}"
    pixel = replace(
        contract, mode=raw.mode, channel_order="RGB" if count == 3 else contract.channel_order, scale=1.0,
        mean=(0.0,) * count, std=(1.0,) * count, basis=f"{told}; {contract.basis}".removesuffix("; "),
    )  # fmt: skip
    return replace(facts, inputs=signatures(facts), preprocessing=pixel, input_range=raw.limits)


def snapped(facts: SourceFacts, inputs: Tensors) -> Tensors:
    """Reference inputs as pixels can be them, where files take pixels."""
    if not asked(facts):
        return inputs
    contract, images = contract_of(facts), _images(facts)
    return {name: pixels.snapped(array, contract) if name in images else array for name, array in inputs.items()}


def fed(facts: SourceFacts, inputs: Tensors) -> Tensors:
    """Network inputs as a file takes them: the pixels that they were, where it takes pixels, in its own type."""
    if not asked(facts):
        dtypes = {spec.name: spec.dtype for spec in facts.inputs}
        return {name: as_taken(array, dtypes.get(name, str(array.dtype))) for name, array in inputs.items()}
    contract, images = contract_of(facts), _images(facts)
    return {name: pixels.exactly(array, contract) if name in images else array for name, array in inputs.items()}


def _images(facts: SourceFacts) -> frozenset[str]:
    contract = contract_of(facts)
    return frozenset(spec.name for spec in facts.inputs if is_image(spec, contract))
