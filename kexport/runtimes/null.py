"""A runtime that computes nothing: the template for a new one, and the measure of the harness's own cost.

Its model is ``x`` (batch, 1) float32 -> ``y`` (batch, 1) float32, the same numbers; the source is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kexport.records import Signature
from kexport.runtimes import Session, SessionOptions, Signatures, Tensor


class NullSession(Session):
    """Hands its input back."""

    name = "null"

    @classmethod
    def open(cls, source: Any, *, options: SessionOptions) -> NullSession:  # noqa: ARG003 - nothing to load
        """A session; there is nothing to load."""
        return cls()

    @property
    def signature(self) -> Signatures:
        """One input and one output of one number per row."""
        return (Signature(name="x", shape=(None, 1), dtype="float32"),), (
            Signature(name="y", shape=(None, 1), dtype="float32"),
        )

    @property
    def effective(self) -> str:
        """That nothing executes."""
        return "null (no computation)"

    def execute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The input under the output's name."""
        return {"y": inputs["x"]}
