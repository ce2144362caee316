"""What Keras raises while it loads a model, in one line: the cause, not the first of many lines, and what helps."""

from __future__ import annotations

import re

from kexport.errors import SourceError

FACTORY = "kexport export package.module:factory, with a function that builds and returns the model"
_ENCOUNTERED = re.compile(r"Exception encountered(?: when calling [^\n]*\n|: )\s*")
_LATER = re.compile(r"\n\s*\n?Arguments received by |\.? ?Full object config: |\n\s*config=|\n")
_ANNOUNCED = re.compile(r":\s*\n\s*(?=[A-Z])")
"""A line that ends in a colon says what the next one is about."""
_GLOBAL = re.compile(r"name '(\w+)' is not defined")
_MISSING = re.compile(
    r"Could not locate (class|function) '([\w.>]+)'|Unknown (layer|activation function): ?'?([\w.>]+)"
)
_BYTECODE = re.compile(
    r"bad marshal data|marshal data too short|EOF read where|bad argument type for built-in operation"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 300


def cause(error: BaseException) -> str:
    """The innermost reason that the error's text gives, on one line; the name of its class where it has no text."""
    text = _ANSI.sub("", str(error)).strip()
    inner = _ENCOUNTERED.split(text)[-1].strip() or text
    line = _LATER.split(_ANNOUNCED.sub(": ", inner))[0].strip()
    return line[:_LONGEST] or type(error).__name__


def refusal(error: BaseException, *, told: str, written_by: str = "") -> SourceError:
    """The error for the user; ``told`` names the model, ``written_by`` is the version of the Keras that wrote it."""
    reason = cause(error)
    if isinstance(error, EOFError) or _BYTECODE.search(str(error)):
        return SourceError(
            f"{told}: it has a Lambda whose code was written by another version of Python and cannot be read by this "
            f"one ({reason})",
            hint=FACTORY,
        )
    if found := _GLOBAL.search(reason):
        return missing_global(found[1], told=told)
    if found := _MISSING.search(reason):
        kind, name = (found[1], found[2]) if found[1] else (found[3], found[4])
        return SourceError(f"{told}: {reason}", hint=_where(kind, name))
    by = f", which Keras {written_by} wrote" if written_by else ""
    return SourceError(f"{told}{by}: Keras cannot load it: {reason}", hint=FACTORY)


def missing_global(name: str, *, told: str) -> SourceError:
    """A function in the model uses a name that its saved form does not carry."""
    return SourceError(
        f"{told}: its Lambda reads the global {name!r}, which the saved form of a function does not carry",
        hint=f"import or define {name} inside the function; or {FACTORY}",
    )


def of_model(error: BaseException) -> SourceError:
    """What Keras's own call of the model raised."""
    return SourceError(f"Keras itself cannot run the model: {cause(error)}", hint=f"mend it; or {FACTORY}")


def of_layer(error: BaseException, *, layer: str, kind: str) -> SourceError:
    """What a layer of the user's own raised when it was called."""
    told = f"layer {layer!r} ({kind})"
    if found := _GLOBAL.search(str(error)):
        return missing_global(found[1], told=told)
    return SourceError(f"{told} raised {type(error).__name__}: {cause(error)}", hint=f"mend it; or {FACTORY}")


def _where(kind: str, name: str) -> str:
    plain = name.rpartition(">")[2]
    if kind == "function":
        return f"call {plain} inside the Lambda and import it there: lambda x: ...; or {FACTORY}"
    return (
        f"define {plain} in a module, with @keras.saving.register_keras_serializable(), and "
        "kexport export package.module:factory"
    )
