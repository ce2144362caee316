"""``package.module:function``: a user's function that returns a `keras.Model`. It is the user's own code, and runs."""

from __future__ import annotations

import importlib
import traceback
from functools import reduce
from typing import Any

from kexport.errors import SourceError

ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, OSError, ImportError, AssertionError,
    ArithmeticError, MemoryError,
)  # fmt: skip
"""What Keras, TensorFlow and a user's code with them raise; Keras has no error of its own."""
_HINT = "a function without arguments that returns a keras.Model, e.g. kexport export mypackage.models:build"


def call(text: str) -> Any:
    """What the function returns. Raises SourceError where it cannot be imported, raises itself, or returns no model."""
    module, _, name = text.partition(":")
    try:
        function = reduce(getattr, name.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise SourceError(
            f"{text}: there is no module {error.name!r}",
            hint="run kexport in the folder of that module, or with PYTHONPATH=...",
        ) from error
    except AttributeError as error:
        raise SourceError(f"{text}: {error}", hint=f"define {name} in {module}") from error
    if not callable(function):
        raise SourceError(f"{text} is a {type(function).__name__}, not a function", hint=_HINT)
    try:
        return _model(function(), text)
    except ERRORS as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = next(iter(str(error).splitlines()), "")
        raise SourceError(
            f"{text} raised {type(error).__name__}: {words:.300} ({place.filename}, line {place.lineno})",
            hint=f"python -c 'from {module} import {name.partition('.')[0]}; {name}()' shows the traceback",
        ) from error


def _model(value: Any, text: str) -> Any:
    import keras

    if not isinstance(value, keras.Model):
        raise SourceError(f"{text} returned a {type(value).__name__}, expected a keras.Model", hint=_HINT)
    return value
