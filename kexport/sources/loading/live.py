"""Models of a Python program: saved into a passing file, so that the worker processes have them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from kexport.errors import SourceError


def is_model(value: Any) -> bool:
    """Whether ``value`` is a `keras.Model`; Keras is not imported to find out."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)


def saved(model: Any, folder: Path) -> Path:
    """Save ``model`` as ``<its name>.keras`` in ``folder``. Raises SourceError where Keras cannot save it."""
    name = re.sub(r"[^\w.-]", "_", model.name).lstrip(".") or "model"
    path = folder / f"{name}.keras"
    try:
        model.save(path)
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError) as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SourceError(
            f"model {model.name!r} cannot be saved, and so not be handed to the worker processes: {words:.300}",
            hint="custom layers need get_config(); or export a function that builds it: package.module:factory",
        ) from error
    return path
