"""What a program gives as ``evaluate``: data, or a figure of its own."""

from __future__ import annotations

from typing import Any

from kexport.errors import UsageError
from kexport.evidence.scores import Measure
from kexport.options import ExportOptions


def own_figure(evaluate: Any, options: dict[str, Any]) -> tuple[Measure | None, dict[str, Any]]:
    """The figure of the user's own, and the options; data that is given as ``evaluate`` is that of ``eval``."""
    name, function = evaluate if _named_function(evaluate) else (getattr(evaluate, "__name__", "evaluate"), evaluate)
    if evaluate is None:
        return None, options
    if callable(function):
        return Measure(name=str(name).strip("<>"), function=function), options
    if any(options.get(word) is not None for word in ("eval", "evaluation")):
        raise UsageError("eval and evaluate are both data: expected one of them", hint="eval=(images, labels)")
    return None, {**options, "eval": evaluate}


def _named_function(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and callable(value[1])


def require_data(own: Measure | None, asked: ExportOptions) -> None:
    """UsageError for a figure that has nothing to be measured on."""
    if own is not None and asked.evaluation is None:
        raise UsageError(f"evaluate: {own.name} needs data to be measured on", hint="eval=(images, labels)")
