"""Where weights come from: one module per kind; each gives a built `keras.Model` its weights."""

from __future__ import annotations

from typing import Any


def finalize(model: Any) -> None:
    """Layers that derive constants from their variables (Normalization) do so now."""
    for layer in model._flatten_layers():  # noqa: SLF001 - enters nested models
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
